"""The newest requests of a prediction log, whatever file they lie in."""

import json
import os

import pandas as pd
import pytest

from pipeline.deploy.recorded import newest
from pipeline.errors import EnvironmentFault


def row(number, version=1, features=(1.0, "x")):
    return {
        "request_id": str(number),
        "time": "2026-01-01T00:00:00Z",
        "version": version,
        "features": list(features),
        "probability": 0.5,
    }


def write(folder, name, rows, age):
    path = folder / name
    if name.endswith(".parquet"):
        numbers = [one | {"features": [1.0, 2.0]} for one in rows]
        pd.DataFrame(numbers).to_parquet(path)
    else:
        path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    os.utime(path, (1_000_000 - age, 1_000_000 - age))


def test_the_newest_of_the_version_come_last(tmp_path):
    write(tmp_path, "b.jsonl", [row(1), row(2)], age=20)
    write(tmp_path, "a.parquet", [row(3), row(4)], age=10)
    write(tmp_path, "c.jsonl", [row(5), row(6, version=2), row(7, features=[1.0]), row(8)], age=0)
    found = newest(tmp_path, version=1, width=2, count=4)
    assert [one.request_id for one in found] == ["3", "4", "5", "8"]
    assert found[-1].features == [1.0, "x"]


def test_a_line_that_is_being_written_is_left_out(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps(row(1)) + "\n" + '{"request_id": "2", "ti')
    assert len(newest(tmp_path, version=1, width=2, count=9)) == 1


def test_no_log_is_an_empty_log(tmp_path):
    assert newest(tmp_path / "none", version=1, width=2, count=9) == []


def test_another_file_is_no_log(tmp_path):
    (tmp_path / "a.jsonl").write_text("{}\n")
    with pytest.raises(EnvironmentFault, match="is no prediction log"):
        newest(tmp_path, version=1, width=2, count=9)
