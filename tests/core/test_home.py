"""The home is made for its owner alone, and git passes over it."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from ml_pipeline.core import git, home
from ml_pipeline.core.errors import EnvironmentFault, UsageError
from ml_pipeline.core.home import Home, Owner, find_home, origins_of, owner_of
from ml_pipeline.core.repository_origin import remote_name


def test_a_home_in_the_project_is_never_committed(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    kept = Home(tmp_path / ".ml")
    kept.make()
    (kept / "approval.pem").write_text("secret")
    status = subprocess.run(
        ["git", "-C", str(tmp_path), "status", "--porcelain", "--untracked-files=all"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert status == ""
    assert kept.root.stat().st_mode & 0o777 == 0o700


def test_an_edited_gitignore_is_kept(tmp_path: Path) -> None:
    kept = Home(tmp_path)
    (tmp_path / ".gitignore").write_text("*.pem\n")
    kept.make()
    assert (tmp_path / ".gitignore").read_text() == "*.pem\n"


CHURN = Owner("churn", "churn")
FRAUD = Owner("fraud", "fraud")


def promoted(root: Path, *models: str) -> None:
    """Write the history that promotions left, as versions before homes had names did."""
    root.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"model": model, "version": 1}) for model in models]
    (root / "history.jsonl").write_text("".join(f"{line}\n" for line in lines))


def registered(root: Path, *models: str) -> None:
    """Write a database with registered models."""
    root.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(root / "mlflow.db")) as database, database:
        database.execute("CREATE TABLE registered_models (name TEXT)")
        database.executemany("INSERT INTO registered_models VALUES (?)", [(m,) for m in models])


class TestWhere:
    def test_each_project_has_its_own(self, tmp_path: Path) -> None:
        homes = {find_home(tmp_path, Owner(name, name)).root for name in ("a", "b.c", "A-1")}
        assert homes == {tmp_path / "a", tmp_path / "b.c", tmp_path / "A-1"}
        assert list(tmp_path.iterdir()) == [], "looking makes nothing"

    @pytest.mark.parametrize("name", sorted(home.TAKEN))
    def test_a_project_called_like_a_file_of_a_home(self, name: str, tmp_path: Path) -> None:
        promoted(tmp_path, "other")
        assert find_home(tmp_path, Owner(name, name)).root == tmp_path / f"_{name}"
        assert find_home(tmp_path, Owner(name.upper(), "m")).root == tmp_path / f"_{name.upper()}"

    def test_the_marker_names_the_project(self, tmp_path: Path) -> None:
        find_home(tmp_path, CHURN).make()
        assert owner_of(tmp_path / "churn") == CHURN
        assert find_home(tmp_path, CHURN).root == tmp_path / "churn"

    def test_reserved_names_cover_the_files_of_a_home(self, tmp_path: Path) -> None:
        """Names that the package writes into a home."""
        written = re.compile(r'home / f?"([\w.-]+)')
        for path in (Path(home.__file__).parent).rglob("*.py"):
            for name in written.findall(path.read_text()):
                assert name in home.TAKEN, path


class TestSecretFiles:
    """What a project's code may not read."""

    def test_keys_of_the_home_and_of_those_beside_it(self, tmp_path: Path) -> None:
        for name in ("mine", "theirs"):
            (tmp_path / name / "keys").mkdir(parents=True)
        found = home.secret_files(Home(tmp_path / "mine"))
        assert {*found} >= {tmp_path / "mine/keys", tmp_path / "theirs/keys"}

    def test_by_what_lies_in_a_home_or_its_project(self, tmp_path: Path) -> None:
        owner = Owner("churn", "churn")
        elsewhere, inside = Home(tmp_path / "homes/churn", owner), tmp_path / "project/.ml/churn"
        elsewhere.make()
        for keys in (elsewhere / "keys", inside / "keys"):
            keys.mkdir(parents=True)
        bundle, rows = elsewhere / "released/3", tmp_path / "project/build/ml/data/clean.parquet"
        found = home.secret_files(near=(bundle, rows))
        assert {*found} >= {elsewhere / "keys", inside / "keys"}

    def test_files_of_the_administrators(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ML_POLICY", str(tmp_path / "policy.yaml"))
        monkeypatch.setenv("ML_APPROVAL_KEY", str(tmp_path / "key.pem"))
        assert {*home.secret_files()} >= {tmp_path / "policy.yaml", tmp_path / "key.pem"}


class TestOfAnotherModel:
    def test_is_refused_by_name(self, tmp_path: Path) -> None:
        find_home(tmp_path, CHURN).make()
        with pytest.raises(UsageError) as caught:
            find_home(tmp_path, Owner("churn", "churn-v2"))
        assert str(caught.value) == (
            f"home {tmp_path / 'churn'} belongs to project 'churn'; "
            "expected project 'churn', model 'churn-v2'; "
            "give this project another name, or set ML_HOME to another folder"
        )

    def test_is_refused_where_it_has_no_marker(self, tmp_path: Path) -> None:
        promoted(tmp_path / "churn", "fraud")
        with pytest.raises(UsageError, match="belongs to 'fraud'; expected project 'churn'"):
            find_home(tmp_path, CHURN)

    def test_is_refused_to_the_slower_of_two(self, tmp_path: Path) -> None:
        slower = Home(tmp_path / "churn", Owner("churn", "other"))
        find_home(tmp_path, CHURN).make()
        with pytest.raises(UsageError, match="belongs to project 'churn'"):
            slower.make()
        assert owner_of(tmp_path / "churn") == CHURN

    def test_a_broken_marker_belongs_to_no_project(self, tmp_path: Path) -> None:
        find_home(tmp_path, CHURN).make()
        (tmp_path / "churn/home.json").write_text("{")
        with pytest.raises(EnvironmentFault, match=r"cannot read .*home\.json"):
            find_home(tmp_path, CHURN)


@pytest.mark.slow
class TestInUseBefore:
    """``ML_HOME`` itself was the home."""

    @pytest.mark.parametrize("use", [promoted, registered])
    def test_it_remains_the_home_of_its_model(
        self, use: Callable[..., None], tmp_path: Path
    ) -> None:
        use(tmp_path, "churn")
        assert find_home(tmp_path, FRAUD).root == tmp_path / "fraud"
        found = find_home(tmp_path, CHURN)
        assert found.root == tmp_path
        found.make()
        assert owner_of(tmp_path) == CHURN
        assert find_home(tmp_path, CHURN).root == tmp_path
        assert find_home(tmp_path, FRAUD).root == tmp_path / "fraud"

    @pytest.mark.parametrize(
        ("name", "key"), [("released/a1/manifest.json", "project"), ("journal/1.json", "model")]
    )
    def test_released_bundles_and_journals_identify_the_model_too(
        self, name: str, key: str, tmp_path: Path
    ) -> None:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(json.dumps({key: "churn"}))
        assert find_home(tmp_path, CHURN).root == tmp_path

    def test_leases_in_the_registry_are_not_models(self, tmp_path: Path) -> None:
        registered(tmp_path, "churn", "_promotion.churn.1")
        assert find_home(tmp_path, CHURN).root == tmp_path

    @pytest.mark.parametrize("owner", [CHURN, FRAUD])
    def test_a_home_of_several_models_is_refused_until_adopted(
        self, owner: Owner, tmp_path: Path
    ) -> None:
        promoted(tmp_path, "churn")
        registered(tmp_path, "fraud", "churn")
        with pytest.raises(
            UsageError, match="shared by several models: 'churn', 'fraud'"
        ) as caught:
            find_home(tmp_path, owner)
        line = re.search(r"as ({.*?});", str(caught.value))
        assert line is not None
        marker = line[1].replace("PROJECT", "churn").replace("MODEL", "churn")
        (tmp_path / "home.json").write_text(marker)
        assert find_home(tmp_path, CHURN).root == tmp_path
        assert find_home(tmp_path, FRAUD).root == tmp_path / "fraud"

    def test_a_third_project_does_not_use_a_home_of_several_models(self, tmp_path: Path) -> None:
        promoted(tmp_path, "churn", "fraud")
        assert find_home(tmp_path, Owner("new", "new")).root == tmp_path / "new"

    def test_an_earlier_version_that_still_writes_is_detected(self, tmp_path: Path) -> None:
        find_home(tmp_path, CHURN).make()
        promoted(tmp_path, "churn")
        with pytest.raises(UsageError, match="project 'churn' has two homes"):
            find_home(tmp_path, CHURN)

    def test_a_history_without_a_model_name_belongs_to_no_project(self, tmp_path: Path) -> None:
        (tmp_path / "history.jsonl").write_text("broken\n")
        with pytest.raises(UsageError, match="names no model"):
            find_home(tmp_path, CHURN)

    def test_ml_home_may_be_the_projects_own_home(self, tmp_path: Path) -> None:
        find_home(tmp_path, CHURN).make()
        assert find_home(tmp_path / "churn", CHURN).root == tmp_path / "churn"


class TestTwoRepositoriesOfOneName:
    """A copied example keeps its project's name; on one ML_HOME the two are distinguished."""

    def repository(self, folder: Path, *, remote: str = "", project: str = "") -> Path:
        """Make a repository with one commit of its own, and return the project's folder in it."""
        (folder / project).mkdir(parents=True)
        (folder / project / "ml.yaml").write_text(f"project: churn  # {folder.name}\n")
        self.git(folder, "init", "-q", "-b", "main")
        self.git(folder, "add", ".")
        self.git(folder, "commit", "-qm", folder.name)
        if remote:
            self.git(folder, "remote", "add", "origin", remote)
        return folder / project

    def git(self, folder: Path, *words: str) -> None:
        identity = ["-c", "user.name=Asha", "-c", "user.email=asha@example.org"]
        subprocess.run(["git", "-C", str(folder), *identity, *words], check=True)

    def clone(self, source: Path, folder: Path, *words: str) -> Path:
        subprocess.run(["git", "clone", "-q", *words, source.as_uri(), str(folder)], check=True)
        return folder

    def home(self, root: Path, project: Path) -> Home:
        return find_home(root, Owner("churn", "churn", lambda: git.origin(project)))

    def assert_refused(self, root: Path, project: Path, match: str) -> None:
        before = (root / "churn" / "home.json").read_bytes()
        home = self.home(root, project)
        for use in (home.make, home.check_owner):
            with pytest.raises(UsageError, match=match):
                use()
        assert (root / "churn" / "home.json").read_bytes() == before

    def test_the_second_is_refused_by_name(self, tmp_path: Path) -> None:
        one = self.repository(tmp_path / "one", remote="git@git.example.org:team/churn.git")
        two = self.repository(tmp_path / "two", remote="https://git.example.org/other/churn")
        self.home(tmp_path / "ml", one).make()
        message = (
            "belongs to project 'churn' of git.example.org/team/churn; expected the home of "
            "project 'churn' of git.example.org/other/churn; .*'ml-pipeline home adopt'"
        )
        self.assert_refused(tmp_path / "ml", two, message)

    def test_without_remotes_the_root_commit_identifies_the_repository(
        self, tmp_path: Path
    ) -> None:
        one, two = self.repository(tmp_path / "one"), self.repository(tmp_path / "two")
        self.home(tmp_path / "ml", one).make()
        self.assert_refused(tmp_path / "ml", two, "of the repository of root commit [0-9a-f]{12};")

    def test_two_folders_of_one_repository(self, tmp_path: Path) -> None:
        top = tmp_path / "one"
        first = self.repository(top, project="models/a")
        second = top / "models/b"
        second.mkdir()
        self.home(tmp_path / "ml", first).make()
        self.assert_refused(tmp_path / "ml", second, "folder models/a; .* folder models/b")

    def test_clones_workspaces_and_branches_share_a_home(self, tmp_path: Path) -> None:
        one = self.repository(tmp_path / "one")
        self.home(tmp_path / "ml", one).make()
        clone = self.clone(one, tmp_path / "workspace@2")
        self.git(clone, "switch", "-qc", "feature/x")
        self.git(clone, "commit", "-qm", "more", "--allow-empty")
        self.git(clone, "remote", "set-url", "origin", "https://mirror.example.org/churn")
        self.home(tmp_path / "ml", clone).make()
        self.git(clone, "worktree", "add", "-q", str(tmp_path / "tree"), "main")
        self.home(tmp_path / "ml", tmp_path / "tree").make()

    def test_shallow_clones_are_identified_by_their_remote(self, tmp_path: Path) -> None:
        one = self.repository(tmp_path / "one")
        self.git(one, "commit", "-qm", "second", "--allow-empty")
        shallow = self.clone(one, tmp_path / "shallow", "--depth=1")
        self.home(tmp_path / "ml", shallow).make()
        self.home(tmp_path / "ml", self.clone(one, tmp_path / "again", "--depth=1")).make()
        full = self.clone(one, tmp_path / "full")
        self.home(tmp_path / "ml", full).make()
        (known,) = origins_of(tmp_path / "ml" / "churn")
        assert known.find_roots(), "what the shallow clone did not know was added"
        self.home(tmp_path / "ml", one).make()
        other = self.repository(tmp_path / "other")
        self.git(other, "commit", "-qm", "second", "--allow-empty")
        shallow_clone = self.clone(other, tmp_path / "shallow-clone", "--depth=1")
        self.assert_refused(tmp_path / "ml", shallow_clone, "belongs to project 'churn' of")

    def test_without_git_repositories_are_not_distinguished(self, tmp_path: Path) -> None:
        plain = tmp_path / "plain"
        plain.mkdir()
        self.home(tmp_path / "ml", plain).make()
        assert origins_of(tmp_path / "ml" / "churn") == ()
        self.home(tmp_path / "ml", self.repository(tmp_path / "one")).make()
        self.home(tmp_path / "ml", plain).make()

    def test_an_earlier_home_belongs_to_the_first_repository_that_writes(
        self, tmp_path: Path
    ) -> None:
        find_home(tmp_path / "ml", CHURN).make()
        assert origins_of(tmp_path / "ml" / "churn") == ()
        self.home(tmp_path / "ml", self.repository(tmp_path / "one")).make()
        self.assert_refused(tmp_path / "ml", self.repository(tmp_path / "two"), "belongs to")

    def test_a_repository_that_moved_adopts_its_home(self, tmp_path: Path) -> None:
        one = self.repository(tmp_path / "one", remote="https://git.example.org/team/churn")
        new = self.repository(tmp_path / "new", remote="https://git.example.org/team/models")
        self.home(tmp_path / "ml", one).make()
        home = self.home(tmp_path / "ml", new)
        assert str(home.adopt()) == "git.example.org/team/models"
        home.make()
        self.home(tmp_path / "ml", one).make()
        assert len(origins_of(home.root)) == 2

    def test_homes_that_cannot_be_adopted(self, tmp_path: Path) -> None:
        one = self.repository(tmp_path / "one")
        with pytest.raises(EnvironmentFault, match="there is no home"):
            self.home(tmp_path / "ml", one).adopt()
        self.home(tmp_path / "ml", one).make()
        plain = tmp_path / "plain"
        plain.mkdir()
        with pytest.raises(UsageError, match="git does not report"):
            self.home(tmp_path / "ml", plain).adopt()

    @pytest.mark.parametrize(
        "url",
        [
            "git@git.example.org:team/churn.git",
            "ssh://git@git.example.org:7999/team/churn.git",
            "https://user:secret@git.example.org/team/churn",
            "https://GIT.example.org/Team/churn.git/",
        ],
    )
    def test_a_remote_is_the_same_however_it_is_reached(self, url: str) -> None:
        assert remote_name(url) == "git.example.org/team/churn"

    def test_a_folder_is_a_remote_too(self, tmp_path: Path) -> None:
        assert remote_name("file:///srv/git/churn.git") == "/srv/git/churn"
        assert remote_name("/srv/git/churn.git/") == "/srv/git/churn"

    @pytest.mark.parametrize(
        "content", ["[1]", '[{"folder": 1, "remote": null, "roots": []}]', "5"]
    )
    def test_a_damaged_marker_is_refused(self, content: str, tmp_path: Path) -> None:
        (tmp_path / "home.json").write_text(
            '{"schema": "ml-pipeline/home/1", "project": "churn", "model": "churn", '
            f'"repositories": {content}}}'
        )
        with pytest.raises(EnvironmentFault, match="cannot read"):
            origins_of(tmp_path)
