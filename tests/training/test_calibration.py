"""The two curves: what they learn, and that no row's order is turned round."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_pipeline.core.errors import Refused
from ml_pipeline.training.calibration import Isotonic, Sigmoid, _isotonic, _sigmoid, calibrate
from sklearn.metrics import roc_auc_score


def overconfident(count=4000, seed=0):
    """Probabilities whose logits are three times too large."""
    generator = np.random.default_rng(seed)
    logit = generator.normal(size=count)
    label = (generator.random(count) < 1 / (1 + np.exp(-logit))).astype(float)
    return 1 / (1 + np.exp(-3 * logit)), label


def test_no_calibration_has_no_curve():
    assert calibrate("none", *overconfident()) is None


def test_sigmoid_restores_the_slope():
    curve = calibrate("sigmoid", *overconfident())
    assert isinstance(curve, Sigmoid)
    assert curve.slope == pytest.approx(1 / 3, abs=0.03)
    assert curve.offset == pytest.approx(0, abs=0.1)
    assert curve.check().verdict == "pass"


def test_sigmoid_agrees_with_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    probability, label = overconfident()
    logit = np.log(probability / (1 - probability))
    peer = LogisticRegression(C=1e8, tol=1e-10).fit(logit[:, None], label)
    expected = peer.predict_proba(logit[:, None])[:, 1]
    curve = calibrate("sigmoid", probability, label)
    assert curve.apply(probability) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("kind", ["sigmoid", "isotonic"])
def test_calibrated_probabilities_meet_the_rates(kind):
    curve = calibrate(kind, *overconfident())
    probability, label = overconfident(seed=1)
    calibrated = curve.apply(probability)
    for low in (0.1, 0.3, 0.5, 0.7):
        inside = (calibrated >= low) & (calibrated < low + 0.2)
        assert label[inside].mean() == pytest.approx(calibrated[inside].mean(), abs=0.06)
    inside = probability > 0.9
    assert abs(label[inside].mean() - probability[inside].mean()) > 0.1


@given(st.integers(0, 2**32 - 1), st.integers(60, 400), st.sampled_from([_sigmoid, _isotonic]))
def test_curves_stay_clear_of_certainty(seed, count, fit):
    generator = np.random.default_rng(seed)
    probability = generator.random(count)
    label = (generator.random(count) < 0.5).astype(float)
    label[:2] = 0, 1
    curve = fit(probability, label)
    values = curve.apply(np.linspace(0, 1, 501))
    assert np.isfinite(values).all()
    assert (values > 0).all()
    assert (values < 1).all()
    if isinstance(curve, Isotonic):
        assert (np.diff(values) >= 0).all()
        assert (np.diff(curve.at) >= 1 / 64 - 1e-12).all()


def test_isotonic_does_not_believe_a_handful_of_rows():
    probability = np.concatenate([np.full(500, 0.4), [0.9, 0.95]])
    label = np.concatenate([np.tile([0.0, 1.0], 250), [1.0, 1.0]])
    assert _isotonic(probability, label).apply(np.array([0.99]))[0] < 0.6


class TestIsotonicOnTooLittle:
    """A step function of few values merges ranks: a sigmoid is fitted instead, and that is said."""

    def test_few_rows(self):
        probability, label = overconfident()
        curve = calibrate("isotonic", probability[:999], label[:999])
        assert isinstance(curve, Sigmoid)
        assert curve.check().why == (
            "sigmoid in place of isotonic, which needs 1,000 rows: the validation part has 999"
        )
        assert isinstance(calibrate("isotonic", probability[:1000], label[:1000]), Isotonic)

    def test_few_distinct_values(self):
        probability = np.tile([0.3, 0.5, 0.7], 500)
        label = np.tile([0.0, 0.0, 1.0, 0.0, 1.0, 1.0], 250)
        curve = calibrate("isotonic", probability, label)
        assert isinstance(curve, Sigmoid)
        assert "whose curve has 3 distinct values" in curve.check().why

    def test_the_order_of_a_good_estimator_is_kept(self):
        """59 rows left an isotonic curve one value: AUC 0.99 became 0.50."""
        generator = np.random.default_rng(3)
        label = (np.arange(59) % 2).astype(float)
        probability = np.clip(0.2 + 0.6 * label + generator.normal(0, 0.05, 59), 0.01, 0.99)
        calibrated = calibrate("isotonic", probability, label).apply(probability)
        assert roc_auc_score(label, calibrated) == roc_auc_score(label, probability)


def test_an_estimator_that_ranks_backwards_is_reported_and_not_blocked():
    probability, label = overconfident()
    check = calibrate("sigmoid", 1 - probability, label).check()
    assert (check.verdict, check.required) == ("fail", False)
    assert "worse than chance" in check.why
    assert calibrate("isotonic", 1 - probability, label).check().verdict == "fail"


@pytest.mark.parametrize(("count", "positive"), [(49, 20), (200, 0), (200, 200)])
def test_too_little_to_calibrate_on_is_refused(count, positive):
    label = (np.arange(count) < positive).astype(float)
    with pytest.raises(
        Refused, match=rf"{count} rows, {positive} of class 1; expected at least 50"
    ):
        calibrate("sigmoid", np.linspace(0.1, 0.9, count), label)
