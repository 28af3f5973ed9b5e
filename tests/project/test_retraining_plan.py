"""What `plan` says about a project beside its version in production, which nothing trained."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ml_pipeline import config
from ml_pipeline.bundle import identity, source
from ml_pipeline.bundle.sbom import sbom
from ml_pipeline.cli.main import main
from ml_pipeline.config import Project
from ml_pipeline.core.errors import EnvironmentFault, Refused
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.gate.record import record
from ml_pipeline.monitoring import dated_change
from ml_pipeline.monitoring.conclusions import Conclusion
from ml_pipeline.monitoring.state import LastConclusion
from ml_pipeline.project import retraining_plan
from ml_pipeline.project.data_changes import DataChange, FormerData, data_change
from ml_pipeline.project.retraining_plan import Plan, Reason, make_plan
from ml_pipeline.registry.records import GATE_RECORD
from ml_pipeline.registry.registry import Registry

from tests.champions import make_champion

pytestmark = pytest.mark.needs("git")

ML_YAML = """
project: small
features: {modules: [own]}
train: {params: {max_depth: 3}}
"""
LATER = datetime.now(UTC) + timedelta(days=8)
"""After the cool-down of a version that is registered now."""
OWN = """
from ml_pipeline import feature

@feature
def spread(bars):
    return (bars["high"] - bars["low"]) / bars["close"]
"""


def no_progress(_what: str, _share: float) -> None:
    """Show nothing."""


@dataclasses.dataclass
class Case:
    """A project in a repository of its own; version 1 was made from its first commit."""

    root: Path
    data: DataChange

    @property
    def home(self) -> Home:
        return Home(self.root / ".ml")

    def project(self, **sections: Any) -> Project:
        assignments = [f"{key}={value}" for key, value in sections.items()]
        return config.load(self.root, assignments, environment={})

    def plan(self, now: datetime = LATER, **sections: Any) -> Plan:
        return make_plan(self.project(**sections), self.home, None, no_progress, now)

    def reason(self, name: str, **options: Any) -> Reason:
        return next(one for one in self.plan(**options).reasons if one.name == name)


def git(root: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=C", "-c", "user.email=c@example.org", *words]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def template(
    tmp_path_factory: pytest.TempPathFactory,
    write_bundle: Callable[..., Path],
    registry_database: Path,
) -> Path:
    """The folder of a project with a version in production."""
    root = tmp_path_factory.mktemp("planned") / "project"
    root.mkdir()
    (root / "own.py").write_text(OWN)
    (root / "ml.yaml").write_text(ML_YAML)
    (root / ".gitignore").write_text(".ml/\nbuild/\n__pycache__/\n")
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "one")
    project = config.load(root, environment={})
    home = Home(root / ".ml")
    home.root.mkdir()
    (home / "mlflow.db").write_bytes(registry_database.read_bytes())
    bundle = write_bundle(
        root.parent / "bundle",
        source=source.archive(project),
        sbom=sbom("small", "a" * 64, identity.locked(project), "0" * 64).encode(),
        identity_parts={"data": "d" * 64, **identity.recipe(project)},
        training={"rows": {"train": 80, "holdout": 20}, "cutoffs": {"holdout_end": "2026-05-01"}},
    )
    tags = {"git.commit": git(root, "rev-parse", "HEAD").strip(), "train.seconds": "90.0"}
    registry = Registry.of(project, home)
    make_champion(registry, home, registry.register(bundle, tags).version)
    return root


@pytest.fixture
def case(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    """A copy of the project; the artefacts of its registry are shared."""
    root = shutil.copytree(template, tmp_path / "project")
    case = Case(root, DataChange(False, "the same rows; read", "the same", 0.1))
    monkeypatch.setattr(retraining_plan, "data_change", lambda *_: case.data)
    return case


class TestPlan:
    def test_nothing_changed(self, case: Case) -> None:
        plan = case.plan()
        assert (plan.train, plan.why) == (False, "nothing changed since version 1")
        assert (plan.cause, plan.goal, plan.version) == ("", "non_inferior", 1)
        assert plan.cost == {
            "trainings": 1, "minutes": 1.5, "last_minutes": 1.5, "data_seconds": 0.1
        }  # fmt: skip

    def test_documentation_and_tests_are_named_and_train_nothing(self, case: Case) -> None:
        (case.root / "README.md").touch()
        (case.root / "tests").mkdir()
        (case.root / "tests/test_own.py").touch()
        git(case.root, "add", "README.md")
        git(case.root, "commit", "-qm", "two")
        plan = case.plan()
        assert plan.train is False
        assert plan.why == (
            "nothing that shapes the model changed since version 1, only README.md, "
            "tests/test_own.py"
        )

    def test_newer_data_have_to_be_no_worse(self, case: Case) -> None:
        case.data = DataChange(True, "5 days more; read", "5 days more", 0.1)
        plan = case.plan()
        assert (plan.train, plan.goal) == (True, "non_inferior")
        assert plan.why == plan.cause == "the data changed since version 1: 5 days more"

    def test_code_and_configuration_are_named_and_the_data_not_read(self, case: Case) -> None:
        (case.root / "own.py").write_text(OWN.replace("close", "open"))
        plan = case.plan(**{"train.params.max_depth": 4, "train.seed": 8})
        assert (plan.train, plan.goal) == (True, "auto")
        assert plan.why == (
            "code changed since version 1: own.py; "
            "configuration changed since version 1: train.params.max_depth (3, now 4); "
            "seed changed since version 1: 7, now 8"
        )
        data = case.reason("data", **{"train.seed": 8})
        assert (data.changed, data.detail) == (None, "not read: the recipe changed")

    def test_a_package_is_named(self, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
        locked = identity.locked(case.project())
        monkeypatch.setattr(identity, "locked", lambda _: locked | {"numpy": "0.1"})
        lock = case.reason("lock")
        assert (lock.changed, lock.detail) == (True, f"numpy ({locked['numpy']}, now 0.1)")

    def test_within_the_cool_down_it_waits(self, case: Case) -> None:
        case.data = DataChange(True, "5 days more; read", "5 days more", 0.1)
        now = datetime.now(UTC)
        plan = case.plan(now)
        assert plan.train is False
        assert plan.why.startswith("version 1 (in production) was registered on ")
        assert case.reason("data", now=now).detail == "not read: a retraining is recent"
        assert case.plan(now, **{"monitor.cool_down_days": 0}).train is True
        assert case.plan(now + timedelta(days=7)).train is True

    def test_a_version_that_waits_for_an_answer_is_not_followed_by_another(
        self, case: Case, make_bundle: Callable[..., Path]
    ) -> None:
        case.data = DataChange(True, "5 days more; read", "5 days more", 0.1)
        registry = Registry.of(case.project(), case.home)
        champion = registry.read().champion
        recipe = identity.recipe(case.project())
        waiting = registry.register(
            make_bundle(identity="b", weight=2.0, identity_parts={"data": "e" * 64, **recipe})
        ).version
        assert case.plan().train is True

        def decide(verdict: Verdict, against: str) -> Plan:
            content = record(
                [Check(name="better", verdict=verdict)],
                {},
                summary="",
                challenger=waiting.digest,
                champion=against,
                policy="0" * 64,
            )
            registry.records.attach(waiting, GATE_RECORD, content)
            return case.plan()

        assert decide(Verdict.FAIL, champion.digest).train is True
        assert decide(Verdict.PASS, "0" * 64).train is True
        plan = decide(Verdict.PASS, champion.digest)
        assert plan.train is False
        assert plan.why.startswith("version 2 passed the gate and has waited since ")
        assert case.plan(LATER + timedelta(days=30)).train is True
        assert case.plan(**{"train.seed": 8}).train is True
        make_champion(registry, case.home, waiting)
        make_champion(registry, case.home, champion)
        assert case.plan().train is True

    def test_a_change_of_the_code_does_not_wait(self, case: Case) -> None:
        (case.root / "own.py").write_text(OWN.replace("close", "open"))
        assert case.plan(datetime.now(UTC)).train is True

    def test_monitor_gives_the_cause(self, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
        def concludes(conclusion: Conclusion, version: int = 1, day: str = "2026-05-12") -> Plan:
            seen = LastConclusion(
                LATER, version, conclusion, "reason", "drift in volume_z", LATER, day
            )
            for module in (retraining_plan, dated_change):
                monkeypatch.setattr(module, "last_conclusion", lambda *_: seen)
            return case.plan(**{"train.windows": "[all, {since: change}]"})

        change = {"train.windows": "[all, {since: change}]"}
        assert case.plan(**change).window is None
        plan = concludes(Conclusion.RETRAIN)
        assert plan.why.startswith(f"drift in volume_z (look of {LATER.date()}); configuration ")
        assert plan.window == {
            "candidates": ["all", {"since": "2026-05-12"}],
            "titles": ["all days", "since the change of 2026-05-12"],
        }
        words = {one.name: one for one in concludes(Conclusion.INVESTIGATE).reasons}
        assert (words["monitor"].changed, words["monitor"].detail) == (
            False, f"investigate: reason (look of {LATER.date()})"
        )  # fmt: skip
        words = {one.name: one for one in concludes(Conclusion.RETRAIN, version=9).reasons}
        assert (words["monitor"].changed, words["monitor"].detail) == (
            None, "its last look was at version 9"
        )  # fmt: skip

    def test_a_change_that_was_dated_since_is_another_window(
        self, case: Case, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = LastConclusion(LATER, 1, Conclusion.FINE, "fine", "", LATER, "2026-05-12")
        monkeypatch.setattr(dated_change, "last_conclusion", lambda *_: seen)
        monkeypatch.setattr(retraining_plan, "recipe_changes", lambda *_: ())
        plan = case.plan(**{"train.window": "{since: change}"})
        assert plan.train is True
        assert plan.why == ("another window of training days: since the change of 2026-05-12")

    def test_a_wish_of_monitor_alone_trains_nothing(
        self, case: Case, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = LastConclusion(LATER, 1, Conclusion.RETRAIN, "reason", "drift", LATER, "")
        monkeypatch.setattr(retraining_plan, "last_conclusion", lambda *_: seen)
        plan = case.plan()
        assert plan.train is False
        assert plan.why == (
            f"drift (look of {LATER.date()}); but neither recipe nor data changed since version 1, "
            "so training would give the same model"
        )

    def test_an_old_model_is_a_cause(self, case: Case) -> None:
        case.data = DataChange(True, "5 days more; read", "5 days more", 0.1)
        assert case.reason("model age").changed is False
        plan = case.plan(**{"monitor.max_age_days": 30})
        assert plan.why.startswith("the training data of version 1 end on 2024-03-01, ")
        assert plan.why.endswith(
            "monitor.max_age_days is 30; the data changed since version 1: 5 days more"
        )

    def test_without_a_version_in_production(self, make_project: Callable[..., Project]) -> None:
        project = make_project("new")
        plan = make_plan(project, Home(project.root / ".ml"), None, no_progress)
        assert (plan.train, plan.why, plan.version) == (True, "no version in production", None)
        assert not (project.root / ".ml").exists()

    def test_a_registry_that_is_lost_is_never_nothing_changed(self, case: Case) -> None:
        (case.home / "mlflow.db").unlink()
        with pytest.raises(EnvironmentFault, match=r"mlflow\.db"):
            case.plan()

    def test_a_bundle_that_is_damaged_is_not_compared_with(
        self, case: Case, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def damaged(*_: object) -> None:
            raise Refused("model.onnx has another digest", hint="register the model again")

        monkeypatch.setattr(retraining_plan, "recipe_changes", damaged)
        with pytest.raises(EnvironmentFault, match="version 1, which is in production, cannot be"):
            case.plan()

    def test_a_registry_without_the_alias_is_never_nothing_in_production(self, case: Case) -> None:
        Registry.of(case.project(), case.home).aliases.set("champion", None)
        with pytest.raises(EnvironmentFault, match="the champion of 'small' is unknown"):
            case.plan()


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., DataChange]:
    """Read the simulated exchange, of so many days."""
    root = tmp_path_factory.mktemp("data")
    (root / "ml.yaml").write_text("project: small\n")

    def read(days: int, former: FormerData, **sections: Any) -> DataChange:
        shown = {"kind": "simulated", "symbols": 20, "days": days, "seed": 3}
        sections |= {f"data.source.{key}": value for key, value in shown.items()}
        assignments = [f"{key}={value}" for key, value in sections.items()]
        project = config.load(root, assignments, environment={})
        return data_change(project, Home(root / ".ml"), former, no_progress)

    return read


@pytest.fixture(scope="module")
def first(read: Callable[..., DataChange]) -> DataChange:
    return read(40, FormerData("", None, None))


class TestCommand:
    """The verb, as programs call it."""

    def test_prints_one_object_and_ends_with_0(
        self, case: Case, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["plan", "--json", "--project", str(case.root)]) == 0
        printed = json.loads(capsys.readouterr().out)
        assert printed["schema"] == "ml-pipeline/plan/1"
        assert (printed["train"], printed["cause"], printed["version"]) == (False, "", 1)
        assert {frozenset(one) for one in printed["reasons"]} == {
            frozenset({"name", "changed", "detail"})
        }

    def test_prints_the_reason_first(self, case: Case, capsys: pytest.CaptureFixture[str]) -> None:
        cool_down = ["--set", "monitor.cool_down_days=0"]
        assert main(["plan", "--project", str(case.root), *cool_down]) == 0
        shown = capsys.readouterr().out.splitlines()
        assert shown[0] == "nothing to train: nothing changed since version 1"
        assert any(line.split() == ["lock", "no"] for line in shown)

    def test_ends_with_3_where_it_cannot_tell(
        self, case: Case, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (case.home / "mlflow.db").unlink()
        assert main(["plan", "--json", "--project", str(case.root)]) == 3
        printed = capsys.readouterr()
        assert (printed.out, "mlflow.db" in printed.err) == ("", True)


class TestData:
    def test_of_which_nothing_is_known_are_counted(self, first: DataChange) -> None:
        assert first.changed
        assert re.fullmatch(r"\d{3} rows; read \d{3} rows \(simulated\) in .* s", first.detail)

    def test_of_the_same_fingerprint_are_unchanged(self, read: Any, first: DataChange) -> None:
        again = read(40, FormerData(first.fingerprint, None, None))
        assert again.changed is False
        assert again.why == f"the same {first.why} to 2012-02-23"

    def test_of_new_days_are_counted(self, read: Any, first: DataChange) -> None:
        rows = int(first.why.split()[0])
        found = read(42, FormerData(first.fingerprint, rows, "2012-02-23"))
        assert re.fullmatch(r"2 days more, to 2012-02-27, with \d+ rows", found.why)
        fewer = read(42, FormerData(first.fingerprint, rows + 3, "2012-02-23"))
        assert fewer.why == f"{found.why}, and 3 fewer before"
        other = read(40, FormerData("0" * 64, rows, "2012-02-23"))
        assert other.why == f"other values in the {rows} rows"

    def test_that_do_not_pass_their_tests_are_no_reason_to_stay_silent(self, read: Any) -> None:
        found = read(40, FormerData("", None, None), **{"data.max_age_days": 1})
        assert found.changed
        assert found.why.startswith("the data do not pass their test '")


def test_a_version_without_tags_of_its_data_has_those_of_its_training_record() -> None:
    training = {"rows": {"train": 80, "holdout": 20}, "cutoffs": {"holdout_end": "2026-05-01"}}
    parts = {"data": "d" * 64}
    assert FormerData.of({}, parts, training) == FormerData("d" * 64, 100, "2026-05-01")
    tags = {"data.rows": "120", "data.last": "2026-05-02"}
    assert FormerData.of(tags, parts, training) == FormerData("d" * 64, 120, "2026-05-02")
