"""Tests of a new model on the holdout; `ml-pipeline evaluate` runs them.

The gate enforces the tests that take `baseline_model`.
"""

import numpy as np
from sklearn.metrics import accuracy_score

TOLERANCE = 0.02
"""A loose limit, since most shares rise or fall together; the gate compares by day."""


def test_model_against_baseline(new_model, baseline_model, X_test, y_test):
    new = accuracy_score(y_test, new_model.predict(X_test))
    baseline = accuracy_score(y_test, baseline_model.predict(X_test))
    assert new >= baseline - TOLERANCE


def test_probabilities_are_probabilities(new_model, X_test):
    probabilities = new_model.predict_proba(X_test)
    assert np.isfinite(probabilities).all()
    assert np.allclose(probabilities.sum(axis=1), 1.0)


def test_a_share_without_history_gets_a_prediction(new_model, X_test):
    without_history = X_test.head(1).assign(**dict.fromkeys(X_test.columns, np.nan))
    assert new_model.predict(without_history)[0] in (0, 1)
