"""``ml-pipeline features``: raw rows in, the model's inputs out."""

from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest
from ml_pipeline.config import SimulatedSource
from ml_pipeline.core.errors import EnvironmentFault, Refused, UsageError
from ml_pipeline.data.simulated import simulate
from ml_pipeline.problems.bars import Bars
from ml_pipeline.problems.compute_features import compute_features


@pytest.fixture(scope="module")
def raw():
    return simulate(SimulatedSource(kind="simulated", symbols=4, days=60, seed=2))


@pytest.fixture
def written(raw, tmp_path):
    """The raw rows as a CSV file, with one bad row and one bad open in front."""
    dirty = raw.copy()
    dirty.loc[3, "close"] = -1.0
    dirty.loc[5, "open"] = dirty.loc[5, "high"] * 2
    dirty.to_csv(tmp_path / "raw.csv", index=False)
    return tmp_path / "raw.csv"


class TestBars:
    def test_are_the_features_of_the_matrix(self, make_project, written, tmp_path):
        computed = compute_features(make_project(), written, tmp_path / "out.parquet")
        table = pd.read_parquet(computed.out)
        clean = pd.read_csv(written).drop(index=3)
        outside = (clean["open"] < clean["low"]) | (clean["open"] > clean["high"])
        clean.loc[outside, "open"] = np.nan
        expected = Bars().matrix(clean, [], True).features
        pd.testing.assert_frame_equal(table[list(expected)], expected)
        assert table["source_row"].tolist() == clean.index.tolist()
        assert list(table.columns[:4]) == ["source_row", "date", "symbol", "sector"]

    def test_rows_that_were_set_aside_are_listed(self, make_project, written, tmp_path):
        computed = compute_features(make_project(), written, tmp_path / "out.csv")
        rows = len(pd.read_csv(written))
        assert (computed.read, computed.rows, computed.set_aside) == (rows, rows - 1, 1)
        assert computed.blanked["open"] >= 1
        assert f"1 of {rows:,} rows missed a data test" in computed.summary
        assert "cells of open count as missing" in computed.summary

    def test_csv_and_parquet_hold_the_same(self, make_project, written, tmp_path):
        project = make_project()
        csv = compute_features(project, written, tmp_path / "out.csv").out
        parquet = compute_features(project, written, tmp_path / "out.parquet").out
        one, other = pd.read_csv(csv, dtype={"symbol": "str"}), pd.read_parquet(parquet)
        assert one["date"].tolist() == other["date"].dt.strftime("%Y-%m-%d").tolist()
        for name in Bars().matrix(other.assign(**_prices()), [], True).features:
            np.testing.assert_allclose(one[name], other[name], rtol=1e-6)

    def test_two_runs_write_the_same_bytes(self, make_project, written, tmp_path):
        project = make_project()
        outs = [compute_features(project, written, tmp_path / f"{n}.parquet").out for n in "ab"]
        assert outs[0].read_bytes() == outs[1].read_bytes()

    def test_columns_are_mapped_and_gzip_and_parquet_are_read(self, make_project, raw, tmp_path):
        one = raw[raw["symbol"] == raw["symbol"].iloc[0]].drop(columns=["symbol", "sector"])
        titled = one.rename(columns=str.title)
        titled.to_parquet(tmp_path / "one.parquet")
        with gzip.open(tmp_path / "one.csv.gz", "wt") as stream:
            titled.to_csv(stream, index=False)
        names = ("date", "open", "high", "low", "close", "volume")
        project = make_project(
            data={"columns": {n: n.title() for n in names}, "constants": {"symbol": "ONE"}}
        )
        tables = [
            pd.read_parquet(
                compute_features(project, tmp_path / name, tmp_path / "out.parquet").out
            )
            for name in ("one.parquet", "one.csv.gz")
        ]
        pd.testing.assert_frame_equal(*tables)
        assert set(tables[0]["symbol"]) == {"ONE"}

    def test_own_features_are_computed(self, make_project, written, tmp_path):
        project = make_project(features={"standard": False, "modules": ["mine"]})
        (project.root / "mine.py").write_text(
            "from ml_pipeline import feature\n"
            "@feature\ndef spread(bars): return bars['high'] / bars['low'] - 1\n"
        )
        computed = compute_features(project, written, tmp_path / "out.parquet")
        assert computed.features == ("spread",)


def _prices():
    return dict.fromkeys(("open", "high", "low", "close", "volume"), 1.0)


class TestTable:
    @pytest.fixture
    def project(self, make_project):
        return make_project(
            bare=True,
            project="table",
            problem={"kind": "table", "label": "y", "positive": "yes", "categorical": ["town"]},
        )

    def test_rows_to_predict_need_no_label(self, project, tmp_path):
        (tmp_path / "new.csv").write_text("age,town\n30,Pokhara\n,\n41,Kathmandu\n")
        computed = compute_features(project, tmp_path / "new.csv", tmp_path / "out.parquet")
        table = pd.read_parquet(computed.out)
        assert set(table) == {"source_row", "age", "town"}
        assert table["town"].tolist()[::2] == ["Pokhara", "Kathmandu"]
        assert table.loc[1, ["age", "town"]].isna().all()

    def test_a_label_that_is_there_does_no_harm(self, project, tmp_path):
        (tmp_path / "new.csv").write_text("age,town,y\n30,a,yes\n31,b,\n41,c,no\n")
        computed = compute_features(project, tmp_path / "new.csv", tmp_path / "out.csv")
        assert computed.rows == 3


class TestRefusals:
    def test_unknown_endings(self, make_project, written, tmp_path):
        with pytest.raises(UsageError, match=r"--out .*out.txt; expected a file that ends with"):
            compute_features(make_project(), written, tmp_path / "out.txt")
        with pytest.raises(
            UsageError,
            match=r"raw.xls; expected a file that ends .*; save its sheet as CSV",
        ):
            compute_features(make_project(), tmp_path / "raw.xls", tmp_path / "out.csv")

    def test_missing_file_and_missing_column(self, make_project, tmp_path):
        with pytest.raises(UsageError, match=r"nowhere\.csv"):
            compute_features(make_project(), tmp_path / "nowhere.csv", tmp_path / "out.csv")
        (tmp_path / "few.csv").write_text("date,symbol\n2024-01-01,A\n")
        with pytest.raises(UsageError, match="no column 'open'"):
            compute_features(make_project(), tmp_path / "few.csv", tmp_path / "out.csv")

    def test_no_good_row(self, make_project, tmp_path):
        (tmp_path / "bad.csv").write_text(
            "date,symbol,open,high,low,close,volume\n2024-01-01,A,1,1,1,-1,5\n"
        )
        with pytest.raises(
            Refused,
            match=r"no row passes .*; the first one, line 2, misses: .*'close' is -1",
        ):
            compute_features(make_project(), tmp_path / "bad.csv", tmp_path / "out.csv")

    def test_no_row_at_all(self, make_project, tmp_path):
        (tmp_path / "none.csv").write_text("date,symbol,open,high,low,close,volume\n")
        with pytest.raises(Refused):
            compute_features(make_project(), tmp_path / "none.csv", tmp_path / "out.csv")

    def test_output_that_cannot_be_written_leaves_nothing(self, make_project, written, tmp_path):
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(EnvironmentFault, match="cannot write"):
            compute_features(make_project(), written, tmp_path / "file" / "out.csv")

    def test_a_failing_write_keeps_the_old_output(
        self, make_project, written, tmp_path, monkeypatch
    ):
        out = tmp_path / "out.csv"
        out.write_text("old")

        def full(self, *args, **kwargs):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(pd.DataFrame, "to_csv", full)
        with pytest.raises(EnvironmentFault, match="No space left"):
            compute_features(make_project(), written, out)
        assert out.read_text() == "old"
        assert [path.name for path in tmp_path.glob(".out*")] == []
