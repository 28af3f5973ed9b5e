"""A bundle's own code on data whose columns came or went since the model was trained."""

import pandas as pd
import pytest
from ml_pipeline.bundle.packaged_code import OwnCodeError, _columns, _without_others

TABLE = {"kind": "table", "label": "left", "entity": "customer", "categorical": ["plan"]}


@pytest.fixture
def rows(tmp_path):
    frame = pd.DataFrame(
        {"customer": ["a"], "plan": ["pro"], "note": ["new"], "age": [4], "left": [1]}
    )
    frame.to_parquet(tmp_path / "rows.parquet")
    return tmp_path / "rows.parquet"


def test_a_column_that_it_dropped_may_be_gone(rows):
    problem = TABLE | {"drop": ["remark", "age"]}
    assert _without_others(problem, _columns(rows))["drop"] == ["age", "note"]


def test_text_that_it_does_not_know_is_no_feature_and_numbers_stay(rows):
    assert _without_others(TABLE, _columns(rows))["drop"] == ["note"]


def test_other_problems_stay_as_they_are(rows):
    assert _without_others({"kind": "bars"}, _columns(rows)) == {"kind": "bars"}


def test_unreadable_rows_are_reported(tmp_path):
    (tmp_path / "rows.parquet").write_bytes(b"none")
    with pytest.raises(OwnCodeError, match="code got no rows: cannot read"):
        _columns(tmp_path / "rows.parquet")
