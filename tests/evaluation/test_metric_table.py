"""The table of predictors and metrics, and the units that it rests on."""

import numpy as np
import pandas as pd
import pytest
from ml_pipeline.evaluation.holdout import Sample
from ml_pipeline.evaluation.metric_table import as_text, measure


def dated(days=30, entities=20, seed=1):
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame(
        {
            "__time": np.repeat(pd.date_range("2024-01-01", periods=days), entities),
            "__entity": np.tile([f"E{i}" for i in range(entities)], days),
        }
    )
    p = rng.uniform(0.1, 0.9, len(rows))
    rows["__label"] = (rng.uniform(size=len(rows)) < p).astype(float)
    return rows, p


class TestUnits:
    def test_dated_rows_are_bound_by_day(self):
        sample = Sample.of(dated(days=5)[0])
        assert (sample.unit, sample.clusters, sample.names[0]) == ("day", 5, "2024-01-01")

    def test_times_of_one_day_are_one_unit(self):
        rows, _ = dated(days=2)
        rows["__time"] += pd.to_timedelta(np.arange(len(rows)), unit="min")
        assert Sample.of(rows).clusters == 2

    def test_undated_rows_stand_for_themselves(self):
        rows, _ = dated(days=2)
        rows["__time"] = 0
        assert (Sample.of(rows).unit, Sample.of(rows).clusters) == ("row", 40)

    def test_a_cluster_of_its_own_wins_over_the_day(self):
        rows, _ = dated(days=6, entities=4)
        rows["__cluster"] = rows["__entity"]
        assert (Sample.of(rows).unit, Sample.of(rows).names) == (
            "cluster",
            ("E0", "E1", "E2", "E3"),
        )

    def test_the_cluster_that_is_the_day_is_the_day(self):
        rows, _ = dated(days=6)
        rows["__cluster"] = rows["__time"]
        assert Sample.of(rows).unit == "day"


class TestMeasure:
    def test_every_value_lies_in_its_interval(self):
        rows, p = dated()
        table = measure(Sample.of(rows), {"model": p}, resamples=200, seed=1)
        for found in table["model"].values():
            assert found.low <= found.value <= found.high
            assert found.low < found.high

    def test_same_seed_same_table(self):
        rows, p = dated()
        sample = Sample.of(rows)
        one, other = (measure(sample, {"model": p}, resamples=50, seed=3) for _ in range(2))
        assert one == other

    def test_without_days_there_is_no_within_day_auc_and_a_reason(self):
        rows, p = dated()
        rows["__time"] = 0
        found = measure(Sample.of(rows), {"model": p}, resamples=50, seed=1)["model"]
        assert found["within_day_auc"].skipped == "the rows are not dated, so there are no days"
        assert found["auc"].value is not None

    def test_one_class_has_no_auc_and_a_reason(self):
        rows, p = dated()
        rows["__label"] = 0.0
        found = measure(Sample.of(rows), {"model": p}, resamples=50, seed=1)["model"]
        assert found["auc"].skipped == "every label is 0, one class has no AUC"
        assert found["within_day_auc"].skipped == "no day has both classes"
        assert found["log_loss"].value is not None

    def test_a_single_day_has_values_without_intervals(self):
        rows, p = dated(days=1)
        found = measure(Sample.of(rows), {"model": p}, resamples=50, seed=1)["model"]["auc"]
        assert (found.value is not None, found.low) == (True, None)

    def test_days_with_one_class_are_counted(self):
        rows, _ = dated()
        rows.loc[rows["__time"] == "2024-01-03", "__label"] = 1.0
        sample = Sample.of(rows)
        counted = sample.task.unit_summary(sample.labels, sample.codes, sample.clusters)
        assert counted == {"units_with_one_class": 1}

    def test_no_rows_and_no_number_are_refused(self):
        rows, p = dated()
        with pytest.raises(ValueError, match="no labelled rows"):
            measure(Sample.of(rows[:0]), {"model": p[:0]}, resamples=50, seed=1)
        p[3] = np.nan
        with pytest.raises(ValueError, match="model: 1 predictions not finite"):
            measure(Sample.of(rows), {"model": p}, resamples=50, seed=1)

    def test_the_text_leaves_out_columns_without_values(self):
        rows, p = dated()
        rows["__time"] = 0
        text = as_text(measure(Sample.of(rows), {"base_rate": p}, resamples=50, seed=1), {})
        assert "within-day AUC" not in text["header"]
        assert [len(row) for row in text["rows"]] == [len(text["header"])]
