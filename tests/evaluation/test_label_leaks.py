"""A feature that alone predicts the label nearly perfectly is named."""

import numpy as np
import pandas as pd
import pytest
from ml_pipeline.core.report import Verdict
from ml_pipeline.evaluation.label_leaks import check, feature_aucs

ROWS = 1000


@pytest.fixture
def matrix():
    """Return a matrix whose feature ``x`` is made of label and noise by a function."""

    def make(feature):
        rng = np.random.default_rng(1)
        label = (rng.random(ROWS) < 0.3).astype(float)
        frame = pd.DataFrame({"honest": label + rng.normal(0, 2, ROWS), "x": feature(label, rng)})
        part = np.where(np.arange(ROWS) % 4 == 0, "holdout", "train")
        return frame.assign(__label=label, __part=part)

    return make


LEAKS = {
    "the label itself": lambda label, rng: label,
    "the label upside down": lambda label, rng: -label * 100,
    "the label with noise": lambda label, rng: label + rng.normal(0, 0.05, len(label)),
    "a band": lambda label, rng: np.where(
        label == 1, rng.uniform(4, 5, len(label)), rng.choice([0.0, 9.0], len(label))
    ),
    "a category": lambda label, rng: pd.Series(np.where(label == 1, "closed", "open")),
    "many categories": lambda label, rng: pd.Series(
        [f"{'c' if one else 'o'}{rng.integers(3)}" for one in label]
    ),
    "a boolean": lambda label, rng: label == 1,
    "what is missing": lambda label, rng: np.where(label == 1, np.nan, rng.random(len(label))),
    "a missing category": lambda label, rng: pd.Series(np.where(label == 1, None, "x")),
    "the number of a sorted row": lambda label, rng: np.argsort(np.argsort(label, kind="stable")),
}


@pytest.mark.parametrize("kind", LEAKS)
def test_is_named(matrix, kind):
    aucs = feature_aucs(matrix(LEAKS[kind]), ["honest", "x"])
    assert next(iter(aucs)) == "x"
    found = check(aucs, 0.98, required=False)
    assert (found.verdict, found.required) == (Verdict.FAIL, False)
    assert found.observed.startswith("x ")
    assert "honest" not in found.observed
    assert "x alone predicts the label" in found.why
    assert check(aucs, 0.98, required=True).required


@pytest.mark.parametrize(
    "feature",
    [
        lambda label, rng: rng.random(len(label)),
        lambda label, rng: np.full(len(label), np.nan),
        lambda label, rng: np.zeros(len(label)),
        lambda label, rng: pd.Series([f"id {n}" for n in range(len(label))]),
    ],
    ids=["noise", "nothing", "constant", "an id for each row"],
)
def test_what_tells_nothing_passes(matrix, feature):
    aucs = feature_aucs(matrix(feature), ["honest", "x"])
    assert aucs["x"] < 0.65
    found = check(aucs, 0.98, required=True)
    assert found.verdict is Verdict.PASS
    assert found.observed.endswith("of honest")


def test_what_was_not_measured_does_not_pass_where_it_is_required(matrix):
    few = matrix(LEAKS["a band"])
    few.loc[few["__part"] == "holdout", "__label"] = 0.0
    aucs = feature_aucs(few, ["honest", "x"])
    assert aucs == {}
    assert check(aucs, 0.98, required=True).verdict is Verdict.INCONCLUSIVE
    assert check(aucs, 0.98, required=False).verdict is Verdict.SKIPPED
