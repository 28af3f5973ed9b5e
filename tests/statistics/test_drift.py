"""Distances that are 0 for the same sample, large for others, and known for textbook cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_pipeline.statistics.drift import (
    ks_distance,
    population_stability_index,
    stability_of_counts,
)

samples = st.lists(st.floats(0, 1), min_size=1, max_size=60).map(np.array)


@given(samples)
def test_the_distance_of_a_sample_from_itself_is_zero(sample):
    assert population_stability_index(sample, sample) == pytest.approx(0)
    assert ks_distance(sample, sample) == 0


@given(samples, samples)
def test_the_ks_distance_is_the_largest_gap_between_the_distribution_functions(one, other):
    gaps = [abs((one <= x).mean() - (other <= x).mean()) for x in (*one, *other)]
    assert ks_distance(one, other) == pytest.approx(max(gaps))


@given(samples, samples)
def test_an_index_is_never_negative(one, other):
    assert population_stability_index(one, other) >= 0


def test_without_a_shift_the_index_is_what_chance_makes_it():
    generator = np.random.default_rng(1)
    found = [
        population_stability_index(generator.random(1000), generator.random(1000))
        for _ in range(200)
    ]
    assert np.mean(found) == pytest.approx(9 * (1 / 1000 + 1 / 1000), rel=0.25)


def test_a_shift_by_one_deviation_is_large():
    """For two normal distributions a deviation apart the divergence is 1."""
    generator = np.random.default_rng(1)
    one, other = generator.normal(0, 1, 20_000), generator.normal(1, 1, 20_000)
    assert 0.85 < population_stability_index(one, other) < 1.05
    assert ks_distance(one, other) == pytest.approx(0.383, abs=0.02)


@pytest.mark.parametrize("constant", [0.2, 0.8])
def test_a_model_that_answers_the_same_number_is_seen_beside_another_such(constant):
    expected, actual = np.full(500, 0.5), np.full(500, constant)
    assert population_stability_index(expected, actual) > 1
    assert ks_distance(expected, actual) == 1


@pytest.mark.parametrize("wrong", [[], [np.nan], [np.inf, 0.5]])
@pytest.mark.parametrize("distance", [ks_distance, population_stability_index])
def test_nothing_and_nan_have_no_distance(wrong, distance):
    with pytest.raises(ValueError, match="finite"):
        distance(np.array(wrong), np.array([0.5]))
    with pytest.raises(ValueError, match="finite"):
        distance(np.array([0.5]), np.array(wrong))


histograms = st.lists(st.integers(0, 1000), min_size=1, max_size=21).filter(any).map(np.array)


class TestOfCounts:
    @given(histograms)
    def test_the_distance_of_a_histogram_from_itself_is_zero(self, counts):
        assert stability_of_counts(counts, counts) == pytest.approx(0)

    @given(histograms.flatmap(lambda one: st.tuples(st.just(one), st.permutations(list(one)))))
    def test_it_is_never_negative(self, both):
        assert stability_of_counts(both[0], np.array(both[1])) >= 0

    def test_it_is_near_that_of_the_samples(self):
        generator = np.random.default_rng(2)
        one, other = generator.beta(5, 5, 10_000), generator.beta(6, 4, 10_000)
        edges = np.linspace(0, 1, 21)
        binned = stability_of_counts(*(np.histogram(x, edges)[0] for x in (one, other)))
        assert binned == pytest.approx(population_stability_index(one, other), rel=0.15)

    def test_by_hand(self):
        """Bins of 40 and 60 per cent that become 60 and 40: 2 x 0.2 x ln 1.5."""
        found = stability_of_counts(np.array([4e6, 6e6]), np.array([6e6, 4e6]))
        assert found == pytest.approx(0.4 * np.log(1.5), abs=1e-5)

    def test_values_outside_the_expected_range_have_their_own_bin(self):
        expected = np.array([0, 0, 500, 500, 0, 0])
        assert stability_of_counts(expected, np.array([0, 1000, 0, 0, 0, 0])) > 5
        assert stability_of_counts(expected, np.array([0, 0, 0, 0, 0, 1000])) > 5

    def test_thin_neighbours_are_joined(self):
        """Twenty bins of 5 per cent make ten, so noise within a pair is none."""
        expected = np.full(20, 50)
        swapped = np.tile([100, 0], 10)
        assert stability_of_counts(expected, swapped) == pytest.approx(0)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ([0, 0], [1, 1]),
            ([1, 1], [0, 0]),
            ([1], [1, 1]),
            ([1, np.nan], [1, 1]),
            ([2, -1], [1, 0]),
        ],
    )
    def test_an_invalid_histogram_is_refused(self, one, other):
        with pytest.raises(ValueError, match="histograms"):
            stability_of_counts(np.array(one, dtype=float), np.array(other, dtype=float))
