"""The verb, on a small bundle whose probabilities can be computed by hand."""

from __future__ import annotations

import csv
import io
import json
import math
import sqlite3
import tarfile
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from ml_pipeline import cli
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.config import Project

pytestmark = pytest.mark.slow

PROBLEM = {
    "kind": "table", "label": "left", "time": "day", "entity": "customer", "numeric": ["x"],
    "categorical": ["c"],
}  # fmt: skip
ROWS = """day,client,x,c,left
2024-01-02,B,2.0,south,0
2024-01-01,A,1.0,north,0
2024-01-02,A,,north,0
not a day,A,1.0,north,0
"""
BY_HAND = {
    ("2024-01-01", "A"): 1 / (1 + math.exp(-1.5)),
    ("2024-01-02", "A"): 1 / (1 + math.exp(-0.5)),
    ("2024-01-02", "B"): 1 / (1 + math.exp(-1.5)),
}


@pytest.fixture
def project(make_project: Any) -> Project:
    made: Project = make_project(
        bare=True,
        project="small",
        problem=PROBLEM,
        data={
            "source": {"kind": "csv", "path": "clients.csv"},
            "columns": {"customer": "client"},
            "tolerances": {"day_format": 1.0, "day_present": 1.0},
        },
        score={"url": "sqlite:///scores.db"},
    )
    (made.root / "clients.csv").write_text(ROWS)
    return made


def packed_source(**sections: Any) -> bytes:
    packed = io.BytesIO()
    content = yaml.safe_dump({"project": "small", "problem": PROBLEM} | sections).encode()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        entry = tarfile.TarInfo("ml.yaml")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


@pytest.fixture
def bundle(make_bundle: Any) -> Path:
    """A bundle whose code is a table's: the columns themselves."""
    made: Path = make_bundle(source=packed_source())
    return made


def run(project: Project, *words: object) -> int:
    return cli.main(["score", *map(str, words), "--project", str(project.root)])


def test_rows_of_the_source_go_into_a_file(
    project: Project, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scores.parquet"
    assert run(project, "--bundle", bundle, "--out", out) == 0
    digest = Bundle.open(bundle).digest
    assert capsys.readouterr().out.splitlines()[-1] == (
        f"3 rows scored by bundle {digest[:12]}: 3 written to {out}; "
        "1 missed a data test and are left out: line 5 (day_format)"
    )
    found = pd.read_parquet(out)
    assert list(found) == [
        "day", "customer", "probability", "model_version", "bundle_digest", "scored_at",
    ]  # fmt: skip
    keys = zip(found["day"].dt.strftime("%Y-%m-%d"), found["customer"], strict=True)
    assert dict(zip(keys, found["probability"], strict=True)) == pytest.approx(BY_HAND, abs=1e-6)
    assert set(found["bundle_digest"]) == {digest}
    before = out.read_bytes()
    assert run(project, "--bundle", bundle, "--out", out, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "rows": 3, "written": 0, "unchanged": 3, "set_aside": 1, "model_version": None,
        "bundle_digest": digest, "out": str(out), "blanked": {},
        "set_aside_rows": [{"source_row": 3, "source_line": 5, "reasons": "day_format"}],
    }  # fmt: skip
    assert out.read_bytes() == before


def test_a_file_without_labels_goes_into_a_table(
    project: Project, bundle: Path, tmp_path: Path
) -> None:
    rows = tmp_path / "new.csv"
    rows.write_text("day,client,x,c\n2024-01-01,A,1.0,north\n2024-01-03,C,9,\n")
    words = ("--in", rows, "--bundle", bundle, "--since", "2024-01-02", "--out", "sql:scores")
    assert run(project, *words) == 0
    connection = sqlite3.connect(project.root / "scores.db")
    found = connection.execute("select day, customer, probability from scores").fetchall()
    connection.close()
    assert found == [("2024-01-03", "C", pytest.approx(1 / (1 + math.exp(-9)), abs=1e-6))]


@pytest.mark.parametrize(
    ("rows", "code", "says"),
    [
        ("day,client,x,c\n2024-01-01,A,1,north\n2024-01-01,A,2,north\n", 1, "two rows have"),
        ("day,client,x,c\nno day,A,1,north\n", 1, "no row passes the data tests"),
        ("day,client,x,c\n", 1, "no row to score"),
        ("day,client,c\n2024-01-01,A,north\n", 2, "no column 'x'"),
    ],
)
def test_rows_that_cannot_be_scored(
    project: Project,
    bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    rows: str,
    code: int,
    says: str,
) -> None:
    file = tmp_path / "new.csv"
    file.write_text(rows)
    assert run(project, "--in", file, "--bundle", bundle, "--out", "sql:scores") == code
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not (project.root / "scores.db").exists()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ((), 2, "lacks --out"),
        (("--out", "scores.txt"), 2, "expected a file that ends with .parquet or .csv"),
        (("--out", "sql:a b"), 2, "sql:TABLE"),
        (("--out", "a.csv", "--version", "1", "--bundle", "b"), 2, "one model"),
        (("--out", "a.csv", "--environment", "prodction"), 2, "did you mean 'production'?"),
        (("--out", "a.csv", "--since", "yesterday"), 2, "YYYY-MM-DD"),
        (("--out", "a.csv", "--bundle", "nowhere"), 1, "is not a folder"),
        (("--out", "a.csv"), 3, "nothing serves in production"),
    ],
)
def test_invalid_requests_are_refused(
    project: Project,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    code: int,
    says: str,
) -> None:
    assert run(project, *words) == code
    assert says in capsys.readouterr().err


def test_a_query_needs_a_database(
    project: Project, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.csv"
    assert run(project, "--in", "sql:select 1", "--bundle", bundle, "--out", out) == 2
    assert "data.source is no database" in capsys.readouterr().err


def test_a_damaged_bundle_scores_nothing(
    project: Project, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = bundle / "model.onnx"
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
    assert run(project, "--bundle", bundle, "--out", tmp_path / "a.csv") == 1
    assert "model.onnx has changed" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["parquet", "sql", "csv"])
def test_identifiers_are_those_of_the_source_digit_by_digit(
    project: Project, bundle: Path, tmp_path: Path, kind: str
) -> None:
    ids = [2**53 + number for number in range(20)]
    days = ["2024-01-05"] * 21
    table = pa.table(
        {
            "day": days,
            "client": pa.array([*ids, None], pa.int64()),
            "x": [1.0] * 21,
            "c": ["n"] * 21,
        }
    )
    rows: object = tmp_path / f"rows.{kind}"
    if kind == "parquet":
        pq.write_table(table, rows)
    else:
        lines = [f"2024-01-05,{number},1.0,n" for number in [*ids, ""]]
        (tmp_path / "rows.csv").write_text("day,client,x,c\n" + "\n".join(lines) + "\n")
    settings = []
    if kind == "sql":
        connection = sqlite3.connect(tmp_path / "rows.db")
        connection.execute("create table t (day text, client integer, x real, c text)")
        cells = zip(*(table[name].to_pylist() for name in table.column_names), strict=True)
        connection.executemany("insert into t values (?, ?, ?, ?)", cells)
        connection.commit()
        connection.close()
        source = {"kind": "sql", "url": f"sqlite:///{tmp_path}/rows.db", "query": "select 1"}
        settings = ["--set", f"data.source={json.dumps(source)}"]
        rows = "sql:select * from t"
    out = tmp_path / "scores.csv"
    assert run(project, "--in", rows, "--bundle", bundle, "--out", out, *settings) == 0
    with out.open(newline="") as stream:
        assert sorted(row["customer"] for row in csv.DictReader(stream)) == sorted(map(str, ids))


def test_dates_and_numbers_are_read_in_the_form_of_the_source_once(
    project: Project, make_bundle: Any, tmp_path: Path
) -> None:
    forms = {"kind": "csv", "path": "a.csv", "separator": ";", "date_format": "%Y-%d-%m",
             "decimal": ",", "thousands": "."}  # fmt: skip
    bundle = make_bundle(source=packed_source(data={"source": forms}))
    rows = tmp_path / "new.csv"
    rows.write_text(
        "day;client;x;c\n2024-05-01;A;1,5;n\n2024-06-01;B;1.500;n\n2024-07-01;C;old;n\n"
    )
    out = tmp_path / "scores.parquet"
    words = ("--in", rows, "--bundle", bundle, "--out", out)
    settings = ("--set", f"data.source={json.dumps(forms)}", "--set", "data.tolerances={}")
    assert run(project, *words, *settings) == 0
    found = pd.read_parquet(out)
    assert found["day"].dt.strftime("%Y-%m-%d").tolist() == [
        "2024-01-05",
        "2024-01-06",
        "2024-01-07",
    ]
    assert found["probability"].tolist() == pytest.approx(
        [1 / (1 + math.exp(-1.5)), 1.0, 0.5], abs=0.2
    )
