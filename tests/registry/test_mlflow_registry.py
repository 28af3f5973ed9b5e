from __future__ import annotations

import errno
import logging
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core.errors import EnvironmentFault, Refused, UsageError
from ml_pipeline.core.home import Home
from ml_pipeline.registry import registration
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import (
    CHALLENGER,
    CHAMPION,
    RegistryState,
    list_versions,
    read_state,
)

from tests.records import newest_record

MakeBundle = Callable[..., Path]


@pytest.fixture
def home(tmp_path: Path, registry_database: Path) -> Home:
    home = Home(tmp_path / "a home")
    home.make()
    (home / "mlflow.db").write_bytes(registry_database.read_bytes())
    return home


@pytest.fixture
def registry(home: Home) -> Registry:
    return Registry(None, "small", home)


class TestRun:
    """What MLflow's pages show of a version, beside its files."""

    def test_it_has_parameters_metrics_tags_signature_and_an_example(
        self, registry: Registry, make_bundle: MakeBundle, tmp_path: Path
    ) -> None:
        import mlflow
        from mlflow.models import Model

        training = {
            "estimator": "xgboost",
            "seed": 7,
            "params": {"max_depth": 3, "note": "n" * 900},
            "rows": {"train": 10},
            "best_round": None,
        }
        version = registry.register(
            make_bundle(training=training), {"git.commit": "f" * 40}, {"auc": 0.75}
        ).version
        client = mlflow.MlflowClient(registry.uri, registry.uri)
        run = client.get_run(version.run_id)
        assert run.data.params == {
            "problem": "bars",
            "estimator": "xgboost",
            "seed": "7",
            "params.max_depth": "3",
            "params.note": "n" * 500,
            "rows.train": "10",
        }
        assert run.data.metrics == {"auc": 0.75}
        assert run.data.tags["git.commit"] == "f" * 40
        folder = client.download_artifacts(version.run_id, "model", str(tmp_path))
        model = Model.load(folder)
        assert model.signature.inputs.input_names() == ["x", "c"]
        assert model.load_input_example(folder).to_dict("list") == {"x": [1.0], "c": ["north"]}

    def test_its_pages_are_named_for_a_database_of_ones_own(self, tmp_path: Path) -> None:
        home = Home(tmp_path / "a home")
        assert Registry(None, "small", home).ui_command() is None, "it would make a database"
        home.root.mkdir()
        (home / "mlflow.db").touch()
        command = Registry(None, "small", home).ui_command()
        assert command == f"mlflow ui --backend-store-uri 'sqlite:///{home.root}/mlflow.db'"
        assert Registry("http://registry.example.org", "small", home).ui_command() is None


class TestRegister:
    def test_the_version_records_the_origin_of_the_model(
        self, registry: Registry, make_bundle: MakeBundle
    ) -> None:
        version = registry.register(make_bundle(), {"git.commit": "f" * 40}).version
        assert (version.number, version.identity) == (1, "a" * 64)
        assert version.tags["bundle.digest"] == version.digest
        assert version.tags["git.commit"] == "f" * 40
        assert version.tags["identity.data"] == "d" * 64
        assert version.tags["identity.config"] == "c" * 64
        assert version.tags["identity.lock"] == "1" * 64
        assert version.tags["cutoff.train_end"] == "2024-03-01"
        assert version.tags["profile"] == "full"

    def test_a_registered_version_is_challenger_and_not_champion(
        self, registry: Registry, make_bundle: MakeBundle
    ) -> None:
        version = registry.register(make_bundle()).version
        assert registry.read().challenger == version
        assert registry.read().champion is None

    def test_the_same_identity_is_one_version(
        self, registry: Registry, make_bundle: MakeBundle
    ) -> None:
        bundle = make_bundle()
        assert registry.register(bundle).version == registry.register(bundle).version
        assert len(registry.read().versions) == 1

    def test_an_identity_that_comes_back_is_challenger_again(
        self, registry: Registry, make_bundle: MakeBundle
    ) -> None:
        first = registry.register(make_bundle("one")).version
        registry.register(make_bundle("two", identity="b", weight=2.0))
        registry.register(make_bundle("three"))
        assert registry.read().challenger == first
        assert len(registry.read().versions) == 2

    def test_the_same_identity_with_other_content_is_refused(
        self, registry: Registry, make_bundle: MakeBundle
    ) -> None:
        registry.register(make_bundle("one"))
        with pytest.raises(Refused, match="version 1 of 'small' has this identity with other"):
            registry.register(make_bundle("two", weight=2.0))

    def test_a_quick_model_is_refused(self, registry: Registry, make_bundle: MakeBundle) -> None:
        with pytest.raises(Refused, match="quick model"):
            registry.register(make_bundle(profile="quick"))
        assert list(registry.read().versions) == []

    def test_a_bundle_with_a_changed_file_is_refused(
        self, registry: Registry, make_bundle: MakeBundle
    ) -> None:
        bundle = make_bundle()
        (bundle / "MODEL_CARD.md").write_text("# other")
        with pytest.raises(Refused):
            registry.register(bundle)
        assert list(registry.read().versions) == []

    def test_of_two_machines_that_register_at_once_the_first_wins(
        self, registry: Registry, make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = registry.register(make_bundle()).version
        before = iter([RegistryState("small", exists=True)])
        monkeypatch.setattr(
            registration, "read_state", lambda *args: next(before, None) or read_state(*args)
        )
        assert registry.register(make_bundle("again")).version == first
        assert list(registry.read().versions) == [first]

    def test_stages_follow_the_aliases(self, home: Home, make_bundle: MakeBundle) -> None:
        registry = Registry(None, "small", home, stages=True)

        def stages() -> dict[int, str]:
            return {
                int(item.version): item.current_stage
                for item in list_versions(registry._session, registry.name)
            }

        one = registry.register(make_bundle("one")).version
        assert stages() == {1: "Staging"}
        registry.aliases.set(CHAMPION, one)
        assert stages() == {1: "Production"}
        two = registry.register(make_bundle("two", identity="b", weight=2.0)).version
        assert stages() == {1: "Production", 2: "Staging"}
        registry.aliases.set(CHAMPION, two)
        assert stages() == {1: "Archived", 2: "Production"}
        registry.aliases.set(CHAMPION, None)
        assert stages() == {1: "Archived", 2: "Archived"}


class TestFlavour:
    def test_mlflow_gives_the_same_probabilities(
        self, registry: Registry, make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import pandas as pd
        from ml_pipeline.bundle.reader import Bundle

        bundle = make_bundle()
        version = registry.register(bundle).version
        golden = Bundle.open(bundle).golden
        frame = pd.DataFrame(golden.inputs, columns=["x", "c"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import mlflow
            import mlflow.pyfunc

            monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
            before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
            mlflow.set_tracking_uri(registry.uri)
            try:
                model = mlflow.pyfunc.load_model(f"models:/small/{version.number}")
            finally:
                mlflow.set_tracking_uri(before[0])
            found = model.predict(frame)
        assert found.tolist() == pytest.approx(golden.predictions, abs=1e-6)

    @pytest.mark.parametrize("words", [["check", "--select=E,F,I,D,ANN"], ["format", "--check"]])
    def test_a_projects_linters_pass_over_the_script_in_its_home(
        self, registry: Registry, make_bundle: MakeBundle, home: Home, words: list[str]
    ) -> None:
        registry.register(make_bundle())
        scripts = list((home / "artifacts").rglob("*.py"))
        assert scripts
        command = [sys.executable, "-m", "ruff", *words, "--isolated", "--no-cache", *scripts]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout

    def test_nothing_is_pickled(
        self, registry: Registry, make_bundle: MakeBundle, home: Home
    ) -> None:
        registry.register(make_bundle())
        files = [path for path in (home / "artifacts").rglob("*") if path.is_file()]
        assert files
        assert not [path for path in files if path.suffix in {".pkl", ".pickle", ".joblib"}]
        assert not [path for path in files if path.read_bytes()[:1] == b"\x80"]


class TestRecords:
    def test_the_newest_is_read_and_the_others_stay(
        self, registry: Registry, make_bundle: MakeBundle, home: Home
    ) -> None:
        version = registry.register(make_bundle()).version
        first = registry.records.attach(version, "gate.json", b"one")
        second = registry.records.attach(version, "gate.json", b"two")
        assert newest_record(registry, version, "gate.json") == b"two"
        assert registry.read().version(1).tags["record.gate.json"] == second
        stored = {path.stem for path in (home / "artifacts").rglob("gate.json/*.json")}
        assert stored == {first, second}

    def test_none_where_there_is_none(self, registry: Registry, make_bundle: MakeBundle) -> None:
        version = registry.register(make_bundle()).version
        assert newest_record(registry, version, "gate.json") is None

    def test_a_changed_one_is_refused(
        self, registry: Registry, make_bundle: MakeBundle, home: Home
    ) -> None:
        version = registry.register(make_bundle()).version
        sha = registry.records.attach(version, "gate.json", b"one")
        (stored,) = (home / "artifacts").rglob(f"{sha}.json")
        stored.write_bytes(b"two")
        with pytest.raises(Refused, match=r"record gate.json of version 1 was changed"):
            newest_record(registry, version, "gate.json")

    def test_a_lost_version_is_not_reported_as_missing(
        self, registry: Registry, make_bundle: MakeBundle, home: Home
    ) -> None:
        version = registry.register(make_bundle()).version
        sha = registry.records.attach(version, "gate.json", b"one")
        (stored,) = (home / "artifacts").rglob(f"{sha}.json")
        stored.unlink()
        with pytest.raises(EnvironmentFault) as caught:
            newest_record(registry, version, "gate.json")
        assert "answers, but does not have record gate.json of version 1 any more" in str(
            caught.value
        )
        assert caught.value.expected == f"it at {stored.as_uri()}"


class TestDownload:
    def test_gives_the_bundle_back(
        self, registry: Registry, make_bundle: MakeBundle, tmp_path: Path
    ) -> None:
        bundle = make_bundle()
        version = registry.register(bundle).version
        fetched = registry.bundles.download(version, tmp_path / "fetched")
        names = sorted(item.name for item in bundle.iterdir())
        assert sorted(item.name for item in fetched.iterdir()) == names
        assert all((fetched / n).read_bytes() == (bundle / n).read_bytes() for n in names)

    def test_works_where_the_home_is_on_another_disk_than_the_scratch(
        self,
        registry: Registry,
        make_bundle: MakeBundle,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        version = registry.register(make_bundle()).version
        rename = Path.rename

        def within_the_disk(path: Path, target: Path) -> Path:
            if not path.is_relative_to(tmp_path / "volume"):
                raise OSError(errno.EXDEV, "Invalid cross-device link")
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", within_the_disk)
        fetched = registry.bundles.download(version, tmp_path / "volume" / "fetched")
        assert Bundle.open(fetched).digest == version.digest
        assert [item.name for item in fetched.parent.iterdir()] == ["fetched"]

    def test_refuses_a_changed_file(
        self, registry: Registry, make_bundle: MakeBundle, home: Home, tmp_path: Path
    ) -> None:
        version = registry.register(make_bundle()).version
        (stored,) = (home / "artifacts").rglob("model.onnx")
        stored.write_bytes(stored.read_bytes()[:-1] + b"?")
        with pytest.raises(Refused) as caught:
            registry.bundles.download(version, tmp_path / "fetched")
        assert caught.value.fault.startswith(
            "the registry's copy of version 1 is damaged: model.onnx has changed: its SHA-256 is "
        )
        assert caught.value.hint == "deploy another version, or register the model again"
        assert str(tmp_path) not in str(caught.value)
        assert not (tmp_path / "fetched").exists()

    def test_registering_again_mends_a_changed_file_of_the_same_size(
        self, registry: Registry, make_bundle: MakeBundle, home: Home, tmp_path: Path
    ) -> None:
        bundle = make_bundle()
        version = registry.register(bundle).version
        (stored,) = (home / "artifacts").rglob("model.onnx")
        stored.write_bytes(stored.read_bytes()[:-1] + b"?")
        assert registry.register(bundle).version == version
        assert Bundle.open(registry.bundles.download(version, tmp_path / "fetched")).digest

    def test_damage_that_registering_again_does_not_fix_is_reported(
        self, registry: Registry, make_bundle: MakeBundle, home: Home
    ) -> None:
        bundle = make_bundle()
        registry.register(bundle)
        (stored,) = (home / "artifacts").rglob("model.onnx")
        (stored.parent / "other.txt").write_text("nobody's")
        with pytest.raises(EnvironmentFault, match="does not hold version 1 as it was registered"):
            registry.register(bundle)

    def test_missing_files_are_not_reported_as_an_unavailable_registry(
        self, registry: Registry, make_bundle: MakeBundle, home: Home, tmp_path: Path
    ) -> None:
        bundle = make_bundle()
        version = registry.register(bundle).version
        (stored,) = (home / "artifacts").rglob("bundle")
        (home / "artifacts").rename(tmp_path / "away")
        with pytest.raises(EnvironmentFault) as caught:
            registry.bundles.download(version, tmp_path / "fetched")
        assert caught.value.fault == (
            f"registry {registry.uri} answers, but does not have the bundle of version 1 any more"
        )
        assert caught.value.expected == f"it at {stored.as_uri()}"
        assert registry.register(bundle).version == version
        assert Bundle.open(registry.bundles.download(version, tmp_path / "fetched")).digest

    def test_a_full_disk_is_not_taken_for_a_registry_that_is_away(
        self,
        registry: Registry,
        make_bundle: MakeBundle,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        version = registry.register(make_bundle()).version

        from mlflow.exceptions import MlflowException

        def full(**_given: object) -> None:
            raise MlflowException("Failed to download artifacts from path 'bundle'")

        monkeypatch.setattr("mlflow.artifacts.download_artifacts", full)
        with pytest.raises(EnvironmentFault, match="does not answer: Failed to download"):
            registry.bundles.download(version, tmp_path / "fetched")
        monkeypatch.setattr(shutil, "disk_usage", lambda _folder: SimpleNamespace(free=4096))
        with pytest.raises(EnvironmentFault) as caught:
            registry.bundles.download(version, tmp_path / "fetched")
        assert str(caught.value) == (
            f"the disk of {tmp_path} is full: 4,096 bytes are free; expected room for the bundle "
            "of version 1; make room on it, then try again"
        )

    def test_refuses_a_whole_other_bundle(
        self, registry: Registry, make_bundle: MakeBundle, home: Home, tmp_path: Path
    ) -> None:
        version = registry.register(make_bundle("one")).version
        other = make_bundle("other", weight=9.0)
        (stored,) = (home / "artifacts").rglob("manifest.json")
        for item in other.iterdir():
            (stored.parent / item.name).write_bytes(item.read_bytes())
        with pytest.raises(Refused, match="is not the one that was registered"):
            registry.bundles.download(version, tmp_path / "fetched")


class TestAliases:
    def test_move_and_go(self, registry: Registry, make_bundle: MakeBundle) -> None:
        one = registry.register(make_bundle("one")).version
        two = registry.register(make_bundle("two", identity="b", weight=2.0)).version
        registry.aliases.set(CHAMPION, one)
        assert (registry.read().champion, registry.read().challenger) == (one, two)
        registry.aliases.set(CHAMPION, two)
        assert registry.read().champion == two
        registry.aliases.set(CHAMPION, None)
        assert registry.read().champion is None

    def test_an_alias_of_a_lost_version_is_not_reported_as_a_missing_champion(
        self, registry: Registry, make_bundle: MakeBundle, home: Home
    ) -> None:
        registry.register(make_bundle())
        with sqlite3.connect(home / "mlflow.db") as connection:
            connection.execute(
                "insert into registered_model_aliases (workspace, name, alias, version)"
                " values ('default', 'small', 'champion', 7)"
            )
        connection.close()
        with pytest.raises(EnvironmentFault, match="names version 7, which is gone"):
            registry.read().version_with_alias(CHAMPION)

    def test_an_unknown_version_names_those_that_are(
        self, registry: Registry, make_bundle: MakeBundle
    ) -> None:
        registry.register(make_bundle())
        with pytest.raises(UsageError, match="no version 4; expected one of: 1"):
            registry.read().version(4)


class EmptyAnswer(BaseHTTPRequestHandler):
    """A server that says yes to everything, as a proxy in front of nothing may."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    do_POST = do_GET  # noqa: N815  # the name that http.server calls

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def empty_server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), EmptyAnswer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class TestNoAnswer:
    """ "No champion" is believed only from a registry that answered."""

    def test_an_unreachable_server_is_reported(self, tmp_path: Path) -> None:
        registry = Registry(f"http://127.0.0.1:{free_port()}", "small", Home(tmp_path))
        with pytest.raises(EnvironmentFault, match=r"registry http://127.* does not answer"):
            registry.read()

    def test_a_server_that_never_responds_times_out(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        with socket.create_server(("127.0.0.1", 0)) as server:
            registry = Registry(
                f"http://127.0.0.1:{server.getsockname()[1]}", "small", Home(tmp_path)
            )
            with pytest.raises(EnvironmentFault, match="does not answer"):
                registry.read()

    def test_a_server_that_is_not_a_registry_is_refused(
        self, tmp_path: Path, empty_server: str
    ) -> None:
        uri = empty_server.replace("http://", "http://user:secret@")
        with pytest.raises(EnvironmentFault, match="is not an MLflow registry") as caught:
            Registry(uri, "small", Home(tmp_path)).read()
        assert "secret" not in str(caught.value)

    @pytest.mark.slow
    def test_a_broken_database(self, tmp_path: Path) -> None:
        (tmp_path / "mlflow.db").write_bytes(b"this is no database" * 100)
        with pytest.raises(EnvironmentFault, match="does not answer"):
            Registry(None, "small", Home(tmp_path)).read()

    def test_a_database_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(EnvironmentFault):
            Registry(f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}", "small", Home(tmp_path)).read()

    def test_an_unknown_kind_of_uri(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"registry\.uri ftp://"):
            Registry("ftp://somewhere", "small", Home(tmp_path)).read()

    def test_the_password_is_not_shown(self, tmp_path: Path) -> None:
        uri = f"http://user:secret@127.0.0.1:{free_port()}"
        with pytest.raises(EnvironmentFault) as caught:
            Registry(uri, "small", Home(tmp_path)).read()
        assert "secret" not in str(caught.value)


class TestLeavesNothingBehind:
    def test_environment_logs_filters_and_folder(
        self,
        registry: Registry,
        make_bundle: MakeBundle,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        here = tmp_path / "here"
        here.mkdir()
        monkeypatch.chdir(here)
        environment, filters = dict(os.environ), list(warnings.filters)
        levels = [logging.getLogger(name).level for name in ("", "mlflow", "alembic")]
        version = registry.register(make_bundle()).version
        registry.records.attach(version, "gate.json", b"{}")
        registry.bundles.download(version, tmp_path / "fetched")
        assert dict(os.environ) == environment
        assert warnings.filters == filters
        assert [logging.getLogger(name).level for name in ("", "mlflow", "alembic")] == levels
        assert list(here.iterdir()) == []
        assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_progress_is_reported_while_the_database_is_created(tmp_path: Path) -> None:
    said: list[str] = []
    registry = Registry(
        None, "small", Home(tmp_path), progress=lambda what, share: said.append(what)
    )
    assert registry.read().version_with_alias(CHALLENGER) is None
    assert said == ["making the registry's database"]


def test_a_relative_sqlite_file_starts_at_the_root(make_project: Callable[..., object]) -> None:
    project = make_project(registry={"uri": "sqlite:///store/ml.db"})
    registry = Registry.of(project, Home(project.root / ".ml"))
    assert registry.uri == f"sqlite:///{project.root}/store/ml.db"
