"""Limits on the differences of two models' predictions for the same requests."""

import math

import pytest
from ml_pipeline.config import ShadowSection
from ml_pipeline.core import report
from ml_pipeline.core.report import Verdict
from ml_pipeline.online.shadow import Exchange, against_trained, compare
from ml_pipeline.tasks.multiclass_classification import MulticlassClassification
from ml_pipeline.tasks.regression import Regression
from ml_pipeline.traffic.prediction_requests import PredictionResponse

COUNT = 300
SECTION = ShadowSection(min_requests=200)


def exchanges(move=lambda p: p, *, ms=5.0, group="", **other):
    """Requests whose champion answers p = 0, 1/n, 2/n ... and whose challenger ``move(p)``."""
    made = []
    for index in range(COUNT):
        p = index / COUNT
        response = (
            PredictionResponse((move(p),), ms) if not other else PredictionResponse(ms=ms, **other)
        )
        made.append(Exchange(str(index), PredictionResponse((p,), 5.0), response, group))
    return made


def verdicts_by_check(comparison):
    return {check.name: check.verdict for check in comparison.checks}


def test_the_same_answers_pass():
    comparison = compare(exchanges(), SECTION)
    assert set(verdicts_by_check(comparison).values()) == {Verdict.PASS}
    assert comparison.metrics["compared"] == COUNT
    assert (comparison.metrics["distance"], comparison.metrics["changed"]) == (pytest.approx(0), 0)


def test_errors_fail():
    spoiled = exchanges()[1:] + exchanges(error="status 500")[:1]
    comparison = compare(spoiled, SECTION)
    assert verdicts_by_check(comparison)["errors"] is Verdict.FAIL
    assert report.judge(comparison.checks) is Verdict.FAIL


def test_another_number_of_rows_is_an_error():
    wrong = Exchange("x", PredictionResponse((0.1, 0.2), 5.0), PredictionResponse((0.1,), 5.0))
    comparison = compare([*exchanges(), wrong], SECTION)
    assert verdicts_by_check(comparison)["errors"] is Verdict.FAIL


@pytest.mark.parametrize(
    ("unanswered", "dropped", "verdict"),
    [(3, 0, Verdict.PASS), (4, 0, Verdict.FAIL), (0, 3, Verdict.PASS), (0, 4, Verdict.FAIL)],
)
def test_requests_without_an_answer_are_missing(unanswered, dropped, verdict):
    missing = exchanges(error="no answer within 2 s", missing=True)[:unanswered]
    comparison = compare([*exchanges()[unanswered:], *missing], SECTION, dropped=dropped)
    assert verdicts_by_check(comparison)["missing answers"] is verdict
    assert verdicts_by_check(comparison)["errors"] is Verdict.PASS


@pytest.mark.parametrize(
    ("ms", "slow", "verdict"),
    [(99, 5, Verdict.PASS), (150, 5, Verdict.FAIL), (150, 80, Verdict.PASS)],
)
def test_latency_fails_over_the_limit_and_the_champions_multiple(ms, slow, verdict):
    pairs = [
        Exchange(one.id, PredictionResponse(one.champion.predictions, slow), one.challenger)
        for one in exchanges(ms=ms)
    ]
    assert verdicts_by_check(compare(pairs, SECTION))["latency"] is verdict


def test_a_shift_is_advisory_unless_it_is_required():
    shifted = exchanges(lambda p: min(1.0, p + 0.3))
    comparison = compare(shifted, SECTION)
    assert {verdicts_by_check(comparison)[name] for name in ("distance", "changed decisions")} == {
        Verdict.FAIL
    }
    assert report.judge(comparison.checks) is Verdict.PASS
    strict = compare(shifted, SECTION.model_copy(update={"advisory": ()}))
    assert report.judge(strict.checks) is Verdict.FAIL


def test_a_distance_that_chance_explains_is_no_failure():
    """Thirty answers lie as far apart by chance as 300 do by a shift."""
    section = SECTION.model_copy(update={"min_requests": 20})
    few = exchanges(lambda p: min(1.0, p + 0.22))[::20]
    comparison = compare(few, section)
    assert comparison.metrics["distance"] > section.distance
    assert comparison.metrics["p_value"] > 0.01
    check = next(check for check in comparison.checks if check.name == "distance")
    assert check.verdict is Verdict.PASS
    assert "chance explains it" in check.why
    many = compare(exchanges(lambda p: min(1.0, p + 0.22)), section)
    assert verdicts_by_check(many)["distance"] is Verdict.FAIL


def test_inverted_predictions_are_extreme_disagreements():
    comparison = compare(exchanges(lambda p: 1 - p), SECTION)
    assert verdicts_by_check(comparison)["distance"] is Verdict.PASS  # the distribution is the same
    assert verdicts_by_check(comparison)["extreme disagreements"] is Verdict.FAIL
    why = next(check.why for check in comparison.checks if check.name == "extreme disagreements")
    assert "more than shadow.extremes (0.01)" in why
    assert "name 'extreme' in shadow.advisory" in why
    assert report.judge(comparison.checks) is Verdict.FAIL


def test_a_group_with_changed_predictions_is_named():
    same = exchanges(group="Banking")
    other = exchanges(lambda p: 1 - p, group="Hydropower")[:60]
    small = exchanges(lambda p: 1 - p, group="Tourism")[:5]
    comparison = compare([*same, *other, *small], SECTION)
    check = next(check for check in comparison.checks if check.name == "groups")
    assert check.verdict is Verdict.FAIL
    assert "Hydropower" in check.why
    assert "Banking" not in check.why
    assert "Tourism" not in comparison.metrics["groups"]


@pytest.mark.parametrize("count", [0, 199])
def test_too_few_answers_are_inconclusive(count):
    comparison = compare(exchanges()[:count], SECTION)
    assert report.judge(comparison.checks) is Verdict.INCONCLUSIVE


def test_too_short_a_time_is_inconclusive():
    assert (
        verdicts_by_check(compare(exchanges(), SECTION, minutes=29.0))["time"]
        is Verdict.INCONCLUSIVE
    )
    assert verdicts_by_check(compare(exchanges(), SECTION, minutes=30.0))["time"] is Verdict.PASS


def test_a_champion_that_did_not_answer_leaves_nothing_to_compare_with():
    broken = [
        Exchange(one.id, PredictionResponse(error="status 500", ms=1.0), one.challenger)
        for one in exchanges()[:30]
    ]
    comparison = compare([*exchanges()[30:], *broken], SECTION)
    assert verdicts_by_check(comparison)["the champion answered"] is Verdict.INCONCLUSIVE


def test_without_a_champion_it_is_compared_with_the_trained_model():
    comparison = against_trained(exchanges(lambda p: p + 1e-7), SECTION)
    assert report.judge(comparison.checks) is Verdict.PASS
    assert verdicts_by_check(comparison)["distance"] is Verdict.SKIPPED
    other = against_trained(exchanges(lambda p: p + 1e-3), SECTION)
    assert verdicts_by_check(other)["trained probabilities"] is Verdict.FAIL


@pytest.mark.parametrize("function", [compare, against_trained])
def test_a_challenger_that_never_answers_does_not_pass(function):
    comparison = function(exchanges(error="refused", missing=True), SECTION)
    assert report.judge(comparison.checks) is Verdict.FAIL
    assert verdicts_by_check(comparison)["latency"] is Verdict.INCONCLUSIVE
    assert not math.isfinite(comparison.metrics["p99_ms"]["challenger"])


def test_limits_that_are_not_required_are_advisory():
    comparison = compare(exchanges(lambda p: 1 - p), SECTION.model_copy(update={"required": False}))
    assert not any(check.required for check in comparison.checks)


class TestOtherTasks:
    """Models whose predictions are not the probability of one class."""

    REGRESSION = Regression(mean=50.0, scale=10.0, half_width=16.0, bounds=tuple(range(35, 66, 5)))
    CLASSES = MulticlassClassification(("a", "b", "c"))

    def answers(self, task, move):
        """Requests whose champion predicts 35 to 65, or class a with 0 to 1."""
        made = []
        for index in range(COUNT):
            p = index / COUNT
            value = 35 + 30 * p if task is self.REGRESSION else (p, (1 - p) * 0.6, (1 - p) * 0.4)
            champion, challenger = (PredictionResponse((v,), 5.0) for v in (value, move(value)))
            made.append(Exchange(str(index), champion, challenger))
        return made

    @pytest.mark.parametrize("task", [REGRESSION, CLASSES], ids=lambda task: task.name)
    def test_the_same_answers_pass(self, task):
        comparison = compare(self.answers(task, lambda value: value), SECTION, task=task)
        verdicts = verdicts_by_check(comparison)
        if task is self.REGRESSION:
            assert verdicts.pop("changed decisions") is Verdict.SKIPPED
        assert {*verdicts.values()} == {Verdict.PASS}
        assert comparison.metrics["distance"] == pytest.approx(0)

    def test_numbers_are_compared_in_standard_deviations_of_the_labels(self):
        near = compare(
            self.answers(self.REGRESSION, lambda x: x + 4), SECTION, task=self.REGRESSION
        )
        far = compare(self.answers(self.REGRESSION, lambda x: x + 6), SECTION, task=self.REGRESSION)
        assert (near.metrics["extremes"], far.metrics["extremes"]) == (0, 1)
        check = next(check for check in far.checks if check.name == "extreme disagreements")
        assert check.verdict is Verdict.FAIL
        assert "differ by 0.5 standard deviations of the training labels or more" in check.why

    def test_a_class_that_changes_is_a_changed_decision(self):
        turned = compare(
            self.answers(self.CLASSES, lambda p: (p[1], p[0], p[2])), SECTION, task=self.CLASSES
        )
        assert turned.metrics["changed"] == 1
        assert turned.metrics["distance"] > 0.2

    @pytest.mark.parametrize("task", [REGRESSION, CLASSES], ids=lambda task: task.name)
    def test_without_a_champion_they_are_compared_with_the_trained_model(self, task):
        comparison = against_trained(self.answers(task, lambda value: value), SECTION, task)
        assert verdicts_by_check(comparison)["trained predictions"] is Verdict.PASS
        wrong = self.answers(task, lambda _: 0.0 if task is self.REGRESSION else (0.0, 1.0, 0.0))
        assert (
            verdicts_by_check(against_trained(wrong, SECTION, task))["trained predictions"]
            is Verdict.FAIL
        )
