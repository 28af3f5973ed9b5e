"""A distance that is 0 for the same histogram, and a p-value that is small where it is not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_pipeline.statistics.histograms import compare_histograms, quantile_bins

histograms = st.lists(st.integers(0, 500), min_size=2, max_size=30).filter(lambda c: sum(c) > 1)


def rows(counts):
    return np.repeat(np.arange(len(counts)), counts)


@settings(deadline=None)
@given(histograms)
def test_a_histogram_is_like_itself(counts):
    found = compare_histograms(rows(counts), np.array(counts, dtype=float))
    assert found.distance == pytest.approx(0, abs=1e-9)
    assert found.p_value > 0.05


@settings(deadline=None)
@given(histograms, histograms)
def test_both_figures_lie_between_0_and_1(one, other):
    size = max(len(one), len(other))
    padded = np.pad(np.array(other, dtype=float), (0, size - len(other)))
    found = compare_histograms(rows(one), padded)
    assert 0 <= found.distance <= 1 + 1e-9
    assert 0 < found.p_value <= 1


def test_the_same_distance_is_significant_in_a_thousand_rows_and_not_in_twenty():
    reference = rows([100] * 10)
    shifted = np.array([0, 0, 0, 1, 1, 1, 1, 2, 2, 2], dtype=float)
    few, many = (compare_histograms(reference, shifted * times) for times in (2, 100))
    assert few.distance == pytest.approx(many.distance) == pytest.approx(0.3)
    assert few.p_value > 0.05
    assert many.p_value < 1e-6


def test_of_samples_that_are_alike_hardly_any_is_significant():
    generator = np.random.default_rng(2)
    p_values = [
        compare_histograms(
            generator.integers(0, 10, 1000), np.bincount(generator.integers(0, 10, 200)) * 1.0
        ).p_value
        for _ in range(200)
    ]
    assert min(p_values) > 0.01


def test_days_that_differ_make_a_day_less_unusual():
    generator = np.random.default_rng(3)
    days = np.repeat(np.arange(200), 50)

    def bins(effects):
        return np.clip(generator.normal(5 + effects, 2).astype(int), 0, 10)

    reference = bins(np.repeat(generator.normal(size=200), 50))
    unusual = np.bincount(bins(np.full(5000, 2.0)), minlength=11).astype(float)
    assert compare_histograms(reference, unusual, units=days).p_value > 1e-3
    assert compare_histograms(reference, unusual).p_value < 1e-9


def test_what_lies_beyond_the_reference_is_not_joined_to_it():
    found = compare_histograms(rows([0, 0, 50, 50, 0]), np.array([0.0, 0, 0, 0, 200]))
    assert found.distance == 1
    assert found.p_value < 1e-6


@pytest.mark.parametrize(
    ("reference", "counts", "message"),
    [
        ([], [1.0], "none of them empty"),
        ([0], [0.0], "none of them empty"),
        ([0], [np.nan], "none of them empty"),
        ([0], [-1.0, 3.0], "none of them empty"),
        ([3], [1.0, 1.0], "in bin 3 of 2"),
    ],
)
def test_histograms_without_rows_are_refused(reference, counts, message):
    with pytest.raises(ValueError, match=message):
        compare_histograms(np.array(reference, dtype=int), np.array(counts))


def test_bins_of_a_sample_end_at_its_quantiles():
    edges = quantile_bins(np.arange(1.0, 101.0))
    assert edges[1:].tolist() == pytest.approx([10, 20, 30, 40, 50, 60, 70, 80, 90, 100], abs=1)
    assert 0.99 < edges[0] < 1
    with pytest.raises(ValueError, match="finite"):
        quantile_bins(np.array([1.0, np.nan]))
