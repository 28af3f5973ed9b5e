"""The gate over a real delivery: registry, reports, champion, its own code, and the record."""

import dataclasses
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml
from ml_pipeline import config
from ml_pipeline.approval.policy import Policy, load
from ml_pipeline.approval.subject import gather_facts
from ml_pipeline.approval.summary import summarise
from ml_pipeline.config import GateSection
from ml_pipeline.core import report
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import Profile, Verdict
from ml_pipeline.core.workdir import Workdir, digest
from ml_pipeline.monitoring.performance_history import PerformanceLine
from ml_pipeline.promotion import earlier_decisions
from ml_pipeline.registry.records import GATE_RECORD
from ml_pipeline.registry.registry import Registry
from ml_pipeline.stages import runner
from ml_pipeline.stages.context import Context
from ml_pipeline.stages.monitor import expected_of
from ml_pipeline.stages.table import STAGES, TrainFlags

from tests.champions import make_champion
from tests.records import newest_record

PROJECT = {
    "project": "small",
    "data": {"source": {"kind": "simulated", "symbols": 24, "days": 220, "seed": 3, "edge": 1.5}},
    "split": {"holdout_days": 60, "validation_days": 20, "folds": 0},
    "train": {"max_epochs": 30, "params": {"max_depth": 3}},
    "evaluate": {"resamples": 50},
}
BEFORE = ("validate-data", "train", "evaluate", "package", "register")
OWN_FEATURE = """
from ml_pipeline import feature

@feature
def {name}(bars):
    return (bars["high"] - bars["low"]) / bars["close"]
"""
COMPARISON_TEST = """
def test_against_baseline(new_model, baseline_model, X_test, y_test):
    new = (new_model.predict(X_test) == y_test).mean()
    old = (baseline_model.predict(X_test) == y_test).mean()
    assert new >= old + {gain}
"""


REPOSITORY_CHECK = """
from ml_pipeline import Check, Verdict

def mean(comparison, most):
    mean = float(comparison.rows.challenger.mean())
    verdict = Verdict.PASS if mean <= most else Verdict.FAIL
    return Check(name="", verdict=verdict, observed=mean, expected=f"at most {most}")
"""
INSTALLED_CHECK = """
from typing import Annotated
from ml_pipeline import AT_MOST, Check, GateCheck, Section, Verdict

class MeanPrediction(GateCheck):
    class Settings(Section):
        most: Annotated[float, AT_MOST] = 0.9

    def judge(self, comparison):
        mean = float(comparison.rows.challenger.mean())
        verdict = Verdict.PASS if mean <= self.settings.most else Verdict.FAIL
        return Check(name="mean", verdict=verdict, observed=mean)
"""


class Delivery:
    """A project with its working folder and home; runs stages as the command line would."""

    def __init__(self, root: Path):
        self.root = root

    def write(self, **sections):
        self.root.mkdir(exist_ok=True)
        values = {key: PROJECT.get(key, {}) | {} for key in PROJECT if key != "project"}
        for name, section in sections.items():
            values[name] = values.get(name, {}) | section
        (self.root / "ml.yaml").write_text(yaml.safe_dump({"project": "small", **values}))

    def context(self, stage, *, workdir=None, **changed):
        project = config.load(self.root, environment={})
        values = {
            "stage": STAGES[stage],
            "project": project,
            "workdir": Workdir(workdir or self.root / "build/ml"),
            "home": Home(self.root / ".ml"),
            "profile": Profile.FULL,
            "run_id": "test-run",
            "progress": lambda what, share: None,
            "flags": STAGES[stage].flags(),
        }
        return Context(**values | changed)

    def deliver(self, cause=None, **sections):
        """Run every stage before the gate; stand in for those of staging with passed reports."""
        self.write(**sections)
        for stage in BEFORE:
            flags = {"flags": TrainFlags(cause=cause)} if stage == "train" else {}
            done = runner.execute(self.context(stage, **flags)).report
            assert done.verdict is Verdict.PASS, done.summary
        for stage in ("deploy", "verify", "load-test", "shadow"):
            stood_in = done.model_copy(
                update={"stage": stage, "environment": "staging", "inputs": {}, "outputs": {}}
            )
            report.write(stood_in, Workdir(self.root / "build/ml"))

    def optional(self, stage):
        """Return the project with ``required: false`` in a stage's section."""
        project = config.load(self.root, environment={})
        name = stage.replace("-", "_")
        section = getattr(project.config, name).model_copy(update={"required": False})
        changed = project.config.model_copy(update={name: section})
        return dataclasses.replace(project, config=changed)

    def with_gate(self, **settings):
        """Return the project with settings of its section ``gate``."""
        project = config.load(self.root, environment={})
        changed = project.config.model_copy(update={"gate": GateSection(**settings)})
        return dataclasses.replace(project, config=changed)

    def gate(self, **changed):
        return runner.execute(self.context("gate", **changed))

    @property
    def registry(self):
        project = config.load(self.root, environment={})
        return Registry.of(project, Home(self.root / ".ml"))

    def promote(self):
        make_champion(self.registry, Home(self.root / ".ml"), self.registry.read().challenger)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A first delivery, up to the gate: there is no champion."""
    delivery = Delivery(tmp_path_factory.mktemp("first") / "project")
    delivery.deliver()
    return delivery


@pytest.fixture
def scratch(first, tmp_path):
    """A copy of the first delivery's working folder, to be tampered with."""
    return shutil.copytree(first.root / "build/ml", tmp_path / "ml")


def test_a_file_of_predictions_is_not_believed(first, scratch):
    """Who rewrites what evaluate predicted, and its digest, changes nothing that the gate says."""
    honest = first.gate().report
    path = scratch / "data/predictions.parquet"
    frame = pd.read_parquet(path)
    frame["model"] = frame["__label"].fillna(0.5) * 0.98 + 0.01
    frame["base_rate"] = 0.999
    frame.to_parquet(path)
    outputs = json.loads((scratch / "reports/evaluate.json").read_text())["outputs"]
    tamper(scratch, "evaluate", outputs=outputs | {"data/predictions.parquet": digest(path)})
    found = first.gate(workdir=scratch).report
    assert found.metrics["primary"] == honest.metrics["primary"]
    assert found.summary == honest.summary


def tamper(folder, name, **changed):
    path = folder / f"reports/{name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def named(done, name):
    return next(check for check in done.report.checks if name in check.name)


class TestFirstDelivery:
    def test_the_best_heuristic_stands_in_and_the_record_is_what_approval_reads(self, first):
        done = first.gate()
        assert (done.exit_code, done.report.verdict) == (0, Verdict.PASS)
        metrics = done.report.metrics
        assert metrics["goal"] == "superior"
        assert metrics["against"].startswith("the best heuristic")
        assert metrics["primary"]["test"]["n"] >= 50
        assert done.report.summary.startswith("may be promoted: within-day AUC 0.7")
        expected = metrics["expected"]
        assert expected["metric"] == "within_day_auc"
        assert expected["value"] == metrics["models"]["model"]["within_day_auc"]["value"]
        assert expected["units"] >= 50
        challenger = first.registry.read().challenger
        facts = gather_facts(first.registry, challenger, None, Policy())
        assert facts.gate_digest == metrics["record"]
        assert facts.gate.metrics["expected"] == expected
        monitored = expected_of(first.context("gate"), challenger.digest)
        assert monitored is not None
        assert monitored.to_json() == expected
        assert expected_of(first.context("gate"), "0" * 64) is None
        assert facts.gate.summary == done.report.summary

    def test_promotions_that_were_worse_than_expected_are_shown_to_the_approver(
        self, first, monkeypatch
    ):
        line = PerformanceLine(
            look=4,
            at=datetime(2026, 5, 1, tzinfo=UTC),
            version=7,
            digest="7" * 64,
            metric="within_day_auc",
            served=True,
            expected={"value": 0.7, "low": 0.68, "high": 0.72},
            realised={"value": 0.61, "low": 0.59, "high": 0.63},
            as_expected=False,
        )
        monkeypatch.setattr("ml_pipeline.stages.gate.read_production", lambda home: [line])
        done = first.gate()
        check = named(done, "expected performance of earlier promotions")
        sentence = (
            "1 of 1 promoted versions performed worse in production than the gate expected "
            "(version 7: within day auc 0.6100 [0.5900, 0.6300], expected 0.7000 [0.6800, 0.7200])"
        )
        assert (check.verdict, check.required, check.why) == (Verdict.FAIL, False, sentence)
        assert done.report.verdict is Verdict.PASS, "the approver decides"
        challenger = first.registry.read().challenger
        assert sentence in summarise(gather_facts(first.registry, challenger, None, Policy()))

    def test_a_rollback_of_the_version_is_said_before_its_metric(self, first, monkeypatch):
        """A prompt of Jenkins shows what the gate says, before approve has run."""
        gone_back = SimpleNamespace(
            kind="rollback",
            former_version=1,
            former_bundle=first.registry.read().challenger.digest,
            at=datetime(2026, 5, 1, tzinfo=UTC),
            by="Bina",
            reason="too many alarms",
        )
        monkeypatch.setattr(earlier_decisions, "read_history", lambda _: [gone_back])
        done = first.gate()
        decision = "version 1 was rolled back on 2026-05-01 by Bina: too many alarms"
        assert done.exit_code == 0
        assert done.report.summary.startswith(f"{decision}; may be promoted: ")
        check = named(done, "earlier decisions")
        assert (check.required, check.verdict, check.why) == (False, Verdict.INCONCLUSIVE, decision)

    def test_the_same_inputs_give_the_same_record(self, first):
        assert first.gate().report.metrics["record"] == first.gate().report.metrics["record"]

    @pytest.mark.parametrize(
        "name",
        ["validate-data", "evaluate", "verify-staging", "load-test-staging", "shadow-staging"],
    )
    def test_a_missing_report_stops_it(self, first, scratch, name):
        (scratch / f"reports/{name}.json").unlink()
        done = first.gate(workdir=scratch)
        assert (done.exit_code, done.report.verdict) == (1, Verdict.INCONCLUSIVE)
        check = named(done, f"report of {name.replace('-staging', ' staging')}")
        assert "has not run" in check.why

    @pytest.mark.parametrize("content", ["", "{}", '{"verdict": "pass"'])
    def test_a_broken_report_is_no_report(self, first, scratch, content):
        (scratch / "reports/verify-staging.json").write_text(content)
        assert first.gate(workdir=scratch).report.verdict is Verdict.INCONCLUSIVE

    def test_a_failed_report_stops_it(self, first, scratch):
        tamper(scratch, "verify-staging", verdict="fail", summary="the API broke its contract")
        done = first.gate(workdir=scratch)
        assert (done.exit_code, done.report.verdict) == (1, Verdict.FAIL)
        assert "the API broke its contract" in done.report.summary

    def test_a_report_of_another_model_stops_it(self, first, scratch):
        model = first.registry.read().challenger
        other = {"name": model.name, "identity": "c" * 64, "digest": "", "version": None}
        tamper(scratch, "evaluate", model=other)
        assert first.gate(workdir=scratch).report.verdict is Verdict.FAIL

    def test_a_shadow_that_was_only_started_stops_it(self, first, scratch):
        tamper(scratch, "shadow-staging", verdict="skipped", summary="judge it later")
        done = first.gate(workdir=scratch)
        assert (done.exit_code, done.report.verdict) == (1, Verdict.FAIL)
        assert "judge it later" in done.report.summary

    @pytest.mark.parametrize("name", ["load-test", "shadow"])
    def test_what_is_not_required_is_shown_and_stops_nothing(self, first, scratch, name):
        optional = first.optional(name)
        tamper(scratch, f"{name}-staging", verdict="fail", summary="p99 4000 ms")
        done = first.gate(workdir=scratch, project=optional)
        assert done.exit_code == 0, done.report.summary
        check = named(done, f"report of {name} staging")
        assert (check.verdict, check.required) == (Verdict.FAIL, False)
        (scratch / f"reports/{name}-staging.json").unlink()
        done = first.gate(workdir=scratch, project=optional)
        assert done.exit_code == 0, done.report.summary
        assert named(done, f"report of {name} staging").verdict is Verdict.INCONCLUSIVE

    @pytest.mark.parametrize("name", ["load-test", "shadow"])
    def test_what_the_policy_requires_must_have_stopped_something(
        self, first, scratch, tmp_path, name
    ):
        """The project's ml.yaml may not weaken what the administrators ask for."""
        policy = tmp_path / "policy.yaml"
        policy.write_text(f"require: [{name}]\n")
        tamper(scratch, f"{name}-staging", metrics={"required": False})
        done = first.gate(workdir=scratch, project=first.optional(name), policy=policy)
        assert (done.exit_code, done.report.verdict) == (1, Verdict.FAIL)
        assert "limits that stop nothing" in done.report.summary

    def test_a_quick_report_stops_it(self, first, scratch):
        tamper(scratch, "train", profile="quick")
        assert first.gate(workdir=scratch).report.verdict is Verdict.FAIL

    def test_predictions_that_evaluate_did_not_write_are_refused(self, first, scratch):
        path = scratch / "data/predictions.parquet"
        pd.read_parquet(path).assign(model=0.99).to_parquet(path)
        done = first.gate(workdir=scratch)
        assert done.exit_code == 2
        assert "is not what evaluate made" in done.report.summary

    def test_policy_and_configuration_may_require_more(self, first, tmp_path):
        policy = tmp_path / "policy.yaml"
        policy.write_text("require: [test]\n")
        done = first.gate(policy=policy)
        assert "test has not run" in done.report.summary
        record = json.loads(
            newest_record(first.registry, first.registry.read().challenger, GATE_RECORD)
        )
        section = config.load(first.root, environment={}).config.policy
        assert record["policy"] == load(policy, section).digest

    def test_a_required_stage_that_does_not_exist_names_the_nearest(self, first, tmp_path):
        policy = tmp_path / "policy.yaml"
        policy.write_text("require: [verfy]\n")
        done = first.gate(policy=policy)
        assert done.exit_code == 2
        assert "did you mean 'verify'" in done.report.summary

    def test_a_challenger_of_no_signal_is_not_promoted(self, tmp_path):
        delivery = Delivery(tmp_path / "project")
        delivery.deliver(data={"source": PROJECT["data"]["source"] | {"edge": 0.0}})
        done = delivery.gate()
        assert done.exit_code == 1
        assert done.report.verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE)

    def test_a_check_of_the_repository_decides(self, first):
        """The same delivery passes or not by the project's own limit."""
        module = first.root / "my_checks.py"
        module.write_text(REPOSITORY_CHECK)
        try:
            strict, lenient = (
                first.gate(project=first.with_gate(checks=[{"my_checks:mean": {"most": most}}]))
                for most in (0.0, 1.0)
            )
        finally:
            module.unlink()
        name = "gate check my_checks:mean"
        assert (strict.exit_code, named(strict, name).verdict) == (1, Verdict.FAIL)
        assert strict.report.summary.startswith(f"refused: {name}: ")
        assert (lenient.exit_code, named(lenient, name).verdict) == (0, Verdict.PASS)
        assert {check.name for check in lenient.report.checks} == {
            check.name for check in strict.report.checks
        }

    def test_an_installed_check_that_the_policy_demands_decides(self, first, tmp_path, monkeypatch):
        """It is on though ml.yaml does not name it, with the policy's limit."""
        metadata = tmp_path / "own_gate-1.0.dist-info"
        metadata.mkdir()
        (tmp_path / "own_gate.py").write_text(INSTALLED_CHECK)
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: own-gate\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(
            "[ml_pipeline.gate_checks]\nmean_prediction = own_gate:MeanPrediction\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        policy = tmp_path / "policy.yaml"
        for most, exit_code in ((0.0, 1), (1.0, 0)):
            policy.write_text(f"gate: {{checks: [{{mean_prediction: {{most: {most}}}}}]}}\n")
            done = first.gate(policy=policy)
            assert done.exit_code == exit_code, done.report.summary
            assert named(done, "gate check mean_prediction").required
        looser = first.with_gate(checks=[{"mean_prediction": {"most": 2.0}}])
        done = first.gate(policy=policy, project=looser)
        assert done.exit_code == 2
        assert "gate.checks.mean_prediction.most is 2.0" in done.report.summary

    def test_an_empty_registry_has_no_challenger(self, first, tmp_path):
        done = first.gate(home=Home(tmp_path / "empty"))
        assert done.exit_code == 2
        assert "has no challenger" in done.report.summary

    def test_a_registry_that_does_not_answer_is_no_registry_without_champion(self, first):
        project = config.load(first.root, environment={})
        section = project.config.registry.model_copy(update={"uri": "http://127.0.0.1:9"})
        unreachable = project.config.model_copy(update={"registry": section})
        done = first.gate(project=dataclasses.replace(project, config=unreachable))
        assert done.exit_code == 3
        assert done.report.verdict is Verdict.ERROR


@pytest.fixture(scope="module")
def with_champion(tmp_path_factory):
    """A project whose first delivery, with a feature of its own, is the champion."""
    delivery = Delivery(tmp_path_factory.mktemp("champion") / "project")
    delivery.write()
    (delivery.root / "own.py").write_text(OWN_FEATURE.format(name="spread"))
    delivery.deliver(features={"modules": ["own"]})
    delivery.promote()
    return delivery


class TestAgainstAChampion:
    """Several deliveries of one model, one after another, in one home."""

    def test_the_champion_itself_is_nothing_to_promote(self, with_champion):
        done = with_champion.gate()
        assert (done.exit_code, done.report.metrics["nothing_to_promote"]) == (0, True)
        assert [check.name for check in done.report.checks] == ["nothing to promote"]

    def test_the_same_recipe_on_newer_data_has_to_be_no_worse(self, with_champion):
        newer = PROJECT["data"]["source"] | {"days": 235}
        with_champion.deliver(
            cause="drift in volume", features={"modules": ["own"]}, data={"source": newer}
        )
        done = with_champion.gate()
        assert done.report.metrics["cause"] == "drift in volume"
        assert done.report.metrics["goal"] == "non_inferior"
        assert done.report.metrics["against"] == "the champion"
        assert done.report.metrics["primary"]["test"] is not None
        assert "champion" in done.report.metrics["models"]
        assert not named(done, "against the best heuristic").required

    def test_other_feature_code_scores_the_champion_by_its_own(self, with_champion):
        """The challenger's code no longer has the champion's feature."""
        (with_champion.root / "own.py").write_text(OWN_FEATURE.format(name="renamed"))
        with_champion.deliver(features={"modules": ["own"]})
        done = with_champion.gate()
        assert done.report.metrics["goal"] == "superior"
        test = done.report.metrics["primary"]["test"]
        assert test["n"] >= 50
        assert abs(test["effect"]) < 0.02  # the same feature under another name

    def test_a_comparison_test_of_the_project_meets_the_champion(self, with_champion):
        folder = with_champion.root / "tests/model"
        folder.mkdir(parents=True)
        try:
            (folder / "test_model.py").write_text(COMPARISON_TEST.format(gain=0.5))
            done = with_champion.gate()
        finally:
            shutil.rmtree(folder)
        check = named(done, "test_against_baseline")
        assert (check.verdict, check.required) == (Verdict.FAIL, True)
        assert done.report.verdict is Verdict.FAIL

    def test_a_champion_that_saw_these_days_is_not_compared(self, with_champion):
        older = PROJECT["data"]["source"] | {"days": 150}
        with_champion.deliver(
            data={"source": older}, split={**PROJECT["split"], "holdout_days": 30}
        )
        done = with_champion.gate()
        assert done.report.verdict is Verdict.FAIL
        assert done.report.checks[0].name == "request contract"
        assert done.report.summary.startswith(
            "refused: request contract: breaking: feature 'spread' is gone; keep what clients send"
        )
        assert done.report.metrics["contract"]["broken"] == ["feature 'spread' is gone"]
        with_champion.write(
            data={"source": older},
            split={**PROJECT["split"], "holdout_days": 30},
            gate={"allow_breaking_contract": True},
        )
        done = with_champion.gate()
        assert done.report.verdict is Verdict.INCONCLUSIVE, done.report.summary
        assert done.report.checks[0].verdict is Verdict.PASS
        assert done.report.summary.startswith("clients break, breaking: feature 'spread' is gone. ")
        assert "after both cutoffs" in done.report.summary
