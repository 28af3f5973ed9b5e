"""Checks that ``gate.checks`` or the policy turn on: installed ones, and those of a project."""

import dataclasses
import json
from typing import Annotated

import numpy as np
import pytest
from ml_pipeline import AT_LEAST, AT_MOST, Check, GateCheck, Section, UsageError, Verdict
from ml_pipeline.approval.policy import Policy, stricter
from ml_pipeline.config import GateMinimums, GateSection, Project, load
from ml_pipeline.core import landlock
from ml_pipeline.core.report import judge
from ml_pipeline.core.workdir import Workdir
from ml_pipeline.gate.checks.base import judge_configured
from ml_pipeline.gate.comparison_files import read_comparison, write_comparison
from ml_pipeline.gate.policy_minimums import effective_checks
from ml_pipeline.project.configured_checks import configured_checks, judge_all_configured
from ml_pipeline.project.protected_files import Protected
from ml_pipeline.tasks.loader import load_task

CHURN = '''
from typing import Annotated

from ml_pipeline import AT_LEAST, AT_MOST, Check, GateCheck, Section, Verdict


class Churn(GateCheck):
    """The share of decisions that differ from the champion's is at most ``share``."""

    class Settings(Section):
        share: Annotated[float, AT_MOST] = 0.2
        rows: Annotated[int, AT_LEAST] = 10
        threshold: float = 0.5

    def judge(self, comparison):
        rows, limit = comparison.rows, self.settings.threshold
        changed = ((rows.challenger >= limit) != (rows.other >= limit)).mean()
        verdict = Verdict.PASS if changed <= self.settings.share else Verdict.FAIL
        return Check(name="decisions", verdict=verdict, observed=float(changed))
'''


@pytest.fixture
def churn(tmp_path, monkeypatch):
    """Install a package that registers the check ``churn`` by entry point."""
    package = tmp_path / "site"
    metadata = package / "churn_check-1.0.dist-info"
    metadata.mkdir(parents=True)
    (package / "churn_check.py").write_text(CHURN)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: churn-check\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[ml_pipeline.gate_checks]\nchurn = churn_check:Churn\nnone = churn_check:CHURN\n"
    )
    monkeypatch.syspath_prepend(package)


@pytest.fixture
def project(tmp_path):
    """Return what makes a project with a module ``my_checks`` and judges a comparison by it."""
    root = tmp_path / "project"
    root.mkdir()
    (root / "ml.yaml").write_text("project: small\n")

    def run(code, comparison, checks, minimum=None):
        (root / "my_checks.py").write_text(code)
        found: Project = load(root, environment={})
        protected = Protected(found, Workdir(root / "build/ml"))
        section = GateSection(checks=checks)
        configured = configured_checks(section, minimum or GateMinimums(), "here", protected)
        return judge_all_configured(configured, comparison, protected)

    return run


class TestInstalled:
    @pytest.mark.parametrize(("share", "verdict"), [(0.9, Verdict.PASS), (0.0, Verdict.FAIL)])
    def test_its_settings_decide(self, churn, project, comparison, share, verdict):
        [check] = project("", comparison(), [{"churn": {"share": share}}])
        assert (check.name, check.verdict, check.required) == (
            "gate check churn: decisions",
            verdict,
            True,
        )
        assert 0.3 < check.observed < 0.7

    @pytest.mark.parametrize(
        ("checks", "message"),
        [
            (["chrn"], "unknown gate check 'chrn'; did you mean 'churn'"),
            (["none"], "has no judge|cannot be loaded"),
            ([{"churn": {"shar": 1}}], "gate.checks: churn.*'shar'.*did you mean 'share'"),
            ([{"churn": {"share": "much"}}], "share"),
        ],
    )
    def test_a_wrong_name_or_setting_is_refused(self, churn, project, comparison, checks, message):
        with pytest.raises(UsageError, match=message):
            project("", comparison(), checks)

    def test_without_compared_rows_it_is_inconclusive(self, churn, project, comparison):
        [check] = project("", comparison(rows=None, why="no labelled row"), ["churn"])
        assert (check.verdict, check.why) == (Verdict.INCONCLUSIVE, "no labelled row")


class Answers(GateCheck):
    """Returns, or raises, what the test sets."""

    name = "answers"

    def __init__(self, answer):
        super().__init__(None)
        self.answer = answer

    def judge(self, comparison):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class TestWhatIsNoPass:
    @pytest.mark.parametrize(
        ("answer", "why"),
        [
            (KeyError("age"), "the check raised KeyError: 'age'"),
            (None, "the check raised TypeError"),
            ([], "the check returned no verdict"),
            (["pass"], "the check returned no verdict"),
            (True, "the check raised TypeError"),
        ],
        ids=str,
    )
    def test_a_crash_or_no_verdict_is_inconclusive(self, comparison, answer, why):
        [check] = judge_configured(Answers(answer), comparison())
        assert (check.verdict, check.required) == (Verdict.INCONCLUSIVE, True)
        assert check.why.startswith(why)

    def test_a_skipped_or_advisory_verdict_counts(self, comparison):
        skipped = Check(name="a", verdict=Verdict.SKIPPED)
        advisory = Check(name="b", verdict=Verdict.FAIL, required=False)
        checks = judge_configured(Answers([skipped, advisory]), comparison())
        assert [check.verdict for check in checks] == [Verdict.INCONCLUSIVE, Verdict.FAIL]
        assert all(check.required for check in checks)

    def test_a_verdict_cannot_take_the_name_or_place_of_another_check(self, comparison):
        failed = Check(name="request contract", verdict=Verdict.FAIL)
        passed = judge_configured(
            Answers(Check(name="request contract", verdict=Verdict.PASS)), comparison()
        )
        assert [check.name for check in passed] == ["gate check answers: request contract"]
        assert judge([failed, *passed]) is Verdict.FAIL

    def test_an_error_that_names_a_key_ends_the_stage(self, comparison):
        with pytest.raises(UsageError, match="key"):
            judge_configured(Answers(UsageError("key")), comparison())


FUNCTION = """
from ml_pipeline import Check, Verdict

def max_churn_of_decisions(comparison, share=0.2):
    rows = comparison.rows
    changed = ((rows.challenger >= 0.5) != (rows.other >= 0.5)).mean()
    challenger, other = rows.losses("log_loss")
    return Check(
        name="decisions",
        verdict=Verdict.PASS if changed <= share else Verdict.FAIL,
        observed=[float(changed), float((other - challenger).mean()), rows.frame.age.iloc[-1]],
        why=f"{comparison.model.name} {rows.sample.unit} {comparison.comparisons.primary.metric}",
    )
"""


class TestOfTheRepository:
    def test_a_function_gets_the_comparison_and_its_settings(self, project, comparison):
        made = comparison()
        name = "my_checks:max_churn_of_decisions"
        check, isolation = project(FUNCTION, made, [{name: {"share": 0.0}}])
        assert (check.name, check.verdict) == (f"gate check {name}: decisions", Verdict.FAIL)
        challenger, other = made.rows.losses("log_loss")
        assert check.observed[1] == pytest.approx(float((other - challenger).mean()), abs=0)
        assert check.observed[2] == 299
        assert check.why == "m day log_loss"
        assert (isolation.name, isolation.required) == ("isolation of the project's code", False)

    def test_a_class_has_validated_settings(self, project, comparison):
        check, _ = project(CHURN, comparison(), [{"my_checks:Churn": {"share": 0.9}}])
        assert check.verdict is Verdict.PASS
        with pytest.raises(UsageError, match=r"my_checks:Churn.*'shar'.*did you mean 'share'"):
            project(CHURN, comparison(), [{"my_checks:Churn": {"shar": 0.9}}])

    @pytest.mark.parametrize(
        ("name", "settings", "message"),
        [
            (
                "my_checks:max_churn_of_decision",
                {},
                "did you mean 'max_churn_of_decisions'",
            ),
            ("my_check:x", {}, "gate.checks: there is no module my_check"),
            ("my_checks:max_churn_of_decisions", {"shares": 1}, "unexpected keyword argument"),
            ("my_checks:Verdict", {}, "expected a subclass of ml_pipeline.GateCheck"),
        ],
    )
    def test_a_wrong_name_or_setting_is_refused(self, project, comparison, name, settings, message):
        with pytest.raises(UsageError, match=message):
            project(FUNCTION, comparison(), [{name: settings}])

    @pytest.mark.parametrize(
        ("body", "why"),
        [
            ("raise KeyError('age')", "its process ended with 1: KeyError: 'age'"),
            ("import os; os._exit(0)", "the check returned no verdict"),
            ("import os; os._exit(2)", "the check returned no verdict"),
            ("return None", "the check returned no verdict"),
            ("return ['pass']", "its process ended with 1"),
        ],
    )
    def test_a_crash_or_no_verdict_is_inconclusive(self, project, comparison, body, why):
        code = f"def check(comparison):\n    {body}\n"
        check, _ = project(code, comparison(), ["my_checks:check"])
        assert (check.name, check.verdict) == ("gate check my_checks:check", Verdict.INCONCLUSIVE)
        assert check.why.startswith(why)

    def test_what_it_writes_elsewhere_is_no_pass(self, project, comparison, tmp_path):
        """Landlock refuses it; without Landlock it is found afterwards."""
        settings = tmp_path / "project/ml.yaml"
        code = f"""
from pathlib import Path
from ml_pipeline import Check, Verdict

def check(comparison):
    Path({str(settings)!r}).write_text("project: other")
    return Check(name="fine", verdict=Verdict.PASS)
"""
        checks = project(code, comparison(), ["my_checks:check"])
        assert judge(checks) in (Verdict.INCONCLUSIVE, Verdict.ERROR)
        if landlock.abi():
            assert settings.read_text() == "project: small\n"
            assert "PermissionError" in checks[0].why


def test_a_comparison_is_read_from_files_as_it_was_written(comparison, tmp_path):
    made = comparison(
        earlier_decisions="rejected", first_day="2024-01-01", stages_without_model=("lint",)
    )
    write_comparison(made, tmp_path)
    found = read_comparison(tmp_path)
    for name in vars(made):
        if name != "rows":
            assert getattr(found, name) == getattr(made, name), name
    assert found.rows.frame.equals(made.rows.frame)
    for array in ("challenger", "other"):
        assert np.array_equal(getattr(found.rows, array), getattr(made.rows, array))
    assert np.array_equal(found.rows.sample.codes, made.rows.sample.codes)


def test_a_check_gets_the_losses_of_the_models_task(comparison, project):
    """Of a regression the loss is in the label's unit, in the isolated process as here."""
    made = comparison()
    rows = made.rows
    task = load_task("regression").learned((), rows.sample.labels)
    task = task.calibrated(rows.sample.labels, rows.challenger, rows.challenger)
    sample = dataclasses.replace(rows.sample, task=task)
    made = dataclasses.replace(
        made,
        challenger={"features": [], "training": {"task": task.to_json()}},
        rows=dataclasses.replace(rows, sample=sample),
    )
    code = """
from ml_pipeline import Check, Verdict

def check(comparison):
    challenger, other = comparison.rows.losses("mae")
    return Check(name="mae", verdict=Verdict.PASS, observed=[challenger.mean(), other.mean()])
"""
    check, _ = project(code, made, ["my_checks:check"])
    expected = [float(losses.mean()) for losses in made.rows.losses("mae")]
    assert check.observed == pytest.approx(expected, abs=0)


class TestPolicy:
    def effective(self, own, demanded):
        section, minimum = GateSection(checks=own), GateMinimums(checks=demanded)
        return effective_checks(section, minimum, "policy.yaml")

    def test_a_demanded_check_is_on_with_the_policys_settings(self, churn):
        assert self.effective([], [{"churn": {"share": 0.1}}]) == {"churn": {"share": 0.1}}
        assert self.effective(["a:b"], ["churn"]) == {"a:b": {}, "churn": {}}

    def test_a_demanded_check_decides(self, churn, project, comparison):
        minimum = GateMinimums(checks=[{"churn": {"share": 0.0}}])
        [check] = project("", comparison(), [], minimum)
        assert check.verdict is Verdict.FAIL

    def test_stricter_settings_of_the_project_hold(self, churn):
        own = {"churn": {"share": 0.05, "rows": 20}}
        assert self.effective(own, {"churn": {"share": 0.1, "rows": 15}}) == own

    @pytest.mark.parametrize(
        ("own", "demanded", "message"),
        [
            ({"share": 0.3}, {"share": 0.1}, "churn.share is 0.3; expected at most 0.1"),
            ({}, {"share": 0.1}, "churn.share is 0.2; expected at most 0.1"),
            ({}, {"rows": 50}, "churn.rows is 10; expected at least 50"),
            ({"threshold": 0.9}, {"threshold": 0.4}, "churn.threshold is 0.9; expected 0.4"),
            ({}, {"shar": 0.1}, "'shar'; did you mean 'share'"),
        ],
    )
    def test_looser_settings_are_refused(self, churn, own, demanded, message):
        with pytest.raises(UsageError, match=message):
            self.effective({"churn": own}, {"churn": demanded})

    def test_settings_of_a_check_in_the_repository_have_to_be_equal(self):
        demanded = {"my_checks:churn": {"share": 0.1}}
        assert self.effective(demanded, demanded) == demanded
        with pytest.raises(UsageError, match=r"checks.my_checks:churn.share is missing"):
            self.effective(["my_checks:churn"], demanded)

    def test_of_two_policies_the_stricter_settings_hold(self, churn):
        one, other = (
            Policy(gate=GateMinimums(checks=checks))
            for checks in ({"churn": {"share": 0.1, "rows": 20}}, {"churn": {"share": 0.2}})
        )
        found = stricter(one, other, "job.yaml").gate.checks
        assert found == {"churn": {"share": 0.1, "rows": 20}}
        assert stricter(Policy(), other, "job.yaml").gate.checks == other.gate.checks

    def test_two_policies_that_ask_for_different_values_conflict(self, churn):
        one, other = (
            Policy(gate=GateMinimums(checks={"churn": {"threshold": value}}))
            for value in (0.5, 0.6)
        )
        with pytest.raises(UsageError, match=r"job.yaml: gate.checks.churn"):
            stricter(one, other, "job.yaml")

    def test_the_digest_of_a_policy_without_checks_is_that_of_before_the_key(self):
        assert Policy().digest == DIGEST_OF_BUILT_IN
        demanding = Policy(gate=GateMinimums(checks=["churn"]))
        assert demanding.digest != Policy().digest


DIGEST_OF_BUILT_IN = "11f7c6102cb2b110a5e68b998b58a21d2708ab8236bdc6e3d2824509786798b0"


class TestForms:
    @pytest.mark.parametrize(
        "written",
        [
            ["churn", {"my_checks:x": {"share": 1}}],
            {"churn": None, "my_checks:x": {"share": 1}},
        ],
        ids=json.dumps,
    )
    def test_a_list_and_a_mapping_are_the_same(self, written):
        assert GateSection(checks=written).checks == {"churn": {}, "my_checks:x": {"share": 1}}

    @pytest.mark.parametrize("written", [["a", "a"], ["a b"], ["../x:y"], [1], "churn"], ids=str)
    def test_what_is_no_name_is_refused(self, written):
        with pytest.raises(ValueError, match="check"):
            GateSection(checks=written)


def test_a_bound_says_which_value_is_stricter():
    class Settings(Section):
        share: Annotated[float, AT_MOST] = 0.2

    assert AT_MOST in Settings.model_fields["share"].metadata
    assert (AT_MOST.stricter(1, 2), AT_LEAST.stricter(1, 2)) == (1, 2)
    assert AT_MOST.allows(1, 1)
    assert not AT_MOST.allows(2, 1)
    assert not AT_LEAST.allows(0, 1)
