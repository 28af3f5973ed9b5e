"""Samples and rules that the gate's tests build on."""

import numpy as np
import pytest
from ml_pipeline.evaluation.holdout import Sample
from ml_pipeline.gate.comparison_set import ComparisonRules


@pytest.fixture
def rules():
    def make(**changed):
        values = {
            "metric": "log_loss",
            "guards": {},
            "margin": 0.0,
            "non_inferior_margin": 0.005,
            "alpha": 0.05,
            "power": 0.8,
            "min_units": 20,
        }
        return ComparisonRules(**values | changed)

    return make


@pytest.fixture
def world():
    """Return a sample of days and the true probabilities of its rows."""

    def make(days=60, entities=40, seed=1):
        rng = np.random.default_rng(seed)
        truth = rng.uniform(0.2, 0.8, days * entities)
        labels = (rng.uniform(size=len(truth)) < truth).astype(float)
        codes = np.repeat(np.arange(days), entities)
        return Sample(labels, codes, tuple(f"day {d}" for d in range(days)), "day"), truth

    return make
