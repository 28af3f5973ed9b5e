from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from ml_pipeline.core import git
from ml_pipeline.core.workdir import Workdir

pytestmark = pytest.mark.needs("git")


class Repository:
    def __init__(self, root: Path, *options: str) -> None:
        self.root = root
        root.mkdir()
        self.git("init", "-q", *options)

    def git(self, *arguments: str) -> str:
        return subprocess.run(
            ["git", "-c", "user.name=C", "-c", "user.email=C@ex.org", *arguments],
            cwd=self.root,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    def commit(self, author: str, message: str = "change") -> str:
        self.git("commit", "-q", "--allow-empty", f"--author=A <{author}>", "-m", message)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


class TestChangedFiles:
    """The files that differ from a commit, which need not be the one that is checked out."""

    def test_are_those_that_differ_are_missing_or_new(self, repository: Repository) -> None:
        for name in ("kept.py", "changed.py", "removed.py", "folder/inside.py"):
            (repository.root / name).parent.mkdir(exist_ok=True)
            (repository.root / name).write_text(name)
        (repository.root / ".gitignore").write_text("*.log\n")
        repository.git("add", "-A")
        commit = repository.commit("a@ex.org")
        assert git.changed_files(repository.root, commit) == ()
        (repository.root / "committed.py").touch()
        repository.git("add", "-A")
        repository.commit("a@ex.org")
        (repository.root / "changed.py").write_text("other")
        (repository.root / "removed.py").unlink()
        (repository.root / "new.py").touch()
        (repository.root / "run.log").touch()
        found = git.changed_files(repository.root, commit)
        assert found == ("changed.py", "committed.py", "new.py", "removed.py")
        assert git.changed_files(repository.root / "folder", commit) == ()
        (repository.root / "folder/inside.py").unlink()
        assert git.changed_files(repository.root / "folder", commit) == ("inside.py",)

    def test_are_unknown_without_the_commit(self, repository: Repository, tmp_path: Path) -> None:
        repository.commit("a@ex.org")
        assert git.changed_files(repository.root, "0" * 40) is None
        assert git.changed_files(repository.root, "HEAD") is None
        assert git.changed_files(tmp_path, "0" * 40) is None


class TestHead:
    def test_is_the_commit(self, repository: Repository) -> None:
        commit = repository.commit("a@ex.org")
        assert git.head(repository.root) == git.Head(commit, dirty=False)

    def test_a_new_file_makes_it_dirty(self, repository: Repository) -> None:
        commit = repository.commit("a@ex.org")
        (repository.root / "features.py").touch()
        assert git.head(repository.root) == git.Head(commit, dirty=True)

    def test_is_none_without_a_commit(self, repository: Repository) -> None:
        assert git.head(repository.root) is None

    def test_is_none_without_git(
        self, repository: Repository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        repository.commit("a@ex.org")
        monkeypatch.setenv("PATH", "")
        assert git.head(repository.root) is None

    def test_is_none_in_a_missing_folder(self, tmp_path: Path) -> None:
        assert git.head(tmp_path / "gone") is None


class TestAuthors:
    def test_are_authors_committers_and_co_authors_after_the_first(
        self, repository: Repository
    ) -> None:
        first = repository.commit("before@ex.org")
        repository.commit("A@ex.org")
        last = repository.commit("b@ex.org", "x\n\nCo-authored-by: D <d@ex.org>\nco-authored-by: E")
        assert git.authors(repository.root, first, last) == {
            "a@ex.org",
            "b@ex.org",
            "c@ex.org",
            "d@ex.org",
            "e",
        }

    def test_without_a_start_the_whole_history_counts(self, repository: Repository) -> None:
        repository.commit("a@ex.org")
        last = repository.commit("b@ex.org")
        assert git.authors(repository.root, None, last) == {"a@ex.org", "b@ex.org", "c@ex.org"}

    def test_an_empty_range_has_no_authors(self, repository: Repository) -> None:
        commit = repository.commit("a@ex.org")
        assert git.authors(repository.root, commit, commit) == frozenset()

    def test_authors_of_a_shallow_clone_are_unknown(
        self, repository: Repository, tmp_path: Path
    ) -> None:
        repository.commit("a@ex.org")
        last = repository.commit("b@ex.org")
        clone = tmp_path / "clone"
        repository.git("clone", "-q", "--depth=1", repository.root.as_uri(), str(clone))
        assert git.authors(clone, None, last) is None

    @pytest.mark.parametrize("since", ["0" * 40, "--output=/tmp/x", "HEAD", ""])
    def test_authors_since_an_unknown_commit_are_unknown(
        self, repository: Repository, since: str
    ) -> None:
        last = repository.commit("a@ex.org")
        assert git.authors(repository.root, since, last) is None


class TestWhatHidesAuthors:
    """Settings of the repository and the environment that show another history than there is."""

    def test_replaced_commits(self, repository: Repository) -> None:
        first = repository.commit("first@ex.org")
        hidden = repository.commit("hidden@ex.org")
        last = repository.commit("last@ex.org")
        repository.git("replace", hidden, first)
        found = git.authors(repository.root, first, last)
        assert found == {"hidden@ex.org", "last@ex.org", "c@ex.org"}

    def test_grafts(self, repository: Repository) -> None:
        first = repository.commit("first@ex.org")
        repository.commit("hidden@ex.org")
        last = repository.commit("last@ex.org")
        (repository.root / ".git/info").mkdir(exist_ok=True)
        (repository.root / ".git/info/grafts").write_text(f"{last} {first}\n")
        found = git.authors(repository.root, first, last)
        assert found is not None
        assert "hidden@ex.org" in found

    def test_mailmap(self, repository: Repository) -> None:
        (repository.root / ".mailmap").write_text("B <b@ex.org> <a@ex.org>\n")
        commit = repository.commit("a@ex.org")
        repository.git("config", "log.mailmap", "true")
        assert git.authors(repository.root, None, commit) == {"a@ex.org", "c@ex.org"}

    @pytest.mark.parametrize(
        "message",
        [
            "x\n\nCo-authored-by: B <b@ex.org>\n\nand more text at the end of the message",
            "Co-authored-by: B <b@ex.org>",
            "x\n\n  co-AUTHORED-by : B <b@ex.org>",
            "squashed\n\n* one\n* Co-authored-by: B <b@ex.org>",
            "x\n\n> - Co-authored-by: B <b@ex.org>",
            "x\n\nCo-authored-by: B\n <b@ex.org>",
            "x\n\nCo-authored-by:\n  B <b@ex.org>",
            "x\n\nCo-authored-by: A <a@ex.org>, B <b@ex.org>",
            "x\n\nCo-authored-by: A <a@ex.org> and b@ex.org",
            "x\r\rCo-authored-by: B <b@ex.org>",
            "x\u2028Co-authored-by: B <b@ex.org>",
            "x\n\nCo-auth\u200bored-by: B <b@ex.org>",
            "x\n\nCo\u2011authored\u2011by: B <b@ex.org>",
            "x\n\nCoauthored by: B <b@ex.org>",
            "x\n\nCo-developed-by: B <b@ex.org>",
            "Squashed commit of the following:\n\ncommit 1\nAuthor: B <b@ex.org>\n\n    one",
        ],
    )
    def test_a_co_author_line_outside_the_trailers(
        self, repository: Repository, message: str
    ) -> None:
        commit = repository.commit("a@ex.org", message)
        assert git.authors(repository.root, None, commit) == {"a@ex.org", "b@ex.org", "c@ex.org"}

    @pytest.mark.parametrize(
        "message",
        ["x\n\nThe author: see the wiki", "x\n\nReviewed-by: B <b@ex.org>", "x\n\nSee b@ex.org"],
    )
    def test_other_lines_name_no_author(self, repository: Repository, message: str) -> None:
        commit = repository.commit("a@ex.org", message)
        assert git.authors(repository.root, None, commit) == {"a@ex.org", "c@ex.org"}

    def test_an_author_without_an_address_is_not_overlooked(self, repository: Repository) -> None:
        commit = repository.commit("")
        assert git.authors(repository.root, None, commit) == {"a <>", "c@ex.org"}

    def test_variables_that_select_another_repository(
        self, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = Repository(tmp_path / "other")
        other.commit("other@ex.org")
        commit = repository.commit("a@ex.org")
        (repository.root / "new.py").touch()
        monkeypatch.setenv("GIT_DIR", str(other.root / ".git"))
        monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
        monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.worktree")
        monkeypatch.setenv("GIT_CONFIG_VALUE_0", str(other.root))
        assert git.head(repository.root) == git.Head(commit, dirty=True)
        assert git.authors(repository.root, None, commit) == {"a@ex.org", "c@ex.org"}

    def test_a_limit_of_a_shallow_clone(self, repository: Repository) -> None:
        repository.commit("hidden@ex.org")
        last = repository.commit("last@ex.org")
        (repository.root / ".git/shallow").write_text(f"{last}\n")
        found = git.authors(repository.root, None, last)
        assert found == {"hidden@ex.org", "last@ex.org", "c@ex.org"}

    @pytest.mark.parametrize("which", [0, 1, 2], ids=["before", "hidden", "last"])
    def test_a_commit_with_another_content_than_its_digest(
        self, repository: Repository, which: int
    ) -> None:
        commits = [repository.commit(f"{name}@ex.org") for name in ("first", "hidden", "last")]
        text = repository.git("cat-file", "commit", commits[which]).replace("@ex.org", "@in.org")
        content = zlib.compress(f"commit {len(text) + 1}\0{text}\n".encode())
        path = repository.root / ".git/objects" / commits[which][:2] / commits[which][2:]
        path.chmod(0o600)
        path.write_bytes(content)
        assert git.authors(repository.root, commits[0], commits[2]) is None

    @pytest.mark.parametrize("encoding", ["utf-16", "nonsense", "undefined", "idna"])
    def test_a_message_in_another_encoding(self, repository: Repository, encoding: str) -> None:
        repository.git("config", "i18n.commitEncoding", encoding)
        commit = repository.commit("a@ex.org", "x\n\nCo-authored-by: B <b@ex.org>")
        assert git.authors(repository.root, None, commit) == {"a@ex.org", "b@ex.org", "c@ex.org"}


PROGRAMS = {
    "core.fsmonitor": "{}",
    "core.hooksPath": "{folder}",
    "core.pager": "{}",
    "core.editor": "{}",
    "core.sshCommand": "{}",
    "core.gitProxy": "{}",
    "core.askPass": "{}",
    "core.alternateRefsCommand": "{}",
    "filter.all.clean": "{}",
    "filter.all.smudge": "{}",
    "filter.all.process": "{}",
    "filter.all.required": "true",
    "filter.lfs.process": "{} filter-process",
    "diff.external": "{}",
    "diff.all.textconv": "{}",
    "diff.all.command": "{}",
    "merge.all.driver": "{}",
    "gpg.program": "{}",
    "log.showSignature": "true",
    "credential.helper": "!{}",
    "alias.rev-parse": "!{}",
    "alias.cat-file": "!{}",
    "uploadpack.packObjectsHook": "{}",
    "submodule.sub.update": "!{}",
    "url.ext::{} .insteadOf": "https://example.org/",
    "protocol.ext.allow": "always",
    "remote.origin.url": "ext::{} x",
    "remote.origin.uploadpack": "{}",
    "remote.origin.promisor": "true",
    "extensions.partialClone": "origin",
    "core.repositoryFormatVersion": "1",
}
HOOKS = ("post-index-change", "reference-transaction", "fsmonitor-watchman", "post-checkout")


class Trap:
    """A program of the repository's settings that notes that it was run."""

    def __init__(self, folder: Path) -> None:
        self.ran = folder / "ran"
        self.folder = folder / "hooks"
        self.folder.mkdir()
        for name in (*HOOKS, "script"):
            script = self.folder / name
            script.write_text(f"#!/bin/sh\necho {name} >> {self.ran}\ncat\n")
            script.chmod(0o755)

    def settings(self) -> list[tuple[str, str]]:
        script = str(self.folder / "script")
        return [
            (name.replace("{}", script), value.replace("{}", script).format(folder=self.folder))
            for name, value in PROGRAMS.items()
        ]


class TestProgramsThatSettingsName:
    @pytest.fixture
    def trapped(
        self, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> tuple[Repository, Trap]:
        """A repository of which every file has every attribute, and misses an object."""
        trap = Trap(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home/.config"))
        (tmp_path / "home/.config/git").mkdir(parents=True)
        root = repository.root
        (root / ".gitattributes").write_text("* filter=all diff=all merge=all\n*.big filter=lfs\n")
        for name in ("one.py", "two.big", "gone.txt"):
            (root / name).write_text(f"{name}\n")
        repository.git("add", ".")
        repository.commit("a@ex.org")
        (root / ".git/info/attributes").write_text("* filter=all diff=all\n")
        gone = repository.git("rev-parse", "HEAD:gone.txt")
        (root / ".git/objects" / gone[:2] / gone[2:]).unlink()
        (root / "one.py").write_text("another\n")
        return repository, trap

    @pytest.mark.parametrize("where", ["repository", "worktree", "included", "global", "xdg"])
    def test_are_not_run(
        self, trapped: tuple[Repository, Trap], where: str, tmp_path: Path
    ) -> None:
        repository, trap = trapped
        commit = repository.git("rev-parse", "HEAD")
        config = {
            "repository": repository.root / ".git/config",
            "worktree": repository.root / ".git/config.worktree",
            "included": tmp_path / "included",
            "global": tmp_path / "home/.gitconfig",
            "xdg": tmp_path / "home/.config/git/config",
        }[where]
        if where == "worktree":
            repository.git("config", "extensions.worktreeConfig", "true")
        if where == "included":
            repository.git("config", "includeIf.gitdir:**.path", str(config))
        for name, value in trap.settings():
            repository.git("config", "--file", str(config), name, value)
        assert git.head(repository.root) == git.Head(commit, dirty=True)
        assert git.authors(repository.root, None, commit) == {"a@ex.org", "c@ex.org"}
        assert git.content(repository.root, commit, "one.py") == b"one.py\n"
        assert git.content(repository.root, commit, "gone.txt") is None
        assert not trap.ran.exists(), trap.ran.read_text()

    def test_the_trap_works(self, trapped: tuple[Repository, Trap]) -> None:
        repository, trap = trapped
        for name in ("core.fsmonitor", "filter.all.clean"):
            repository.git("config", name, str(trap.folder / "script"))
        repository.git("status")
        assert trap.ran.exists()


def _flag(name: str) -> Callable[[Repository, Path], None]:
    def change(repository: Repository, home: Path) -> None:
        repository.git("update-index", f"--{name}", "project/mine.py")
        (repository.root / "project/mine.py").write_text("TWO = 2\n")

    return change


def _sparse(repository: Repository, home: Path) -> None:
    repository.git("sparse-checkout", "set", "--no-cone", "/*", "!mine.py")
    assert not (repository.root / "project/mine.py").exists()


def _excluded_by(path: str) -> Callable[[Repository, Path], None]:
    def change(repository: Repository, home: Path) -> None:
        file = Path(path.format(home=home, root=repository.root))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("new.py\n.gitignore\nmine\n")
        (repository.root / "project/new.py").touch()

    return change


def _set(name: str, value: str) -> Callable[[Repository, Path], None]:
    def change(repository: Repository, home: Path) -> None:
        elsewhere = home / "elsewhere"
        shutil.copytree(repository.root, elsewhere, ignore=shutil.ignore_patterns(".git"))
        (home / "ignored").write_text("*\n")
        repository.git("config", name, value.format(home=home, elsewhere=elsewhere))
        (repository.root / "project/new.py").touch()

    return change


def _same_stamps(repository: Repository, home: Path) -> None:
    """The index believes size and times."""
    path = repository.root / "project/mine.py"
    repository.git("config", "core.trustctime", "false")
    repository.git("config", "core.checkStat", "minimal")
    stamp = path.stat()
    path.write_text("TWO = 2\n"[: stamp.st_size])
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))


def _link(repository: Repository, home: Path) -> None:
    (repository.root / "project/mine.py").rename(home / "mine.py")
    (repository.root / "project/mine.py").symlink_to(home / "mine.py")


def _linked_folder(repository: Repository, home: Path) -> None:
    shutil.move(repository.root / "project/sub", home / "sub")
    (repository.root / "project/sub").symlink_to(home / "sub")


def _nested(repository: Repository, home: Path) -> None:
    nested = Repository(repository.root / "project/nested")
    (nested.root / "new.py").touch()
    nested.git("add", ".")
    nested.commit("a@ex.org")


def _other_tree(repository: Repository, home: Path) -> None:
    """An object of the folder's tree that says that a new file belongs to it."""
    tree = repository.git("rev-parse", "HEAD:project")
    (repository.root / "project/new.py").touch()
    repository.git("add", ".")
    other = repository.git("rev-parse", f"{repository.git('write-tree')}:project")
    objects = repository.root / ".git/objects"
    target = objects / tree[:2] / tree[2:]
    target.chmod(0o600)
    target.write_bytes((objects / other[:2] / other[2:]).read_bytes())


class TestWhatHidesChanges:
    """A project in a folder of its repository."""

    @pytest.fixture
    def project(
        self, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> Repository:
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
        (tmp_path / "home").mkdir()
        (repository.root / "project/sub").mkdir(parents=True)
        (repository.root / "project/mine.py").write_text("ONE = 1\n")
        (repository.root / "project/sub/other.py").write_text("ONE = 1\n")
        (repository.root / "project/.gitignore").write_text("build/\n")
        repository.git("add", ".")
        repository.commit("a@ex.org")
        return repository

    @pytest.mark.parametrize(
        "change",
        [
            _flag("assume-unchanged"),
            _flag("skip-worktree"),
            _sparse,
            _excluded_by("{root}/.git/info/exclude"),
            _excluded_by("{home}/.config/git/ignore"),
            _excluded_by("{root}/.gitignore"),
            _excluded_by("{root}/project/sub/../.gitignore"),
            _set("core.excludesFile", "{home}/ignored"),
            _set("core.worktree", "{elsewhere}"),
            _set("core.bare", "true"),
            _set("status.showUntrackedFiles", "no"),
            _same_stamps,
            _link,
            _linked_folder,
            _nested,
            _other_tree,
        ],
    )
    def test_are_seen_through(
        self,
        project: Repository,
        change: Callable[[Repository, Path], None],
        tmp_path: Path,
    ) -> None:
        commit = project.git("rev-parse", "HEAD")
        assert git.head(project.root / "project") == git.Head(commit, dirty=False)
        change(project, tmp_path / "home")
        assert git.head(project.root / "project") == git.Head(commit, dirty=True)

    def test_ignored_files_and_files_outside_the_project_are_not_changes(
        self, project: Repository
    ) -> None:
        (project.root / "project/build").mkdir()
        (project.root / "project/build/report.json").touch()
        (project.root / "project/build/.gitignore").write_text("*\n")
        (project.root / "beside.py").touch()
        head = git.head(project.root / "project")
        assert head is not None
        assert head.dirty is False

    def test_the_working_folder_is_not_a_change_even_if_not_ignored(
        self, project: Repository
    ) -> None:
        project.git("rm", "-q", "project/.gitignore")
        project.commit("a@ex.org")
        Workdir(project.root / "project/build/ml").make()
        (project.root / "project/build/ml/model/model.onnx").touch()
        head = git.head(project.root / "project")
        assert head is not None
        assert head.dirty is False

    def test_line_endings_are_not_changes(self, project: Repository) -> None:
        (project.root / "project/mine.py").write_bytes(b"ONE = 1\r\n")
        head = git.head(project.root / "project")
        assert head is not None
        assert head.dirty is False

    def test_a_file_of_git_lfs_is_compared_with_its_pointer(self, project: Repository) -> None:
        path = project.root / "project/data.parquet"
        digest = hashlib.sha256(b"large\n").hexdigest()
        path.write_text(
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize 6\n"
        )
        project.git("add", ".")
        project.commit("a@ex.org")
        found = []
        for content in ("large\n", "other\n"):
            path.write_text(content)
            head = git.head(project.root / "project")
            assert head is not None
            found.append(head.dirty)
        assert found == [False, True]

    def test_another_working_tree_of_the_repository(
        self, project: Repository, tmp_path: Path
    ) -> None:
        project.git("worktree", "add", "-q", str(tmp_path / "tree"))
        commit = project.git("rev-parse", "HEAD")
        assert git.head(tmp_path / "tree/project") == git.Head(commit, dirty=False)
        (tmp_path / "tree/project/mine.py").write_text("TWO = 2\n")
        assert git.head(tmp_path / "tree/project") == git.Head(commit, dirty=True)
        assert git.authors(tmp_path / "tree", None, commit) == {"a@ex.org", "c@ex.org"}

    def test_a_submodule_is_compared_with_its_commit(
        self, project: Repository, tmp_path: Path
    ) -> None:
        other = Repository(tmp_path / "other")
        (other.root / "theirs.py").touch()
        other.git("add", ".")
        other.commit("o@ex.org")
        allowed = ("-c", "protocol.file.allow=always")
        project.git(*allowed, "submodule", "--quiet", "add", str(other.root), "project/theirs")
        project.git("config", "--file", ".gitmodules", "submodule.project/theirs.ignore", "all")
        project.git("add", ".")
        commit = project.commit("a@ex.org")
        assert git.head(project.root / "project") == git.Head(commit, dirty=False)
        (project.root / "project/theirs/theirs.py").write_text("TWO = 2\n")
        assert git.head(project.root / "project") == git.Head(commit, dirty=True)

    def test_objects_of_another_repository_are_read(
        self, project: Repository, tmp_path: Path
    ) -> None:
        """`clone --shared`, and `--reference` of Jenkins' git plugin."""
        clone = tmp_path / "clone"
        project.git("clone", "-q", "--shared", str(project.root), str(clone))
        commit = project.git("rev-parse", "HEAD")
        assert git.head(clone / "project") == git.Head(commit, dirty=False)
        assert git.authors(clone, None, commit) == {"a@ex.org", "c@ex.org"}

    def test_digests_may_be_sha256(self, tmp_path: Path) -> None:
        repository = Repository(tmp_path / "long", "--object-format=sha256")
        (repository.root / "mine.py").touch()
        repository.git("add", ".")
        commit = repository.commit("a@ex.org")
        assert git.head(repository.root) == git.Head(commit, dirty=False)
        assert git.authors(repository.root, None, commit) == {"a@ex.org", "c@ex.org"}
        assert git.content(repository.root, commit, "mine.py") == b""


class TestContent:
    def test_is_that_of_the_commit_not_of_the_working_tree(self, repository: Repository) -> None:
        path = repository.root / "features.py"
        path.write_text("one\n")
        (repository.root / ".gitattributes").write_text("*.py filter=hide\n")
        repository.git("add", ".")
        commit = repository.commit("a@ex.org")
        repository.git("config", "filter.hide.smudge", "echo other")
        repository.git("update-index", "--assume-unchanged", "features.py")
        path.write_text("two\n")
        assert git.content(repository.root, commit, "features.py") == b"one\n"

    def test_is_none_for_a_file_that_the_commit_lacks(self, repository: Repository) -> None:
        commit = repository.commit("a@ex.org")
        assert git.content(repository.root, commit, "features.py") is None
        assert git.content(repository.root, "HEAD", "features.py") is None
