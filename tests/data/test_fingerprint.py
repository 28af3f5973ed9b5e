from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from ml_pipeline.data.fingerprint import fingerprint, profile


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "s": ["a", None, "b"],
            "t": pd.to_datetime(["2024-01-01", None, "2024-01-03"]),
            "x": [1.0, np.nan, 0.0],
            "n": [1, 2, 3],
        }
    )


def test_file_format_dtypes_and_column_order_do_not_change_the_fingerprint(frame, tmp_path):
    digest = fingerprint(frame)
    for compression in ("snappy", "gzip"):
        frame.to_parquet(tmp_path / "f.parquet", compression=compression)
        assert fingerprint(pd.read_parquet(tmp_path / "f.parquet")) == digest
    assert fingerprint(frame[["n", "x", "t", "s"]]) == digest
    same = frame.assign(
        n=frame["n"].astype("float64"),
        x=[1.0, np.nan, -0.0],
        t=frame["t"].astype("datetime64[ns]"),
        s=frame["s"].astype(object),
    )
    assert fingerprint(same) == digest


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.assign(x=[1.0, np.nan, 1e-12]),
        lambda f: f.assign(x=[1.0, 0.0, 0.0]),
        lambda f: f.assign(s=["a", "", "b"]),
        lambda f: f.assign(s=["a", "nan", "b"]),
        lambda f: f.rename(columns={"n": "m"}),
        lambda f: f.assign(n=["1", "2", "3"]),
        lambda f: f.iloc[:2],
        lambda f: f.iloc[[1, 0, 2]],
        lambda f: f.drop(columns="n"),
    ],
)
def test_other_content_changes_the_fingerprint(frame, change):
    assert fingerprint(change(frame)) != fingerprint(frame)


def test_the_fingerprint_is_the_same_on_every_machine():
    frame = pd.DataFrame({"a": ["x", None], "b": [1.5, np.nan]})
    assert fingerprint(frame) == (
        "4cab3ab8eb0963a7d59d310901a00b1161093c48259fbb27e074d715a0230454"
    )


def test_a_profile_has_statistics_of_numbers_and_null_shares_of_all_columns(frame):
    result = profile(frame)
    assert result["rows"] == 3
    assert result["fingerprint"] == fingerprint(frame)
    assert result["columns"]["x"] == {"null_share": 0.333333333333, "mean": 0.5, "std": 0.5}
    assert result["columns"]["s"]["mean"] is None
    assert profile(frame.iloc[:0])["columns"]["x"] == {
        "null_share": None,
        "mean": None,
        "std": None,
    }
