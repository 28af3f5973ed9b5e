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

from pipeline import home
from pipeline.errors import EnvironmentFault, UsageError
from pipeline.home import Home, Owner, find_home, owner_of


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


def test_what_a_person_wrote_into_its_gitignore_stays(tmp_path: Path) -> None:
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

    def test_it_says_whose_it_is(self, tmp_path: Path) -> None:
        find_home(tmp_path, CHURN).make()
        assert owner_of(tmp_path / "churn") == CHURN
        assert find_home(tmp_path, CHURN).root == tmp_path / "churn"

    def test_what_is_in_a_home_is_named_by_taken(self, tmp_path: Path) -> None:
        """Names that the package writes into a home."""
        written = re.compile(r'home / f?"([\w.-]+)')
        for path in (Path(home.__file__).parent).rglob("*.py"):
            for name in written.findall(path.read_text()):
                assert name in home.TAKEN, path


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

    def test_a_broken_marker_is_nobodys(self, tmp_path: Path) -> None:
        find_home(tmp_path, CHURN).make()
        (tmp_path / "churn/home.json").write_text("{")
        with pytest.raises(EnvironmentFault, match=r"cannot read .*home\.json"):
            find_home(tmp_path, CHURN)


class TestInUseBefore:
    """``ML_HOME`` itself was the home."""

    @pytest.mark.parametrize("use", [promoted, registered])
    def test_it_stays_its_models_home(self, use: Callable[..., None], tmp_path: Path) -> None:
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
    def test_released_bundles_and_journals_tell_too(
        self, name: str, key: str, tmp_path: Path
    ) -> None:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(json.dumps({key: "churn"}))
        assert find_home(tmp_path, CHURN).root == tmp_path

    def test_claims_in_the_registry_are_no_models(self, tmp_path: Path) -> None:
        registered(tmp_path, "churn", "_promotion.churn.1")
        assert find_home(tmp_path, CHURN).root == tmp_path

    @pytest.mark.parametrize("owner", [CHURN, FRAUD])
    def test_a_mixed_one_is_refused_until_somebody_says_whose_it_is(
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
        told = line[1].replace("PROJECT", "churn").replace("MODEL", "churn")
        (tmp_path / "home.json").write_text(told)
        assert find_home(tmp_path, CHURN).root == tmp_path
        assert find_home(tmp_path, FRAUD).root == tmp_path / "fraud"

    def test_a_third_project_passes_by_a_mixed_one(self, tmp_path: Path) -> None:
        promoted(tmp_path, "churn", "fraud")
        assert find_home(tmp_path, Owner("new", "new")).root == tmp_path / "new"

    def test_an_earlier_version_that_still_runs_somewhere_is_noticed(self, tmp_path: Path) -> None:
        find_home(tmp_path, CHURN).make()
        promoted(tmp_path, "churn")
        with pytest.raises(UsageError, match="project 'churn' has two homes"):
            find_home(tmp_path, CHURN)

    def test_a_history_that_names_nobody_is_nobodys(self, tmp_path: Path) -> None:
        (tmp_path / "history.jsonl").write_text("broken\n")
        with pytest.raises(UsageError, match="names no model"):
            find_home(tmp_path, CHURN)

    def test_its_own_folder_given_as_ml_home(self, tmp_path: Path) -> None:
        find_home(tmp_path, CHURN).make()
        assert find_home(tmp_path / "churn", CHURN).root == tmp_path / "churn"
