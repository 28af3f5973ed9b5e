"""What we ask of a new model. `ml-pipeline evaluate` runs this on the holdout.

A test that takes `baseline_model` compares; the gate enforces it.
"""

import numpy as np
from sklearn.metrics import accuracy_score

TOLERATED = 0.02
"""Accuracy at one cut says little: most days rise or fall together. The gate compares by day."""


def test_model_against_baseline(new_model, baseline_model, X_test, y_test):
    new = accuracy_score(y_test, new_model.predict(X_test))
    baseline = accuracy_score(y_test, baseline_model.predict(X_test))
    assert new >= baseline - TOLERATED


def test_probabilities_are_probabilities(new_model, X_test):
    probabilities = new_model.predict_proba(X_test)
    assert np.isfinite(probabilities).all()
    assert np.allclose(probabilities.sum(axis=1), 1.0)


def test_a_share_without_history_gets_an_answer(new_model, X_test):
    nothing_known = X_test.head(1).assign(**dict.fromkeys(X_test.columns, np.nan))
    assert new_model.predict(nothing_known)[0] in (0, 1)
