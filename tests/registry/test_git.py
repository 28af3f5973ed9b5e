from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pipeline.registry import git

pytestmark = pytest.mark.needs("git")


class Repository:
    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self.git("init", "-q")

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


class TestHead:
    def test_is_the_commit(self, repository: Repository) -> None:
        commit = repository.commit("a@ex.org")
        assert git.head(repository.root) == git.Head(commit, dirty=False)

    def test_a_new_file_makes_it_dirty(self, repository: Repository) -> None:
        commit = repository.commit("a@ex.org")
        (repository.root / "features.py").touch()
        assert git.head(repository.root) == git.Head(commit, dirty=True)

    def test_none_without_a_commit(self, repository: Repository) -> None:
        assert git.head(repository.root) is None

    def test_none_without_git(
        self, repository: Repository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        repository.commit("a@ex.org")
        monkeypatch.setenv("PATH", "")
        assert git.head(repository.root) is None

    def test_none_in_a_folder_that_is_gone(self, tmp_path: Path) -> None:
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

    def test_no_commit_between_has_no_author(self, repository: Repository) -> None:
        commit = repository.commit("a@ex.org")
        assert git.authors(repository.root, commit, commit) == frozenset()

    def test_a_shallow_clone_cannot_tell(self, repository: Repository, tmp_path: Path) -> None:
        repository.commit("a@ex.org")
        last = repository.commit("b@ex.org")
        clone = tmp_path / "clone"
        repository.git("clone", "-q", "--depth=1", repository.root.as_uri(), str(clone))
        assert git.authors(clone, None, last) is None

    @pytest.mark.parametrize("since", ["0" * 40, "--output=/tmp/x", "HEAD", ""])
    def test_what_is_no_commit_of_it_cannot_be_told(
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
    def test_a_co_author_that_is_no_trailer(self, repository: Repository, message: str) -> None:
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

    def test_variables_that_lead_git_to_another_repository(
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

    def test_programs_that_the_repository_names_are_not_run(self, repository: Repository) -> None:
        ran = repository.root.parent / "ran"
        script = repository.root.parent / "script"
        script.write_text(f"#!/bin/sh\ntouch {ran}\n")
        script.chmod(0o755)
        repository.commit("a@ex.org")
        repository.git("config", "core.fsmonitor", str(script))
        git.head(repository.root)
        assert not ran.exists()


class TestContent:
    def test_is_what_was_committed_whatever_lies_there(self, repository: Repository) -> None:
        path = repository.root / "features.py"
        path.write_text("one\n")
        (repository.root / ".gitattributes").write_text("*.py filter=hide\n")
        repository.git("add", ".")
        commit = repository.commit("a@ex.org")
        repository.git("config", "filter.hide.smudge", "echo other")
        repository.git("update-index", "--assume-unchanged", "features.py")
        path.write_text("two\n")
        assert git.content(repository.root, commit, "features.py") == b"one\n"

    def test_none_where_the_commit_has_no_such_file(self, repository: Repository) -> None:
        commit = repository.commit("a@ex.org")
        assert git.content(repository.root, commit, "features.py") is None
        assert git.content(repository.root, "HEAD", "features.py") is None
