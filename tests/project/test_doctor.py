"""doctor reports each fault of machine and project with its fix."""

from __future__ import annotations

import shutil
from importlib import metadata
from pathlib import Path

import pytest
from ml_pipeline.approval import keys
from ml_pipeline.approval.policy_files import PolicyFile
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import Verdict
from ml_pipeline.project import doctor
from ml_pipeline.training.estimators.lightgbm import LightGBM

from tests.servers import free_port


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def environments(port: int) -> dict[str, object]:
    return {"production": {"port": port}}


class TestExamine:
    def test_this_machine_can_run_a_project(self, make_project, home):
        project = make_project(environments=environments(free_port()))
        checks = {check.name: check for check in doctor.examine(project, home)}
        assert len(checks) == 15
        bad = [check for check in checks.values() if check.required and check.verdict != "pass"]
        assert bad == []
        assert not checks["git"].required
        assert not checks["Docker"].required

    def test_missing_keys_fail_and_a_new_home_without_keys_passes(self, make_project, home):
        home.make()
        assert doctor._keys(make_project(), home, ()).observed == "none created yet"
        keys.create_keypair(home)
        assert doctor._keys(make_project(), home, ()).observed == "1 trusted"
        shutil.rmtree(home / "keys")
        check = doctor._keys(make_project(), home, ())
        assert check.verdict is Verdict.FAIL
        assert f"the keys of home {home.root} are missing" in check.why
        assert "restore the folder from a backup" in check.why

    @pytest.mark.parametrize(
        ("sections", "message"),
        [
            ({"train": {"estimator": "xgbost"}}, "did you mean 'xgboost'?"),
            ({"gate": {"metric": "acuracy"}}, "did you mean 'accuracy'?"),
            ({"gate": {"guards": {"logloss": {"margin": 0.1}}}}, "did you mean 'log_loss'?"),
            ({"evaluate": {"thresholds": {"auk": {"min": 0.5}}}}, "unknown metric 'auk'"),
            ({"environments": {"production": {"port": 1, "target": "dokcer"}}}, "'docker'"),
            (
                {"environments": {"staging": {"port": 8000}, "production": {"port": 8000}}},
                "environments.staging.port are both 8000",
            ),
        ],
    )
    def test_an_unknown_name_in_the_configuration_fails(self, make_project, sections, message):
        check = doctor._configuration(make_project(**sections))
        assert check.verdict is Verdict.FAIL
        assert message in check.why

    def test_the_policy_files_in_force_are_listed(self, make_project, tmp_path):
        path = tmp_path / "policy.yaml"
        path.write_text("four_eyes: true\n")
        files = (PolicyFile("ML_POLICY", path, of_administrators=True),)
        result = doctor._policy(make_project(), files)
        assert result.observed == f"{path} (ML_POLICY)"
        assert result.why == f"this user can write {path}: on an agent, root must own the file"
        assert not result.required
        assert doctor._policy(make_project(), ()).observed == "the built-in minimum"

    @pytest.mark.parametrize("text", ["four_eye: true", "four_eyes: true\nfour_eyes: false"])
    def test_an_invalid_policy_fails(self, make_project, tmp_path, text):
        path = tmp_path / "policy.yaml"
        path.write_text(text)
        result = doctor._policy(make_project(), (PolicyFile("ML_POLICY", path, True),))
        assert (result.verdict, result.required) == (Verdict.FAIL, True)
        assert "four_eye" in result.why

    def test_two_clusters_may_use_the_same_port(self, make_project):
        section = {
            "target": "kubernetes",
            "port": 8000,
            "kubernetes": {"repository": "registry.example.org/m"},
        }
        project = make_project(environments={"staging": section, "production": section})
        assert "port" not in doctor._configuration(project).why

    def test_doctor_does_not_write_into_the_project(self, make_project, home):
        project = make_project(environments={})
        doctor.examine(project, home)
        assert [item.name for item in project.root.iterdir()] == ["ml.yaml"]


class TestPackages:
    def test_a_wrong_version_and_a_missing_package_are_reported(self, monkeypatch):
        monkeypatch.setattr(metadata, "requires", lambda _: ["pytest<1", "no-such-package>=2"])
        check = doctor._versions()
        assert check.verdict is Verdict.FAIL
        assert "no-such-package is not installed" in check.why
        assert f"pytest is {metadata.version('pytest')}, not <1" in check.why

    def test_packages_of_other_platforms_are_not_needed(self, monkeypatch):
        monkeypatch.setattr(
            metadata, "requires", lambda _: ["no-such-package; sys_platform == 'never'"]
        )
        assert doctor._versions().verdict is Verdict.PASS

    def test_a_package_that_cannot_be_imported_fails(self, make_project, monkeypatch):
        monkeypatch.setattr(doctor, "IMPORTED", ("json", "no_such_module"))
        check, _ = doctor._imports(make_project())
        assert check.verdict is Verdict.FAIL
        assert check.observed.startswith("no_such_module: ModuleNotFoundError")

    @pytest.mark.parametrize(("estimator", "required"), [("lightgbm", True), ("xgboost", False)])
    def test_a_package_is_required_only_for_the_configured_estimator(
        self, make_project, monkeypatch, estimator, required
    ):
        monkeypatch.setattr(LightGBM, "packages", {"lightgbm": "no_such_module"})
        project = make_project(train={"estimator": estimator, "params": {"max_depth": 3}})
        failed = [each for each in doctor._imports(project) if each.verdict is Verdict.FAIL]
        assert [each.required for each in failed] == [required]
        assert "no_such_module: ModuleNotFoundError" in failed[0].observed

    def test_a_package_that_crashes_the_interpreter_is_named(self, make_project, monkeypatch):
        script = doctor._IMPORTER.replace(
            "importlib.import_module(name)", "__import__('os').abort()"
        )
        monkeypatch.setattr(doctor, "_IMPORTER", script)
        monkeypatch.setattr(doctor, "IMPORTED", ("json",))
        check, _ = doctor._imports(make_project())
        assert check.observed == "json: crashed with exit code -6"


class TestPlaces:
    def test_a_home_that_is_a_file_fails(self, tmp_path):
        (tmp_path / "home").write_text("")
        check = doctor._home(Home(tmp_path / "home"))
        assert check.verdict is Verdict.FAIL
        assert "ML_HOME" in check.why

    def test_a_full_disk_fails(self, home, monkeypatch):
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: Usage)
        check = doctor._space(home)
        assert check.verdict is Verdict.FAIL
        assert check.observed.startswith("0.5 GB free")


class Usage:
    free = 5e8


class TestConfiguration:
    def test_an_unknown_option_of_the_problem_fails(self, make_project):
        project = make_project(problem={"kind": "bars", "daily_limt": 0.1})
        check = doctor._configuration(project)
        assert check.verdict is Verdict.FAIL
        assert "daily_limit" in check.why


class TestRegistry:
    def check(self, make_project, home, uri):
        return doctor._registry(make_project(registry={"uri": uri}), home)

    def test_the_database_in_the_home_passes(self, make_project, home):
        assert self.check(make_project, home, None).verdict is Verdict.PASS

    def test_a_database_that_does_not_exist_yet_passes(self, make_project, home):
        assert self.check(make_project, home, "sqlite:///own.db").verdict is Verdict.PASS
        assert not (make_project().root / "own.db").exists()

    @pytest.mark.parametrize("uri", [None, "sqlite:///own.db"])
    def test_a_file_that_is_not_a_database_fails(self, make_project, home, uri):
        home.make()
        file = home / "mlflow.db" if uri is None else make_project().root / "own.db"
        file.write_bytes(bytes(range(256)) * 20)
        check = self.check(make_project, home, uri)
        assert check.verdict is Verdict.FAIL
        assert check.observed.endswith("does not answer")
        assert check.why.endswith(": file is not a database")

    @pytest.mark.parametrize("uri", [None, "sqlite:///own.db"])
    def test_a_missing_database_with_a_history_fails(self, make_project, home, uri):
        home.make()
        file = home / "mlflow.db" if uri is None else make_project().root / "own.db"
        (home / "history.jsonl").write_text('{"version": 1}\n')
        check = self.check(make_project, home, uri)
        assert check.verdict is Verdict.FAIL
        fault = f"registry {file} is gone, though this home's history knows version 1"
        assert check.observed == fault
        assert check.why.startswith(f"{fault}; restore the file")
        assert not file.exists()

    def test_the_error_for_an_unavailable_server_masks_its_password(self, make_project, home):
        uri = f"http://user:secret@127.0.0.1:{free_port()}"
        check = self.check(make_project, home, uri)
        assert check.verdict is Verdict.FAIL
        assert "secret" not in check.model_dump_json()

    def test_an_unknown_database_fails(self, make_project, home):
        assert self.check(make_project, home, "oracel://x/y").verdict is Verdict.FAIL
