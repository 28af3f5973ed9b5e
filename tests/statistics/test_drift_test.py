"""What differs is found and named in the feature's own units; what does not, is not."""

import numpy as np
import pytest
from ml_pipeline.statistics import drift_test
from ml_pipeline.statistics.drift_test import FeatureReference, UnitSummary

LEVEL = 1e-6
DAYS = np.repeat(np.arange(250), 40)


@pytest.fixture
def generator():
    return np.random.default_rng(5)


@pytest.fixture
def prices(generator):
    return FeatureReference.numeric("price", generator.normal(50, 10, 10_000), DAYS)


def shops(generator, size, shares=(0.5, 0.3, 0.2), names=("a", "b", "c")):
    return generator.choice(np.array(list(names), dtype=object), size, p=shares)


def served(reference, values, days=20):
    """Return a window of ``days`` days."""
    return reference.summarize(values, 300 + np.arange(len(values)) * days // len(values))


def test_rows_as_in_the_reference_are_no_drift(prices, generator):
    found = drift_test.test_drift(
        prices, served(prices, generator.normal(50, 10, 20_000)), level=LEVEL
    )
    assert found.p_value > 0.01
    assert (found.rows, found.units) == (20_000, 20)
    assert found.detectable < 0.3


@pytest.mark.parametrize(
    ("values", "kind", "effect", "shift"),
    [
        (lambda g: g.normal(55, 10, 20_000), "location", 0.5, 5.0),
        (lambda g: g.normal(50, 20, 20_000), "spread", 0.24, 0.0),
        (
            lambda g: np.where(g.random(20_000) < 0.2, np.nan, g.normal(50, 10, 20_000)),
            "missing",
            0.2,
            0.0,
        ),
        (
            lambda g: np.where(g.random(20_000) < 0.1, 1e6, g.normal(50, 10, 20_000)),
            "unseen",
            0.1,
            18.3,
        ),
        (lambda g: np.full(20_000, np.nan), "missing", 1.0, 0.0),
    ],
)
def test_a_change_of_a_number_is_named_with_its_size(
    prices, generator, values, kind, effect, shift
):
    found = drift_test.test_drift(prices, served(prices, values(generator)), level=LEVEL)
    assert found.p_value < LEVEL
    assert found.kind == kind
    assert found.effect == pytest.approx(effect, abs=0.04)
    assert found.shift == pytest.approx(shift, abs=0.5)


@pytest.mark.parametrize(
    ("shares", "names", "kind", "label", "effect"),
    [
        ((0.3, 0.5, 0.2), "abc", "category", "a", -0.2),
        ((0.45, 0.3, 0.2, 0.05), "abcx", "unseen", "", 0.05),
        ((0.45, 0.3, 0.2, 0.05), ["a", "b", "c", None], "missing", "", 0.05),
    ],
)
def test_a_change_of_categories_is_named(generator, shares, names, kind, label, effect):
    reference = FeatureReference.categorical("shop", shops(generator, 10_000), DAYS)
    window = served(reference, shops(generator, 20_000, shares, names))
    found = drift_test.test_drift(reference, window, level=LEVEL)
    assert found.p_value < LEVEL
    assert (found.kind, found.label) == (kind, label)
    assert found.effect == pytest.approx(effect, abs=0.02)


def test_days_that_were_served_before_show_how_little_days_differ(prices, generator):
    history = prices.summarize(generator.normal(50, 10, 40_000), 300 + np.arange(40_000) // 1000)
    window = prices.summarize(generator.normal(54.5, 10, 1000), np.full(1000, 340))
    alone = drift_test.test_drift(prices, window, level=LEVEL)
    both = drift_test.test_drift(prices, window, level=LEVEL, history=history.merge(window))
    assert both.p_value < LEVEL < alone.p_value
    assert both.detectable < alone.detectable


def test_an_unusual_day_that_moves_all_values_is_no_change_of_spread_or_tails(generator):
    def values(effects, rows):
        noise = generator.normal(0, 0.975, rows * len(effects))
        return np.round(0.22 * np.repeat(effects, rows) + noise, 1)

    reference = FeatureReference.numeric(
        "price", values(generator.normal(size=500), 20), np.repeat(np.arange(500), 20)
    )
    effects = np.append(generator.normal(size=200), 4.0)
    history = reference.summarize(values(effects, 5_000), 600 + np.repeat(np.arange(201), 5_000))
    window = history.between(800, 800)
    found = drift_test.test_drift(reference, window, level=LEVEL, history=history)
    assert found.p_value > 100 * LEVEL


def test_a_category_of_100_000_values_stays_bounded_and_has_its_share_of_unseen_ones(generator):
    customers = np.array([f"c{i}" for i in range(100_000)], dtype=object)
    reference = FeatureReference.categorical("customer", generator.choice(customers, 10_000), DAYS)
    window = served(reference, generator.choice(customers, 20_000))
    assert window.counts.shape[1] < 40
    assert drift_test.test_drift(reference, window, level=LEVEL).p_value > 0.01


def test_a_constant_drifts_only_by_leaving_its_value(generator):
    reference = FeatureReference.numeric("flag", np.ones(1000), None)
    same = drift_test.test_drift(reference, served(reference, np.ones(5000)), level=LEVEL)
    other = drift_test.test_drift(reference, served(reference, np.zeros(5000)), level=LEVEL)
    assert (same.p_value, other.kind) == (1.0, "unseen")
    assert other.p_value < LEVEL


@pytest.mark.parametrize("share", [0.0, 0.002])
def test_a_rare_event_that_becomes_frequent_has_its_share_as_shift(generator, share):
    """Such as the rows that fail a data test, of which training had none, or hardly any."""
    happened = (np.arange(10_000) % 500 == 0) * (share > 0)
    reference = FeatureReference.numeric("fails", happened.astype(float), DAYS)
    window = served(reference, (generator.random(5000) < 0.1).astype(float))
    found = drift_test.test_drift(reference, window, level=LEVEL)
    assert found.p_value < LEVEL
    assert found.shift == pytest.approx(0.1 - share, abs=0.02)


@pytest.mark.parametrize("values", [np.full(100, np.nan), np.array([None] * 100, dtype=object)])
def test_a_feature_that_was_never_there_and_now_is(values):
    make = FeatureReference.categorical if values.dtype == object else FeatureReference.numeric
    reference = make("late", values, np.arange(100))
    now = ["a"] * 500 if values.dtype == object else np.ones(500)
    assert drift_test.test_drift(reference, served(reference, values), level=LEVEL).p_value == 1.0
    assert drift_test.test_drift(reference, served(reference, now), level=LEVEL).kind == "missing"


def test_an_empty_window_shows_nothing(prices):
    found = drift_test.test_drift(prices, prices.summarize(np.empty(0), np.empty(0)), level=LEVEL)
    assert (found.p_value, found.rows, found.detectable) == (1.0, 0, float("inf"))


def test_a_summary_is_the_same_in_parts_and_from_its_arrays(prices, generator):
    values, units = generator.normal(50, 10, 4000), 300 + np.arange(4000) // 800
    whole = prices.summarize(values, units)
    parts = prices.summarize(values[:1600], units[:1600]).merge(
        prices.summarize(values[1600:], units[1600:])
    )
    again = UnitSummary.from_arrays(parts.to_arrays())
    for name, array in whole.to_arrays().items():
        np.testing.assert_allclose(again.to_arrays()[name], array, rtol=1e-9, atol=1e-9)
    assert whole.between(301, 302).rows == 1600


@pytest.mark.parametrize("spoiled", ["units", "counts", "moments", "blocks"])
def test_arrays_that_are_no_summary_are_named(prices, spoiled):
    arrays = prices.summarize(np.ones(10), np.zeros(10)).to_arrays()
    with pytest.raises(ValueError, match="a summary of"):
        UnitSummary.from_arrays({**arrays, spoiled: np.zeros((3, 3))})
    del arrays[spoiled]
    with pytest.raises(ValueError, match=f"without {spoiled}"):
        UnitSummary.from_arrays(arrays)


def test_rows_and_units_have_one_length(prices):
    with pytest.raises(ValueError, match="price: 3 values and 2 units"):
        prices.summarize(np.ones(3), np.zeros(2))
    with pytest.raises(ValueError, match="at least one row"):
        FeatureReference.numeric("price", np.empty(0), None)


def test_ranks_among_two_shares_more_are_no_drift() -> None:
    """The outermost ranks lie outside of the reference's range, by as little as they mean."""

    def ranks(shares: int, days: range) -> tuple[np.ndarray, np.ndarray]:
        return np.tile(np.arange(1.0, shares + 1) / shares, len(days)), np.repeat(days, shares)

    reference = FeatureReference.numeric("return_rank", *ranks(46, range(200)))
    window = reference.summarize(*ranks(48, range(300, 360)))
    assert drift_test.test_drift(reference, window, level=LEVEL).p_value > 0.01
