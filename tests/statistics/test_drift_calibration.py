"""Rows that did not change: p-values are never smaller than they say, whatever rows depend on.

Small versions of the simulations in docs/explanation/monitoring.md: each of the worlds has a
reference of 100 days and two months of served days, of which windows of 1, 7 and 28 days are
tested.
"""

from collections.abc import Callable

import numpy as np
import pytest
from ml_pipeline.statistics import drift_test
from ml_pipeline.statistics.drift_test import FeatureReference
from scipy.signal import lfilter

WORLDS = 12
ROWS = 300
LETTERS = np.array(list("abcdefghij"), dtype=object)
Draw = Callable[[np.random.Generator, int, int, bool], np.ndarray]


def autocorrelated(generator, size, rho=0.4):
    noise = generator.normal(size=size)
    noise[1:] *= np.sqrt(1 - rho**2)
    return lfilter([1], [1, -rho], noise)


def of_days(generator, days, rows):
    return np.repeat(autocorrelated(generator, days), rows)


WORLDS_BY_NAME: dict[str, Draw] = {
    "independent": lambda g, d, n, _: g.normal(size=d * n),
    "neighbours in the log are alike": lambda g, d, n, served: (
        autocorrelated(g, d * n) if served else g.normal(size=d * n)
    ),
    "days differ": lambda g, d, n, _: g.normal(size=d * n) + 0.5 * of_days(g, d, n),
    "heavy tails": lambda g, d, n, _: g.standard_cauchy(d * n),
    "nearly always 0": lambda g, d, n, _: np.where(g.random(d * n) < 0.01, g.random(d * n), 0.0),
    "few missing": lambda g, d, n, _: np.where(g.random(d * n) < 0.003, np.nan, g.random(d * n)),
    "categories": lambda g, d, n, _: LETTERS[np.minimum(g.geometric(0.3, d * n) - 1, 9)],
    "categories by day": lambda g, d, n, _: LETTERS[
        np.clip((5 + 2 * g.normal(size=d * n) + of_days(g, d, n)).astype(int), 0, 9)
    ],
}


@pytest.mark.parametrize("name", WORLDS_BY_NAME)
@pytest.mark.parametrize("dated", [True, False], ids=["dated", "undated"])
def test_without_a_change_small_p_values_are_rare(name, dated):
    draw, generator = WORLDS_BY_NAME[name], np.random.default_rng(11)
    p_values = []
    for _ in range(WORLDS):
        values = draw(generator, 100, 50, False)
        make = FeatureReference.categorical if values.dtype == object else FeatureReference.numeric
        reference = make(name, values, np.repeat(np.arange(100), 50) if dated else None)
        history = reference.summarize(
            draw(generator, 60, ROWS, True), np.repeat(np.arange(200, 260), ROWS)
        )
        for days in (1, 7, 28):
            window = history.between(260 - days, 259)
            for known in (history, None) if dated else (history,):
                found = drift_test.test_drift(reference, window, level=1e-6, history=known)
                p_values.append(found.p_value)
    assert np.mean(np.array(p_values) <= 0.1) <= 0.1
    assert min(p_values) > 1e-3


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda x, _: x + 0.3, "location"),
        (lambda x, _: 0.6 * x, "spread"),
        (lambda x, g: np.where(g.random(len(x)) < 0.05, np.nan, x), "missing"),
        (lambda x, g: np.where(g.random(len(x)) < 0.08, 3.0 * np.sign(x), x), "tail"),
    ],
)
def test_a_week_of_a_change_is_found_at_the_level_of_a_year_of_looks(change, kind):
    generator = np.random.default_rng(12)
    reference = FeatureReference.numeric(
        "x", generator.normal(size=10_000), np.repeat(np.arange(250), 40)
    )
    before = reference.summarize(
        generator.normal(size=120_000), np.repeat(np.arange(300, 420), 1000)
    )
    window = reference.summarize(
        change(generator.normal(size=7000), generator), np.repeat(np.arange(420, 427), 1000)
    )
    found = drift_test.test_drift(reference, window, level=1e-6, history=before.merge(window))
    assert found.p_value < 1e-6
    assert found.kind == kind


def test_detectable_is_what_is_found_in_four_of_five_windows():
    generator = np.random.default_rng(13)
    level, windows = 1e-4, 60
    reference = FeatureReference.numeric(
        "x", generator.normal(size=10_000), np.repeat(np.arange(200), 50)
    )
    units = np.repeat(np.arange(300, 328), 100)
    smallest = drift_test.test_drift(
        reference, reference.summarize(generator.normal(0.2, 1, 2800), units), level=level
    ).detectable
    found = [
        drift_test.test_drift(
            reference, reference.summarize(generator.normal(smallest, 1, 2800), units), level=level
        ).p_value
        <= level
        for _ in range(windows)
    ]
    assert 0.65 < np.mean(found) <= 1
