"""Resampling of clusters: counts, ratios, weighted AUC, and the coverage of the interval."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_pipeline.statistics import resampling
from ml_pipeline.statistics.resampling import (
    cluster_counts,
    percentile_intervals,
    ratio_of_sums,
    weighted_auc,
)
from sklearn.metrics import roc_auc_score


def test_each_resample_draws_as_many_clusters_as_there_are():
    blocks = list(cluster_counts(7, 30, seed=1))
    assert np.concatenate(blocks).shape == (30, 7)
    assert all((block.sum(axis=1) == 7).all() for block in blocks)


def test_blocks_hold_the_memory_limit(monkeypatch):
    monkeypatch.setattr(resampling, "CELLS", 20)
    blocks = list(cluster_counts(7, 5, seed=1))
    assert [len(block) for block in blocks] == [2, 2, 1]


def test_same_seed_same_interval():
    sums, rows = np.arange(20.0), np.full(20, 2.0)
    found = [
        percentile_intervals({"m": ratio_of_sums(sums, rows)}, 20, resamples=100, seed=s)["m"]
        for s in (1, 1, 2)
    ]
    assert found[0] == found[1] != found[2]


def test_interval_covers_the_mean_of_correlated_rows():
    """Rows of one day share a shock: an interval over days covers, one over rows would not."""
    rng = np.random.default_rng(3)
    by_day = by_row = 0
    for _ in range(150):
        values = rng.normal(size=(60, 1)) + rng.normal(size=(60, 10))
        days = ratio_of_sums(values.sum(axis=1), np.full(60, 10.0))
        rows = ratio_of_sums(values.ravel(), np.ones(600))
        day = percentile_intervals({"m": days}, 60, resamples=200, seed=1)["m"]
        row = percentile_intervals({"m": rows}, 600, resamples=200, seed=1)["m"]
        by_day += day.low <= 0 <= day.high
        by_row += row.low <= 0 <= row.high
    assert by_day / 150 > 0.88
    assert by_row / 150 < 0.70


def test_an_inflated_statistic_gets_an_interval_that_covers_what_is_behind_the_noise():
    """The mean size of 10 noisy means, 0.1 each: sampling adds to it, and resampling once more."""
    rng = np.random.default_rng(3)
    plain = corrected = 0
    for _ in range(150):
        cells = 0.1 + rng.normal(size=(60, 10))

        def mean_size(counts, cells=cells):
            return np.abs(counts @ cells / counts.sum(axis=1, keepdims=True)).mean(axis=1)

        found = percentile_intervals({"m": mean_size}, 60, resamples=200, seed=1)["m"]
        moved = percentile_intervals({"m": mean_size}, 60, resamples=200, seed=1, inflated=["m"])[
            "m"
        ]
        plain += found.low <= 0.1 <= found.high
        corrected += moved.low <= 0.1 <= moved.high
        assert 0 <= moved.low <= mean_size(np.ones((1, 60)))[0] <= moved.high
    assert corrected / 150 > 0.85
    assert plain / 150 < 0.70


def test_a_statistic_defined_in_too_few_resamples_has_no_interval():
    nothing = ratio_of_sums(np.zeros(5), np.zeros(5))
    assert percentile_intervals({"m": nothing}, 5, resamples=50, seed=1) == {}


def test_no_cluster_is_refused():
    with pytest.raises(ValueError, match="no cluster"):
        percentile_intervals({}, 0, resamples=50, seed=1)


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 2)), min_size=2, max_size=40
    )
)
def test_weighted_auc_is_that_of_the_repeated_rows(rows):
    labels, scores, clusters = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    codes = clusters.astype(np.int64)
    counts = np.array([[1.0, 1.0, 1.0], [2.0, 0.0, 1.0], [0.0, 3.0, 0.0]])
    found = weighted_auc(labels, scores, codes)(counts)
    for value, count in zip(found, counts, strict=True):
        repeat = count[codes].astype(int)
        y, s = np.repeat(labels, repeat), np.repeat(scores, repeat)
        if len(np.unique(y)) < 2:
            assert np.isnan(value)
        else:
            assert value == pytest.approx(roc_auc_score(y, s))
