"""Distances that are 0 for the same sample, large for others, and known for textbook cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.statistics.drift import ks_distance, population_stability_index

samples = st.lists(st.floats(0, 1), min_size=1, max_size=60).map(np.array)


@given(samples)
def test_a_sample_is_no_distance_from_itself(sample):
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
