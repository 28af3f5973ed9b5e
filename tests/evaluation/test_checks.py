"""The checks of evaluate: what is missing or not finite never passes."""

import numpy as np
import pandas as pd
import pytest
from ml_pipeline.config import EvaluateSection, Threshold
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.report import Verdict
from ml_pipeline.evaluation import checks
from ml_pipeline.evaluation.fairness import by_group
from ml_pipeline.evaluation.holdout import Sample
from ml_pipeline.evaluation.metric_table import Measured
from ml_pipeline.evaluation.noise_sensitivity import noise_effect
from ml_pipeline.features.schema import Feature, FeatureSchema


def noise(count):
    return np.random.default_rng(1).normal(size=count)


@pytest.mark.parametrize("bad", [[np.nan], [np.inf], [-0.1], [1.1], []])
def test_predictions_that_are_no_probabilities_fail(bad):
    assert checks.valid_predictions(np.array(bad)).verdict is Verdict.FAIL


class TestBaseRate:
    labels = np.tile([0.0, 1.0, 1.0, 0.0], 300)
    sample = Sample(labels, np.arange(1200) // 20, tuple(map(str, range(60))), "day")
    constant = np.full(1200, 0.5)

    def check(self, model, *, quick=False):
        return checks.beats_baseline(self.sample, model, self.constant, quick=quick)

    def test_a_model_that_is_clearly_worse_than_a_constant_fails(self):
        check = self.check(np.where(self.labels == 1, 0.1, 0.9) + noise(1200) / 100)
        assert (check.verdict, check.required) == (Verdict.FAIL, True)
        assert "worse than a constant" in check.why

    def test_one_that_knows_nothing_does_not(self):
        """Overfitting by a hair is the gate's to judge, which asks for a proved gain."""
        assert self.check(0.5 + noise(1200) / 50).verdict is Verdict.PASS

    def test_a_good_one_passes_and_positive_is_better(self):
        check = self.check(np.where(self.labels == 1, 0.8, 0.2) + noise(1200) / 100)
        assert check.verdict is Verdict.PASS
        assert check.observed.startswith("+")

    def test_the_same_loss_on_every_day_is_judged_by_its_sign(self):
        assert self.check(np.where(self.labels == 1, 0.1, 0.9)).verdict is Verdict.FAIL
        assert self.check(np.where(self.labels == 1, 0.9, 0.1)).verdict is Verdict.PASS
        assert self.check(self.constant).verdict is Verdict.PASS

    def test_a_quick_model_is_not_judged(self):
        check = self.check(np.where(self.labels == 1, 0.1, 0.9) + noise(1200) / 100, quick=True)
        assert (check.verdict, check.required) == (Verdict.SKIPPED, False)


class TestLimitsBeforeTraining:
    @pytest.mark.parametrize(
        ("section", "has_groups", "told"),
        [
            ({"thresholds": {"acuracy": {"min": 0.5}}}, True, "did you mean 'accuracy'"),
            ({"group_gaps": {"auk": 0.1}}, True, "evaluate.group_gaps: unknown metric 'auk'"),
            ({"group_gaps": {"within_day_auc": 0.1}}, True, "has no value for a group"),
            ({"group_gaps": {"auc": 0.1}}, False, "the problem has no groups"),
        ],
    )
    def test_what_no_model_could_meet_is_refused(self, section, has_groups, told):
        with pytest.raises(UsageError, match=told):
            checks.check_metrics(EvaluateSection(**section), has_groups=has_groups)

    def test_others_are_fine(self):
        section = EvaluateSection(thresholds={"auc": {"min": 0.5}}, group_gaps={"auc": 0.1})
        checks.check_metrics(section, has_groups=True)
        checks.check_metrics(EvaluateSection(), has_groups=False)


class TestThresholds:
    def one(self, measured, *, quick=False, **limit):
        return checks.thresholds({"auc": Threshold(**limit)}, {"auc": measured}, quick=quick)[0]

    def test_inside_and_outside(self):
        assert self.one(Measured(0.6), min=0.6).verdict is Verdict.PASS
        assert self.one(Measured(0.59), min=0.6).verdict is Verdict.FAIL
        assert self.one(Measured(0.9), min=0.6, max=0.8).verdict is Verdict.FAIL

    def test_nan_fails(self):
        assert self.one(Measured(np.nan), min=0.6).verdict is Verdict.FAIL

    def test_what_was_not_measured_fails_with_its_reason(self):
        check = self.one(Measured(skipped="one class has no AUC"), min=0.6)
        assert check.verdict is Verdict.FAIL
        assert "one class has no AUC" in check.why

    def test_a_quick_model_is_shown_and_not_judged(self):
        check = self.one(Measured(0.5), quick=True, min=0.6)
        assert (check.verdict, check.required) == (Verdict.SKIPPED, False)
        assert self.one(Measured(0.7), quick=True, min=0.6).verdict is Verdict.PASS

    def test_an_unknown_metric_names_the_nearest(self):
        with pytest.raises(UsageError, match="did you mean 'accuracy'"):
            checks.thresholds({"acuracy": Threshold(min=0.5)}, {}, quick=False)

    def test_a_threshold_that_limits_nothing_is_refused(self):
        with pytest.raises(ValueError, match="min, max or both"):
            Threshold()


class TestNoise:
    schema = FeatureSchema((Feature("x", "numeric"), Feature("weekday", "numeric")))
    rows = pd.DataFrame({"x": np.linspace(0.1, 1, 500), "weekday": np.arange(500) % 5})

    def effect(self, predict):
        return noise_effect(predict, self.schema, self.rows, relative=1e-6, seed=1)

    def test_a_smooth_model_does_not_move(self):
        assert self.effect(lambda x: x[:, 0].astype(float)) < 1e-6

    def test_a_model_of_last_decimals_is_found(self):
        effect = self.effect(lambda x: (x[:, 0].astype(float) * 1e7) % 1)
        assert checks.noise(effect, 0.01).verdict is Verdict.FAIL

    def test_whole_numbers_have_no_decimals(self):
        assert self.effect(lambda x: (x[:, 1] >= 3).astype(float)) == 0

    def test_nan_fails(self):
        assert checks.noise(float("nan"), 0.01).verdict is Verdict.FAIL


class TestGroups:
    rng = np.random.default_rng(1)
    groups = np.repeat(np.array(["banks", "hydro", "tiny"], dtype=object), [300, 300, 10])
    labels = rng.integers(0, 2, 610).astype(float)
    probabilities = np.where(groups == "banks", 0.5 + 0.4 * (labels - 0.5), 0.5)

    def test_each_group_is_measured_and_small_ones_make_no_gap(self):
        found = by_group(self.labels, self.probabilities, self.groups)
        assert found.groups["banks"]["rows"] == 300
        assert found.groups["banks"]["auc"] == 1.0
        assert found.groups["hydro"]["auc"] == 0.5
        assert found.gaps["auc"] == 0.5

    def test_a_gap_over_its_limit_fails(self):
        gaps = by_group(self.labels, self.probabilities, self.groups).gaps
        check = checks.group_gaps({"auc": 0.2}, gaps, quick=False)[0]
        assert (check.verdict, check.required) == (Verdict.FAIL, True)

    def test_one_group_has_no_gap_and_does_not_pass(self):
        gaps = by_group(self.labels[:300], self.probabilities[:300], self.groups[:300]).gaps
        assert checks.group_gaps({"auc": 0.2}, gaps, quick=False)[0].verdict is Verdict.FAIL
        assert checks.group_gaps({"auc": 0.2}, gaps, quick=True)[0].verdict is Verdict.SKIPPED
