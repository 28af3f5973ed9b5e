"""The mean over units: its interval covers, and two means are compared with a controlled error."""

import numpy as np
import pytest
from ml_pipeline.statistics.unit_mean import probability_of_gap, unit_mean


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


def test_a_gap_of_two_means_is_tested_with_both_standard_errors():
    assert probability_of_gap(0.0, (0.1, 0.1), (20, 20)) == pytest.approx(0.5)
    assert probability_of_gap(0.3, (0.1, 0.1), (1e6, 1e6)) == pytest.approx(0.01695, rel=1e-3)
    assert probability_of_gap(0.3, (0.1, 0.1), (3, 3)) > 0.03
    with pytest.raises(ValueError, match="neither"):
        probability_of_gap(0.3, (0.0, 0.0), (3, 3))
