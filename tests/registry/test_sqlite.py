"""A registry that is a SQLite file: a new project makes it, a lost one is not replaced."""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from ml_pipeline.config import Project
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.home import Home
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.sqlite import file_of, has_database

from tests.records import newest_record


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.make()
    return home


def promoted(home: Home, *numbers: int) -> None:
    """Write what is read here of the history: the numbers of versions."""
    (home / "history.jsonl").write_text("".join(f'{{"version": {n}}}\n' for n in numbers))


@pytest.mark.parametrize(
    ("uri", "file"),
    [
        ("sqlite:////home/ml/mlflow.db", "/home/ml/mlflow.db"),
        ("sqlite:////a home/mlflow.db?timeout=20", "/a home/mlflow.db"),
        ("sqlite+pysqlite:///own.db", "own.db"),
        ("sqlite:///:memory:", None),
        ("postgresql://db.example.org/mlflow", None),
        ("https://mlflow.example.org", None),
    ],
)
def test_the_file_of_an_address(uri: str, file: str | None) -> None:
    assert file_of(uri) == (None if file is None else Path(file))


class TestMade:
    def test_a_new_project_has_no_database(self, home: Home) -> None:
        assert not has_database(home / "mlflow.db", home)
        promoted(home)
        assert not has_database(home / "mlflow.db", home)

    def test_a_file_with_content_is_there_whatever_the_history_says(self, home: Home) -> None:
        promoted(home, 1)
        (home / "mlflow.db").write_bytes(b"SQLite format 3")
        assert has_database(home / "mlflow.db", home)

    def test_a_lost_database_is_reported_with_the_versions_of_the_history(self, home: Home) -> None:
        file = home / "mlflow.db"
        promoted(home, 1, 2, 1)
        with pytest.raises(EnvironmentFault) as caught:
            has_database(file, home)
        assert str(caught.value) == (
            f"registry {file} is gone, though this home's history knows versions 1, 2; "
            "restore the file from a backup; without one 'ml-pipeline reconcile production "
            "--restore-registry' registers again what this home released"
        )

    def test_an_empty_file_is_a_lost_database(self, home: Home) -> None:
        promoted(home, 1)
        (home / "mlflow.db").touch()
        with pytest.raises(EnvironmentFault, match=r"is empty, though .* knows version 1$"):
            raise_fault(home)

    def test_of_many_versions_the_newest_are_named(self, home: Home) -> None:
        promoted(home, *range(1, 9))
        with pytest.raises(EnvironmentFault, match=r"knows versions \.\.\., 4, 5, 6, 7, 8$"):
            raise_fault(home)

    def test_a_project_with_a_broken_history_is_not_new(self, home: Home) -> None:
        (home / "history.jsonl").write_text("broken\n[]\n")
        with pytest.raises(EnvironmentFault, match=r"history knows promotions$"):
            raise_fault(home)


def raise_fault(home: Home) -> None:
    """Raise the fault of a lost file without its hint."""
    try:
        has_database(home / "mlflow.db", home)
    except EnvironmentFault as error:
        raise EnvironmentFault(error.fault) from None


@pytest.mark.parametrize("where", ["home", "elsewhere"])
def test_no_call_replaces_a_lost_registry(
    home: Home, tmp_path: Path, make_bundle: Callable[..., Path], where: str
) -> None:
    file = (home.root if where == "home" else tmp_path / "store") / "mlflow.db"
    registry = Registry(None if where == "home" else f"sqlite:///{file}", "small", home)
    promoted(home, 1, 2)
    bundle = make_bundle()
    calls: list[Callable[[], object]] = [
        registry.exists,
        registry.read,
        registry.leases.read,
        lambda: registry.register(bundle).version,
        lambda: registry.leases.acquire(3, "a" * 16, by="Asha", run_id="run-1"),
    ]
    for call in calls:
        with pytest.raises(EnvironmentFault, match=r"mlflow\.db is gone, though .* versions 1, 2"):
            call()
    assert not file.exists()
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("name", ["a%2Fb", "a?b", "a#b", "100% sure", "%", "a b é"])
def test_a_path_may_have_any_characters(name: str, tmp_path: Path, registry_database: Path) -> None:
    """Folders of branches on an agent are called so: ``feature%2Fdata``."""
    home = Home(tmp_path / name)
    home.make()
    shutil.copyfile(registry_database, home / "mlflow.db")
    registry = Registry(None, "small", home)
    assert file_of(registry.uri) == home / "mlflow.db"
    assert registry.read().champion is None
    made = sorted(path.name for path in tmp_path.iterdir() if path.is_dir())
    assert made == [name], "and the folder of no other name is made"


@pytest.mark.slow
def test_a_version_is_kept_and_fetched_there(
    tmp_path: Path, registry_database: Path, make_bundle: Callable[..., Path]
) -> None:
    home = Home(tmp_path / "a%2Fb?c#d")
    home.make()
    shutil.copyfile(registry_database, home / "mlflow.db")
    registry = Registry(None, "small", home)
    version = registry.register(make_bundle()).version
    registry.records.attach(version, "gate.json", b"{}")
    assert newest_record(registry, version, "gate.json") == b"{}"
    assert registry.bundles.download(version, tmp_path / "fetched").is_dir()


def test_a_relative_file_starts_at_the_root_of_any_project(
    make_project: Callable[..., Project], tmp_path: Path
) -> None:
    project = make_project("feature%2Fa", registry={"uri": "sqlite:///own.db?timeout=5"})
    registry = Registry.of(project, Home(tmp_path / "home"))
    assert file_of(registry.uri) == project.root / "own.db"
    assert registry.uri.endswith("/own.db?timeout=5")
    outside = make_project("other", registry={"uri": f"sqlite:///{tmp_path}/shared.db"})
    assert Registry.of(outside, Home(tmp_path)).uri == f"sqlite:///{tmp_path}/shared.db"


def ask_first(home: Path, barrier: Barrier) -> None:
    registry = Registry(None, "raced", Home(home))
    barrier.wait(60)
    assert list(registry.read().versions) == []


@pytest.mark.slow
def test_several_builds_make_the_first_registry_of_a_home_together(home: Home) -> None:
    """Branch indexing starts main and a release branch of a new project at one time."""
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(2)
    builds = [spawn.Process(target=ask_first, args=(home.root, barrier)) for _ in range(2)]
    for build in builds:
        build.start()
    for build in builds:
        build.join(120)
    assert [build.exitcode for build in builds] == [0, 0]
    assert Registry(None, "raced", home).read().versions == ()
    assert not list(home.root.glob(".mlflow.db-*"))


@pytest.mark.slow
def test_a_registry_that_is_half_made_is_not_there(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mlflow.store.db.utils._upgrade_db", killed)
        with pytest.raises(KeyboardInterrupt):
            Registry(None, "small", home).read()
    assert not (home / "mlflow.db").exists()
    assert list(Registry(None, "small", home).read().versions) == []
