"""Samples and rules that the gate's tests build on."""

import numpy as np
import pandas as pd
import pytest
from ml_pipeline.core.report import ModelRef
from ml_pipeline.evaluation.holdout import Sample
from ml_pipeline.gate.comparison_set import ComparisonRules, run_comparisons
from ml_pipeline.gate.model_comparison import ComparedRows, ModelComparison


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


@pytest.fixture
def comparison(rules, world):
    """Return the comparison of the true probabilities with a champion that always says 0.5."""

    def make(days=30, entities=10, **changed):
        sample, truth = world(days, entities)
        other = np.full_like(truth, 0.5)
        frame = pd.DataFrame(
            {
                "age": np.arange(len(truth), dtype="float32"),
                "__label": sample.labels,
                "__time": pd.Timestamp("2024-01-01") + pd.to_timedelta(sample.codes, unit="D"),
            }
        )
        values = {
            "model": ModelRef(name="m", version=2, identity="a" * 64, digest="b" * 64),
            "challenger": {"features": [], "training": {"problem": "bars"}},
            "champion": {"features": [], "training": {"problem": "bars"}},
            "reports": {"lint": None},
            "advisory_reports": {},
            "comparisons": run_comparisons(
                sample, truth, other, against="the champion", goal="superior", rules=rules()
            ),
            "rows": ComparedRows(frame, Sample.of(frame), truth, other),
        }
        return ModelComparison(**values | changed)

    return make
