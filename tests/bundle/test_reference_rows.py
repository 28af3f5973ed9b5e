"""Rows of the fit and later ones are kept apart; older bundles have neither days nor a mark."""

import pandas as pd
from ml_pipeline.bundle.reference_rows import fitted_rows, later_rows, units_of

ROWS = pd.DataFrame({"x": [1.0, 2.0, 3.0], "__fitted": [True, True, False], "__unit": [5, 6, 9]})


def test_features_are_those_of_the_fit_and_predictions_those_of_later_rows():
    assert fitted_rows(ROWS)["x"].tolist() == [1, 2]
    assert later_rows(ROWS)["x"].tolist() == [3]
    assert units_of(later_rows(ROWS)).tolist() == [9]


def test_a_bundle_without_later_rows_has_those_of_the_fit_for_both():
    fitted = ROWS[ROWS["__fitted"]]
    older = ROWS[["x"]]
    assert later_rows(fitted)["x"].tolist() == [1, 2]
    assert fitted_rows(older).equals(older)
    assert later_rows(older).equals(older)
    assert units_of(older) is None
