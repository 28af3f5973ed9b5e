"""The gate records the performance that it expects of a challenger, by its primary metric."""

import json

import numpy as np
import pandas as pd
import pytest
from ml_pipeline.core.errors import Refused
from ml_pipeline.evaluation import metric_table
from ml_pipeline.gate.expected_performance import (
    expected_performance,
    read_expected,
)


@pytest.fixture
def expected(world):
    def make(metric="log_loss", **shape):
        sample, truth = world(**shape)
        table = metric_table.measure(sample, {"model": truth}, resamples=100, seed=1)
        values = np.where(np.arange(len(truth)) % 2, "odd", "even").astype(object)
        values[0] = None
        return expected_performance(
            metric, sample, truth, table["model"][metric], pd.DataFrame({"side": values}), ("side",)
        )

    return make


@pytest.mark.parametrize("metric", ["log_loss", "accuracy", "within_day_auc"])
def test_it_is_the_metric_of_the_table_with_its_units_and_rows(expected, metric):
    found = expected(metric)
    assert found.low < found.value < found.high
    assert (found.metric, found.unit, found.units, found.rows) == (metric, "day", 60, 2400)
    assert found.confidence == 0.95
    half = (found.high - found.low) / 2
    assert found.std_error == pytest.approx(half / 1.96, rel=0.5), "both measure the same noise"


@pytest.mark.parametrize("metric", ["log_loss", "accuracy", "within_day_auc"])
def test_calibrated_predictions_are_no_further_from_their_estimate_than_noise(expected, metric):
    found = expected(metric).calibration
    assert abs(found.bias) < 3 * found.std_error


def test_groups_have_their_own_performance(expected):
    found = expected().groups["side"]
    assert (found["even"].rows, found["odd"].rows) == (1199, 1200)
    assert found["odd"].std_error > expected().std_error


def test_a_single_day_has_a_value_and_no_interval(expected):
    found = expected(days=1)
    assert (found.low, found.high, found.std_error, found.units) == (None, None, None, 1)


def test_it_is_read_back_from_the_record(expected):
    found = expected()
    record = json.dumps({"metrics": {"expected": found.to_json()}}).encode()
    assert read_expected(record) == found
    assert str(found) == f"{found.value:.4f} [{found.low:.4f}, {found.high:.4f}]"


@pytest.mark.parametrize("record", [None, b"{}", b'{"metrics": {}}', b'{"metrics": null}', b"[]"])
def test_a_record_of_an_earlier_version_has_none(record):
    assert read_expected(record) is None


@pytest.mark.parametrize("record", [b'{"metrics": {"expected": {"metric": 1}}}', b"no json"])
def test_a_broken_record_is_refused(record):
    with pytest.raises(Refused, match="gate's record"):
        read_expected(record)


def test_a_metric_that_the_rows_do_not_define_is_not_expected(world):
    sample, truth = world(days=2)
    assert expected_performance("auc", sample, truth, metric_table.Measured(skipped="why")) is None
