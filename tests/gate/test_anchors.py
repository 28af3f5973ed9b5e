"""Gates that pass without evidence: what other tools let through, and this gate does not.

Each test is named after a hole in a published tool (mlflow, great_expectations, kayenta,
deepchecks, argo-rollouts, mlops-stacks) and shows that this gate does not have it.
"""

from datetime import UTC, datetime

import numpy as np
import pytest
from ml_pipeline.core.report import Check, ModelRef, Profile, StageReport, Verdict, judge
from ml_pipeline.gate.checks.reports_passed import check_report
from ml_pipeline.gate.comparison_set import run_comparisons
from ml_pipeline.gate.decision import decide
from ml_pipeline.project.comparison_tests import reported_comparisons

MODEL = ModelRef(name="m", identity="a" * 64, digest="b" * 64)


def report(stage="evaluate", **changed):
    values = {
        "stage": stage,
        "profile": Profile.FULL,
        "verdict": Verdict.PASS,
        "summary": "fine",
        "checks": (Check(name="something", verdict=Verdict.PASS),),
        "model": ModelRef(name="m", identity=MODEL.identity),
        "run_id": "r",
        "started": datetime(2026, 1, 1, tzinfo=UTC),
        "finished": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return StageReport(**values | changed)


def compare(world, rules, challenger, other, goal="superior"):
    sample, _ = world
    return run_comparisons(
        sample, challenger, other, against="the champion", goal=goal, rules=rules
    )


def verdict(found):
    return judge(found.checks)


class TestMlflow:
    def test_nan_candidate(self, world, rules):
        sample, truth = world()
        broken = truth.copy()
        broken[7] = np.nan
        found = compare((sample, truth), rules(), broken, np.full_like(truth, 0.5))
        assert verdict(found) is Verdict.INCONCLUSIVE
        assert "1 of 2400 predictions of the challenger are not finite" in found.primary.why

    def test_metric_missing_from_the_baseline(self, world, rules):
        sample, truth = world()
        found = compare((sample, truth), rules(), truth, None)
        assert verdict(found) is Verdict.INCONCLUSIVE
        assert found.primary.why == "the champion has no predictions for these rows"

    def test_no_thresholds_at_all(self, world, rules):
        """No margins, no guards: the comparison itself is still asked for."""
        sample, truth = world()
        found = compare((sample, truth), rules(margin=0.0, guards={}), truth, truth)
        assert len(found.checks) == 1
        assert verdict(found) is not Verdict.PASS

    def test_0_900_to_0_901(self, world, rules):
        """A gain of 0.001 within the noise is inconclusive, and says what would be detected."""
        sample, truth = world()
        wrong = np.random.default_rng(5).permutation(2400)
        champion, challenger = sample.labels.copy(), sample.labels.copy()
        champion[wrong[:240]] = 1 - champion[wrong[:240]]
        challenger[wrong[240:478]] = 1 - challenger[wrong[240:478]]
        found = compare((sample, truth), rules(metric="accuracy"), challenger, champion)
        assert (round(found.primary.other, 3), round(found.primary.challenger, 3)) == (0.9, 0.901)
        assert verdict(found) is Verdict.INCONCLUSIVE
        assert "no power: the smallest effect that 60 days detect" in found.checks[0].why

    def test_0_900_to_0_901_on_every_day_alike(self, rules, world):
        """A gain without any variance cannot be distinguished from a coincidence."""
        sample, truth = world()
        sample = type(sample)(np.tile([0.0, 1.0], 1200), sample.codes, sample.names, "day")
        better, worse = np.tile([0.1, 0.9], 1200), np.tile([0.101, 0.899], 1200)
        found = compare((sample, truth), rules(), better, worse)
        assert verdict(found) is Verdict.INCONCLUSIVE
        assert "no variance" in found.primary.why

    def test_a_sure_gain_below_the_practical_margin(self, world, rules):
        sample, truth = world(days=200)
        worse = np.clip(truth + 0.03, 0.01, 0.99)
        at_zero = compare((sample, truth), rules(), truth, worse)
        with_margin = compare((sample, truth), rules(margin=0.05), truth, worse)
        assert verdict(at_zero) is Verdict.PASS
        assert verdict(with_margin) is Verdict.FAIL


class TestGreatExpectations:
    def test_empty_frame(self, world, rules):
        sample, truth = world(days=0)
        found = compare((sample, truth), rules(), truth, truth, goal="non_inferior")
        assert verdict(found) is Verdict.INCONCLUSIVE
        assert found.primary.why == "there are no rows to compare on"

    def test_empty_suite(self):
        found = check_report("evaluate", report(checks=()), MODEL)
        assert found.verdict is Verdict.FAIL
        assert "which its 0 checks contradict" in found.why

    def test_suite_of_skipped_checks(self):
        skipped = Check(name="all", verdict=Verdict.SKIPPED)
        assert check_report("evaluate", report(checks=(skipped,)), MODEL).verdict is Verdict.FAIL


class TestKayenta:
    def test_empty_data_with_nan_replacement(self, world, rules):
        """NaN is never replaced: predictions that are all missing are no 0 and no tie."""
        sample, truth = world()
        nothing = np.full_like(truth, np.nan)
        found = compare((sample, truth), rules(), nothing, nothing, goal="non_inferior")
        assert verdict(found) is Verdict.INCONCLUSIVE

    @pytest.mark.parametrize("goal", ["superior", "non_inferior"])
    def test_7_of_10_points_at_100_against_1(self, world, rules, goal):
        """On 7 of 10 days the challenger's loss is many times the champion's; on 3 it is less."""
        sample, truth = world(days=60)
        sure = np.where(sample.labels == 1, 0.999, 0.001)
        bad_day = sample.codes % 10 < 7
        challenger = np.where(bad_day, 1 - sure, sure)
        found = compare((sample, truth), rules(), challenger, np.full_like(truth, 0.5), goal)
        assert verdict(found) is Verdict.FAIL
        assert verdict(compare(world(days=10), rules(), truth[:400], truth[:400], goal)) is (
            Verdict.INCONCLUSIVE
        )

    def test_the_tolerated_loss_does_not_grow_with_the_estimate(self, world, rules):
        sample, truth = world(days=120)
        poor = np.clip(truth + 0.15, 0.01, 0.99)
        found = compare((sample, truth), rules(), poor, truth, goal="non_inferior")
        assert found.checks[0].expected == "a lower bound above -0.0050 (positive is better)"
        assert verdict(found) is Verdict.FAIL


class TestDeepchecks:
    @pytest.mark.parametrize("said", [Verdict.PASS, Verdict.ERROR])
    def test_crashed_check(self, said):
        """A report with the verdict pass over a crashed check is judged again."""
        crashed = Check(name="drift", verdict=Verdict.ERROR, why="KeyError")
        fine = Check(name="other", verdict=Verdict.PASS)
        found = check_report("evaluate", report(checks=(fine, crashed), verdict=said), MODEL)
        assert found.verdict is Verdict.ERROR

    def test_crashed_comparison_test_of_the_project(self):
        crashed = Check(name="t", verdict=Verdict.ERROR, required=False, expected="mark")
        found = reported_comparisons(report(checks=(crashed,)), "mark")
        assert [(c.verdict, c.required) for c in found] == [(Verdict.ERROR, True)]

    def test_skipped_comparison_test_of_the_project(self):
        skipped = Check(name="t", verdict=Verdict.SKIPPED, required=False, expected="mark")
        assert (
            judge(reported_comparisons(report(checks=(skipped,)), "mark")) is Verdict.INCONCLUSIVE
        )


class TestArgoRollouts:
    def test_terminated_before_measurement(self):
        interrupted = report(
            verdict=Verdict.ERROR, checks=(), summary="evaluate was interrupted; nothing was kept"
        )
        found = check_report("evaluate", interrupted, MODEL)
        assert found.verdict is Verdict.ERROR
        assert "interrupted" in found.why

    def test_inconclusive_is_not_passed(self):
        found = check_report("evaluate", report(verdict=Verdict.INCONCLUSIVE), MODEL)
        assert found.verdict is Verdict.FAIL


class TestMlopsStacks:
    def test_missing_report(self):
        found = check_report("verify staging", None, MODEL)
        assert (found.verdict, found.why) == (Verdict.INCONCLUSIVE, "verify staging has not run")

    def test_report_of_another_model(self):
        other = ModelRef(name="m", identity="c" * 64)
        found = check_report("evaluate", report(model=other), MODEL)
        assert found.verdict is Verdict.FAIL
        assert "another model" in found.why

    def test_report_of_the_same_identity_with_other_content(self):
        other = ModelRef(name="m", identity=MODEL.identity, digest="c" * 64)
        found = check_report("package", report("package", model=other), MODEL)
        assert (found.verdict, found.observed) == (
            Verdict.FAIL,
            f"digest {'c' * 12}, not {MODEL.digest[:12]}",
        )

    def test_report_that_names_no_model(self):
        found = check_report(
            "verify staging", report("verify", environment="staging", model=None), MODEL
        )
        assert (found.verdict, found.observed) == (Verdict.FAIL, "no model named")
        assert "its report names no model" in found.why
        assert "names_model=False" in found.why
        lint = check_report("lint", report("lint", model=None), MODEL, names_model=False)
        assert lint.verdict is Verdict.PASS

    def test_report_of_a_quick_run(self):
        found = check_report("train", report("train", profile=Profile.QUICK), MODEL)
        assert (found.verdict, found.observed) == (Verdict.FAIL, "profile quick")


def test_too_few_days(world, rules):
    sample, truth = world(days=19)
    found = run_comparisons(
        sample, truth, np.full_like(truth, 0.5), against="x", goal="superior", rules=rules()
    )
    assert found.primary.why == "19 days to compare on, 20 are needed (gate.min_days)"
    assert decide(found.primary).verdict is Verdict.INCONCLUSIVE


def test_one_share_has_no_within_day_auc_and_the_line_says_what_to_set(world, rules):
    sample, truth = world(days=60, entities=1)
    found = run_comparisons(
        sample,
        truth,
        np.full_like(truth, 0.5),
        against="x",
        goal="superior",
        rules=rules(metric="within_day_auc"),
    )
    assert found.primary.why.startswith("0 days to compare on, 20 are needed (gate.min_days); 60 ")
    assert found.primary.why.endswith("set gate.metric: log_loss)")
