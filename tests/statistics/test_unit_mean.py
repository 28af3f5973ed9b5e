"""The mean over units: its interval covers, and two means are compared with a controlled error."""

import numpy as np
import pytest
from ml_pipeline.statistics.unit_mean import ReferenceMean, probability_of_gap, unit_mean
from scipy import stats


def series(rng, days, rho):
    values = rng.normal(size=days)
    for day in range(1, days):
        values[day] = rho * values[day - 1] + np.sqrt(1 - rho**2) * values[day]
    return values


def test_the_value_is_the_ratio_of_the_sums():
    found = unit_mean(np.array([1.0, 6.0, 5.0]), np.array([1.0, 2.0, 0.0]))
    assert (found.value, found.units) == (pytest.approx(7 / 3), 2)
    assert found.low < found.value < found.high


@pytest.mark.parametrize("rho", [0.0, 0.4])
def test_the_interval_covers_the_mean_of_autocorrelated_days(rho):
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(200):
        rows = rng.integers(50, 150, 60).astype(float)
        found = unit_mean(rows * (0.6 + 0.1 * series(rng, 60, rho)), rows)
        covered += found.low <= 0.6 <= found.high
    assert 0.89 <= covered / 200 <= 0.99


@pytest.mark.parametrize(
    ("sums", "why"), [([0.5], "1 units"), ([1.0, 1.0, 1.0], "no variance"), ([], "0 units")]
)
def test_without_variance_there_is_no_interval(sums, why):
    with pytest.raises(ValueError, match=why):
        unit_mean(np.array(sums), np.ones(len(sums)))


REFERENCE = ReferenceMean(0.5, 0.01, 1e6, 60, 6000)


def test_a_gap_is_tested_with_the_variance_of_the_reference():
    assert probability_of_gap(0.0, REFERENCE, units=60, rows=6000) == pytest.approx(0.5)
    found = probability_of_gap(0.02, REFERENCE, units=60, rows=6000)
    assert found == pytest.approx(stats.norm.sf(2 / 2**0.5), rel=1e-4)
    assert probability_of_gap(0.02, REFERENCE, units=1, rows=100) > 0.3, "a day says little"


def test_fewer_rows_a_unit_or_a_larger_spread_count():
    same = probability_of_gap(0.05, REFERENCE, units=60, rows=6000)
    assert probability_of_gap(0.05, REFERENCE, units=60, rows=600) > same
    assert probability_of_gap(0.05, REFERENCE, units=60, rows=60_000) == same
    assert probability_of_gap(0.05, REFERENCE, units=60, rows=6000, std_error=0.05) > same
    assert probability_of_gap(0.05, REFERENCE, units=60, rows=6000, std_error=1e-9) == same


@pytest.mark.parametrize("days", [1, 2, 16])
def test_few_later_days_raise_no_more_false_alarms(days):
    """The two later days may be equal by luck: their own standard error is near 0 then."""
    rng = np.random.default_rng(days)
    wrong = 0
    for _ in range(400):
        first, later = series(rng, 60, 0.4), series(rng, 16, 0.4)[:days]
        known = unit_mean(first, np.ones(60))
        reference = ReferenceMean(known.value, known.std_error, known.degrees, 60, 60)
        spread = unit_mean(later, np.ones(days)).std_error if days > 1 else 0.0
        gap = float(later.mean()) - known.value
        found = probability_of_gap(gap, reference, units=days, rows=days, std_error=spread)
        wrong += found <= 0.02
    assert wrong <= 400 * 0.02 + 3 * (400 * 0.02) ** 0.5


def test_without_variance_a_gap_is_not_tested():
    with pytest.raises(ValueError, match="no variance"):
        probability_of_gap(0.3, ReferenceMean(0.5, 0.0, 9, 60, 60), units=2, rows=2)
