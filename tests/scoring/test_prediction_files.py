from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.scoring.prediction_files import write_file

ROWS = (("2024-01-01", "NABIL", 0.25), ("2024-01-01", "NICA", 0.1 + 0.2))
LATER = datetime(2026, 5, 2, tzinfo=UTC)


def test_a_csv_file_is_read_by_anything(tmp_path: Path, make_predictions: Any) -> None:
    out = tmp_path / "new/scores.csv"
    assert write_file(make_predictions(*ROWS), out) == 2
    assert out.read_text().splitlines() == [
        "date,symbol,probability,model_version,bundle_digest,scored_at",
        f"2024-01-01,NABIL,0.25,3,{'a' * 64},2026-05-01T12:00:00+00:00",
        f"2024-01-01,NICA,0.30000000000000004,3,{'a' * 64},2026-05-01T12:00:00+00:00",
    ]


def test_a_parquet_file_keeps_the_types(tmp_path: Path, make_predictions: Any) -> None:
    out = tmp_path / "scores.parquet"
    made = make_predictions(*ROWS)
    write_file(made, out)
    pd.testing.assert_frame_equal(pd.read_parquet(out), made.table)


@pytest.mark.parametrize("name", ["scores.csv", "scores.parquet"])
@pytest.mark.parametrize("version", [3, None])
def test_scoring_again_changes_no_byte(
    tmp_path: Path, make_predictions: Any, name: str, version: int | None
) -> None:
    out = tmp_path / name
    write_file(make_predictions(*ROWS, version=version), out)
    before = out.read_bytes()
    assert write_file(make_predictions(*ROWS, version=version, at=LATER), out) == 0
    assert out.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["scores.csv", "scores.parquet"])
def test_what_changed_replaces_the_file(tmp_path: Path, make_predictions: Any, name: str) -> None:
    out = tmp_path / name
    write_file(make_predictions(*ROWS), out)
    assert write_file(make_predictions(*ROWS[:1], at=LATER), out) == 1
    read = pd.read_csv if name.endswith("csv") else pd.read_parquet
    found = read(out)
    assert found["symbol"].tolist() == ["NABIL"]
    assert pd.to_datetime(found["scored_at"]).tolist() == [pd.Timestamp(LATER)]


@pytest.mark.parametrize("name", ["scores.csv", "scores.parquet"])
def test_another_file_of_that_name_is_replaced(
    tmp_path: Path, make_predictions: Any, name: str
) -> None:
    out = tmp_path / name
    out.write_text("something else")
    assert write_file(make_predictions(*ROWS), out) == 2


def test_a_file_that_cannot_be_written(tmp_path: Path, make_predictions: Any) -> None:
    (tmp_path / "scores.csv").mkdir()
    with pytest.raises(EnvironmentFault, match="cannot write"):
        write_file(make_predictions(*ROWS), tmp_path / "scores.csv")
    assert [item.name for item in tmp_path.iterdir()] == ["scores.csv"]
