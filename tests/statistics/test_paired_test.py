"""The test of a mean difference: its numbers, its refusals, and how often it is wrong."""

import numpy as np
import pytest
from ml_pipeline.statistics.paired_test import DEGREES_PER_STRETCH, paired_difference
from scipy import stats
from statsmodels.regression.linear_model import OLS


def autoregressive(series, n, rho, seed, burn=50):
    """Return [series, n] of a first-order autoregressive process with mean 0."""
    noise = np.random.default_rng(seed).standard_normal((series, n + burn))
    values = np.zeros_like(noise)
    for day in range(1, n + burn):
        values[:, day] = rho * values[:, day - 1] + noise[:, day]
    return values[:, burn:]


class TestNumbers:
    def test_without_order_it_is_students_t_test(self):
        d = np.random.default_rng(1).normal(0.1, 1, 80)
        test = paired_difference(d, ordered=False)
        known = stats.ttest_1samp(d, 0, alternative="greater")
        assert (test.lags, test.degrees) == (0, 79)
        assert test.p_value == pytest.approx(known.pvalue)
        assert test.std_error == pytest.approx(d.std(ddof=1) / np.sqrt(80))

    def test_bounds_are_one_sided_at_alpha(self):
        d = np.random.default_rng(2).normal(0.1, 1, 80)
        test = paired_difference(d, ordered=False, alpha=0.05)
        low, high = stats.ttest_1samp(d, 0).confidence_interval(0.90)
        assert (test.low, test.high) == pytest.approx((low, high))

    def test_standard_error_is_newey_west_of_statsmodels(self):
        d = autoregressive(1, 120, 0.4, seed=3)[0]
        test = paired_difference(d)
        fit = OLS(d, np.ones(120)).fit(
            cov_type="HAC", cov_kwds={"maxlags": test.lags, "use_correction": True}
        )
        assert test.lags >= 4
        assert test.std_error == pytest.approx(fit.bse[0])

    def test_persistent_differences_take_more_lags(self):
        calm, persistent = (
            paired_difference(autoregressive(1, 250, rho, seed=4)[0]) for rho in (0.0, 0.7)
        )
        assert persistent.lags > calm.lags
        assert persistent.degrees < calm.degrees

    def test_null_moves_the_p_value_and_not_the_bounds(self):
        d = np.random.default_rng(5).normal(0.3, 1, 200)
        at_zero, at_margin = paired_difference(d), paired_difference(d, null=0.2)
        assert at_zero.low == at_margin.low
        assert at_zero.p_value < at_margin.p_value

    def test_the_detectable_effect_is_detected_at_the_stated_power(self):
        rng = np.random.default_rng(6)
        detectable = stats.t.ppf(0.95, 99) + stats.t.ppf(0.8, 99)
        shift = detectable / np.sqrt(100)
        found = [
            paired_difference(rng.normal(shift, 1, 100), ordered=False).low > 0 for _ in range(600)
        ]
        assert np.mean(found) == pytest.approx(0.8, abs=0.05)

    def test_identical_models_differ_by_exactly_nothing(self):
        test = paired_difference(np.zeros(50), null=-0.01)
        assert (test.effect, test.low, test.high, test.p_value) == (0, 0, 0, 0)
        assert paired_difference(np.zeros(50)).p_value == 1


class TestRefusals:
    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_not_finite(self, bad):
        with pytest.raises(ValueError, match="1 differences are not finite"):
            paired_difference(np.array([0.1, bad, 0.2]))

    @pytest.mark.parametrize("n", [0, 1])
    def test_too_few(self, n):
        with pytest.raises(ValueError, match=f"{n} differences cannot be tested"):
            paired_difference(np.ones(n))

    def test_no_variance(self):
        with pytest.raises(ValueError, match="no variance"):
            paired_difference(np.full(50, 0.001))


@pytest.mark.parametrize(
    ("rho", "n", "limit"),
    [(-0.3, 120, 0.06), (0.0, 120, 0.06), (0.2, 120, 0.065), (0.4, 120, 0.075), (0.4, 250, 0.07)],
)
def test_false_positive_rate_under_autocorrelation(rho, n, limit):
    """No true difference: a test at 5 % says 'better' in about 5 % of the series."""
    series = autoregressive(2000, n, rho, seed=11)
    rate = np.mean([paired_difference(d).low > 0 for d in series])
    assert 0.03 < rate < limit


def test_a_naive_t_test_would_be_wrong_far_more_often():
    series = autoregressive(1200, 120, 0.4, seed=11)
    naive = np.mean([paired_difference(d, ordered=False).low > 0 for d in series])
    assert naive > 0.11


@pytest.mark.parametrize("share", [0.02, 0.04, 0.1])
def test_degrees_of_freedom_stand_for_fixed_b_critical_values(share):
    """Kiefer and Vogelsang (2005), table 1, Bartlett kernel, 95 %; share = (lags + 1) / n."""
    fixed_b = 1.6449 + 2.1859 * share + 0.3142 * share**2 - 0.3427 * share**3
    assert stats.t.ppf(0.95, DEGREES_PER_STRETCH / share) == pytest.approx(fixed_b, rel=0.02)
