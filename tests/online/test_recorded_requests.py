"""The newest requests of a prediction log, for one version."""

import json

import pytest
from ml_pipeline.core.errors import Refused
from ml_pipeline.online.recorded_requests import newest, redacted_features
from ml_pipeline.serving.prediction_log import PROBE

from tests.servers import log_predictions

NAMES = ["x", "c"]


def write(folder, name, *requests, version=1, features=NAMES):
    """A file of the log, of requests by id, two rows where the id ends in +."""
    requests_by_id = {
        number: [[1.0, "north"]] * (2 if number.endswith("+") else 1) for number in requests
    }
    log_predictions(folder / name, version, features, requests_by_id)


def newest_ids(folder, count=9):
    return [row.request_id for row in newest(folder, version=1, features=NAMES, count=count)]


def test_the_newest_of_the_version_come_last(tmp_path):
    write(tmp_path, "1.jsonl", "a", "b+")
    write(tmp_path, "2.jsonl", "other", version=2)
    write(tmp_path, "3.jsonl", "other-features", features=["y"])
    write(tmp_path, "4.jsonl", PROBE, "c", "d")
    assert newest_ids(tmp_path) == ["a", "b+", "b+", "c", "d"]
    assert newest_ids(tmp_path, count=3) == ["b+", "c", "d"]
    assert newest_ids(tmp_path, count=1) == ["d"]


def test_a_line_that_is_being_written_is_left_out(tmp_path):
    write(tmp_path, "1.jsonl", "a")
    with (tmp_path / "1.jsonl").open("a") as stream:
        stream.write('{"request_id": "b", "ti')
    assert newest_ids(tmp_path) == ["a"]


def test_rows_with_redacted_or_forgotten_features_are_left_out(tmp_path):
    write(tmp_path, "1.jsonl", "a")
    header = {"model": "m", "digest": "d" * 64, "schema": "ml-pipeline/predictions/1"}
    line = {"request_id": "b", "time": 1.0, "model_version": 1, "features": [[1.0, "hmac:0"], []]}
    line |= {"probability": [0.5, 0]}
    for name, redacted in (
        ("2.jsonl", {"features": NAMES, "hashed": ["c"]}),
        ("3.jsonl", {"features": NAMES}),
        ("4.jsonl", {"features": ["x"], "omitted": ["c"]}),
    ):
        lines = header | {"model_version": 1} | redacted, line
        (tmp_path / name).write_text("".join(json.dumps(one) + "\n" for one in lines))
    assert newest_ids(tmp_path) == ["a", "b"], "without the hashed and the forgotten row"
    assert redacted_features(tmp_path, 1) == ["c"]
    assert redacted_features(tmp_path, 2) == []


def test_no_log_is_an_empty_log(tmp_path):
    (tmp_path / "1.jsonl").touch()
    assert newest_ids(tmp_path) == []
    assert newest_ids(tmp_path / "none") == []


def test_another_file_is_refused(tmp_path):
    (tmp_path / "1.jsonl").write_text("{}\n")
    with pytest.raises(Refused, match="is not a line of a prediction log"):
        newest_ids(tmp_path)
