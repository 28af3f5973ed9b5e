"""What two models' answers to the same requests must not do."""

import math

import pytest
from ml_pipeline.config import ShadowSection
from ml_pipeline.core import report
from ml_pipeline.core.report import Verdict
from ml_pipeline.online.shadow import Exchange, against_trained, compare
from ml_pipeline.traffic.prediction_requests import PredictionResponse

COUNT = 300
SECTION = ShadowSection(min_requests=200)


def exchanges(move=lambda p: p, *, ms=5.0, group="", **other):
    """Requests whose champion answers p = 0, 1/n, 2/n ... and whose challenger ``move(p)``."""
    made = []
    for index in range(COUNT):
        p = index / COUNT
        found = (
            PredictionResponse((move(p),), ms) if not other else PredictionResponse(ms=ms, **other)
        )
        made.append(Exchange(str(index), PredictionResponse((p,), 5.0), found, group))
    return made


def judged(found):
    return {check.name: check.verdict for check in found.checks}


def test_the_same_answers_pass():
    found = compare(exchanges(), SECTION)
    assert set(judged(found).values()) == {Verdict.PASS}
    assert found.metrics["compared"] == COUNT
    assert (found.metrics["psi"], found.metrics["changed"]) == (pytest.approx(0), 0)


def test_errors_fail():
    spoiled = exchanges()[1:] + exchanges(error="status 500")[:1]
    found = compare(spoiled, SECTION)
    assert judged(found)["errors"] is Verdict.FAIL
    assert report.judge(found.checks) is Verdict.FAIL


def test_another_number_of_rows_is_an_error():
    wrong = Exchange("x", PredictionResponse((0.1, 0.2), 5.0), PredictionResponse((0.1,), 5.0))
    found = compare([*exchanges(), wrong], SECTION)
    assert judged(found)["errors"] is Verdict.FAIL


@pytest.mark.parametrize(
    ("silent", "dropped", "verdict"),
    [(3, 0, Verdict.PASS), (4, 0, Verdict.FAIL), (0, 3, Verdict.PASS), (0, 4, Verdict.FAIL)],
)
def test_requests_without_an_answer_are_missing(silent, dropped, verdict):
    missing = exchanges(error="no answer within 2 s", missing=True)[:silent]
    found = compare([*exchanges()[silent:], *missing], SECTION, dropped=dropped)
    assert judged(found)["missing answers"] is verdict
    assert judged(found)["errors"] is Verdict.PASS


@pytest.mark.parametrize(
    ("ms", "slow", "verdict"),
    [(99, 5, Verdict.PASS), (150, 5, Verdict.FAIL), (150, 80, Verdict.PASS)],
)
def test_it_lags_if_it_is_slow_and_slower_than_the_champion(ms, slow, verdict):
    pairs = [
        Exchange(one.id, PredictionResponse(one.champion.predictions, slow), one.challenger)
        for one in exchanges(ms=ms)
    ]
    assert judged(compare(pairs, SECTION))["latency"] is verdict


def test_a_shift_is_seen_and_advisory_unless_it_is_wanted():
    shifted = exchanges(lambda p: min(1.0, p + 0.3))
    found = compare(shifted, SECTION)
    assert {judged(found)[name] for name in ("psi", "ks", "changed decisions")} == {Verdict.FAIL}
    assert report.judge(found.checks) is Verdict.PASS
    strict = compare(shifted, SECTION.model_copy(update={"advisory": ()}))
    assert report.judge(strict.checks) is Verdict.FAIL


def test_answers_turned_upside_down_are_extreme_disagreements():
    found = compare(exchanges(lambda p: 1 - p), SECTION)
    assert judged(found)["psi"] is Verdict.PASS  # the distribution is the same
    assert judged(found)["extreme disagreements"] is Verdict.FAIL
    why = next(check.why for check in found.checks if check.name == "extreme disagreements")
    assert "more than shadow.extremes (0.01)" in why
    assert "name 'extreme' in shadow.advisory" in why
    assert report.judge(found.checks) is Verdict.FAIL


def test_a_group_that_is_treated_otherwise_is_named():
    same = exchanges(group="Banking")
    other = exchanges(lambda p: 1 - p, group="Hydropower")[:60]
    small = exchanges(lambda p: 1 - p, group="Tourism")[:5]
    found = compare([*same, *other, *small], SECTION)
    check = next(check for check in found.checks if check.name == "groups")
    assert check.verdict is Verdict.FAIL
    assert "Hydropower" in check.why
    assert "Banking" not in check.why
    assert "Tourism" not in found.metrics["groups"]


@pytest.mark.parametrize("count", [0, 199])
def test_too_few_answers_are_inconclusive(count):
    found = compare(exchanges()[:count], SECTION)
    assert report.judge(found.checks) is Verdict.INCONCLUSIVE


def test_too_short_a_time_is_inconclusive():
    assert judged(compare(exchanges(), SECTION, minutes=29.0))["time"] is Verdict.INCONCLUSIVE
    assert judged(compare(exchanges(), SECTION, minutes=30.0))["time"] is Verdict.PASS


def test_a_champion_that_did_not_answer_leaves_nothing_to_compare_with():
    broken = [
        Exchange(one.id, PredictionResponse(error="status 500", ms=1.0), one.challenger)
        for one in exchanges()[:30]
    ]
    found = compare([*exchanges()[30:], *broken], SECTION)
    assert judged(found)["the champion answered"] is Verdict.INCONCLUSIVE


def test_without_a_champion_it_answers_as_the_trained_model():
    found = against_trained(exchanges(lambda p: p + 1e-7), SECTION)
    assert report.judge(found.checks) is Verdict.PASS
    assert judged(found)["psi"] is Verdict.SKIPPED
    other = against_trained(exchanges(lambda p: p + 1e-3), SECTION)
    assert judged(other)["trained probabilities"] is Verdict.FAIL


@pytest.mark.parametrize("function", [compare, against_trained])
def test_a_challenger_that_never_answers_does_not_pass(function):
    found = function(exchanges(error="refused", missing=True), SECTION)
    assert report.judge(found.checks) is Verdict.FAIL
    assert judged(found)["latency"] is Verdict.INCONCLUSIVE
    assert not math.isfinite(found.metrics["p99_ms"]["challenger"])


def test_limits_that_are_not_required_stop_nothing():
    found = compare(exchanges(lambda p: 1 - p), SECTION.model_copy(update={"required": False}))
    assert not any(check.required for check in found.checks)
