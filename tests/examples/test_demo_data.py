"""bin/demo --data: how files of daily bars name their columns."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

DEMO = Path(__file__).resolve().parents[2] / "bin" / "demo.py"
ROW = "2024-01-02,10,11,9,10.5,10.4,1000\n"


@pytest.fixture(scope="module")
def demo() -> Any:
    spec = importlib.util.spec_from_file_location("demo", DEMO)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def chosen(demo: Any, path: Path, text: str) -> dict[str, Any]:
    path.write_text(text)
    return {
        key: json.loads(value) if value.startswith("{") else value
        for key, value in demo.columns_of(path).items()
    }


def test_one_share_without_symbols_as_the_usual_sites_write_it(demo, tmp_path) -> None:
    found = chosen(
        demo, tmp_path / "NABIL.csv", f"Date,Open,High,Low,Close,Adj Close,Volume\n{ROW}"
    )
    assert found["data.constants"] == {"symbol": "NABIL"}
    assert found["gate.metric"] == "log_loss"
    assert found["data.columns"]["close"] == "Close"
    assert "symbol" not in found["data.columns"]


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("date,symbol,open,high,low,close,volume", None),
        ("Date,Ticker,Open,High,Low,Close,Volume", {"date": "Date", "symbol": "Ticker"}),
        (
            "Business Date;Symbol;Open Price;High Price;Low Price;LTP;Total Traded Quantity",
            {"date": "Business Date", "volume": "Total Traded Quantity"},
        ),
        ("DATE\tSCRIP\tOPEN\tHIGH\tLOW\tLTP\tVOL.", {"symbol": "SCRIP", "close": "LTP"}),
    ],
)
def test_usual_spellings_and_separators(demo, tmp_path, header, columns) -> None:
    found = chosen(demo, tmp_path / "bars.csv", f"{header}\n")
    separator = next(mark for mark in ",;\t" if mark in header)
    assert found["data.source"]["separator"] == separator
    assert "data.constants" not in found
    if columns is None:
        assert "data.columns" not in found
    else:
        assert columns.items() <= found["data.columns"].items()


def test_a_column_that_is_lacking_is_named_with_its_spellings(demo, tmp_path) -> None:
    path = tmp_path / "bars.csv"
    path.write_text("Date,Open,High,Low,Close\n")
    with pytest.raises(SystemExit, match=r"no column 'symbol'|no column 'volume'"):
        demo.columns_of(path)
    path.write_bytes(b"\x00\x01\x02")
    with pytest.raises(SystemExit, match=r"bin/demo: .*bars.csv"):
        demo.columns_of(path)


def test_a_file_in_another_spelling_is_copied_with_the_names_of_the_example(demo, tmp_path) -> None:
    path = tmp_path / "NABIL.csv"
    path.write_text(f"Date,Open,High,Low,Close,Adj Close,Volume\n{ROW}")
    found = demo.with_standard_columns(path, tmp_path / "home")
    copy = Path(json.loads(found["data.source"])["path"])
    assert copy.read_text().splitlines() == [
        "symbol,date,open,high,low,close,Adj Close,volume",
        "NABIL,2024-01-02,10,11,9,10.5,10.4,1000",
    ]
    assert set(found) == {"data.source", "gate.metric"}
