"""The prediction log is read since a cursor: each request once; what cannot be read is said."""

import json
import math
import os
import shutil

import numpy as np
import pytest
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.monitoring import archived_log, log_lines
from ml_pipeline.monitoring.expired_logs import remove_expired_logs
from ml_pipeline.monitoring.served_rows import Cursor, Gap, read_since
from ml_pipeline.serving import removed_files
from ml_pipeline.serving.log_retention import DAY_SECONDS, Retention

HEADER = {
    "schema": "ml-pipeline/predictions/1",
    "model": "churn",
    "model_version": 3,
    "digest": "d" * 64,
    "features": ["age", "plan"],
}


def header(**changes):
    return json.dumps(HEADER | changes) + "\n"


def request(name, *rows, time=1000.5, key="probability", **values):
    rows = rows or ([41, "pro"],)
    values = {key: [0.5] * len(rows)} | values
    entry = {"request_id": name, "time": time, "model_version": 3, "features": list(rows)}
    return json.dumps(entry | values) + "\n"


@pytest.fixture
def folder(tmp_path):
    return tmp_path


class Reader:
    """Reads a log as a look of monitor does: from the stored cursor, which goes through JSON."""

    def __init__(self, folder):
        self.folder = folder
        self.cursor = Cursor()
        self.faults, self.gaps, self.batches = [], [], []

    def ids(self):
        """Return the request ids of a further look."""
        self.batches = list(read_since(self.folder, self.cursor))
        self.faults = [str(fault) for batch in self.batches for fault in batch.faults]
        self.gaps = [gap for batch in self.batches for gap in batch.gaps]
        if self.batches:
            self.cursor = Cursor.model_validate_json(self.batches[-1].cursor.model_dump_json())
        return [name for one in self.batches if one.served for name in one.served.request_ids]


@pytest.fixture
def reader(folder):
    return Reader(folder)


def append(path, *lines):
    with path.open("a") as stream:
        stream.write("".join(lines))
    return path


def test_rows_come_with_columns_predictions_and_places(folder, reader):
    append(
        folder / "a.jsonl",
        header(),
        request("one", [41, "pro"], time=5.5),
        request("two", [None, None], [2.5], time=6.5, probability=[0.1, 0.9]),
    )
    assert reader.ids() == ["one", "two", "two"]
    (batch,) = reader.batches
    served = batch.served
    assert (served.digest, served.version, served.features) == ("d" * 64, 3, ("age", "plan"))
    np.testing.assert_array_equal(served.columns[0], [41, math.nan, 2.5])
    assert served.columns[1].tolist() == ["pro", None, None], "a short row lacks optional features"
    assert served.places.tolist() == [0, 0, 1]
    assert served.times.tolist() == [5.5, 6.5, 6.5]
    assert served.predictions.tolist() == [0.5, 0.1, 0.9]
    assert batch.requests == 2
    assert reader.ids() == []
    assert reader.batches == [], "nothing changed, so there is no batch"


@pytest.mark.parametrize(
    ("key", "values", "shape"),
    [("prediction", [3.5], (1,)), ("probabilities", [[0.1, 0.2, 0.7]], (1, 3))],
)
def test_predictions_of_other_tasks(folder, reader, key, values, shape):
    append(folder / "a.jsonl", header(), request("one", key=key, **{key: values}))
    reader.ids()
    assert reader.batches[0].served.predictions.shape == shape


def test_a_column_of_numbers_and_text_is_text(folder, reader):
    append(folder / "a.jsonl", header(), request("one", ["12", True]), request("two", [3, None]))
    reader.ids()
    assert [c.tolist() for c in reader.batches[0].served.columns] == [["12", "3"], ["true", None]]


def test_probes_are_left_out_and_counted(folder, reader):
    append(folder / "a.jsonl", header(), request("ml-pipeline-probe"), request("one"))
    assert reader.ids() == ["one"]
    assert reader.batches[0].probes == 1


def test_the_unfinished_line_of_a_growing_file_is_awaited(folder, reader):
    line = request("two")
    path = append(folder / "a.jsonl", header(), request("one"), line[:20])
    assert reader.ids() == ["one"]
    append(path, line[20:])
    assert reader.ids() == ["two"]
    assert reader.faults == []


def test_a_line_cut_off_in_the_middle_of_a_file_is_named_and_read_behind(folder, reader):
    cut = request("two")[:30] + "\n"
    append(folder / "a.jsonl", header(), request("one"), cut, "}{}\n", cut, request("three"))
    assert reader.ids() == ["one", "three"]
    assert reader.faults == [
        "a.jsonl, line 3: incomplete: the line was cut off (2 lines)",
        "a.jsonl, line 4: not a request of a prediction log",
    ]


@pytest.mark.parametrize(
    "line",
    [
        request("x", [1, "a", "third"]),
        request("x", [1, "a"], probability=[0.1, 0.2]),
        request("x", key="unknown"),
        request("x", probability=[[0.1, 0.9]]),
        request("x", time=math.inf),
    ],
)
def test_a_request_that_does_not_fit_the_model_is_named(folder, reader, line):
    append(folder / "a.jsonl", header(), request("one"), line, request("two"))
    assert reader.ids() == ["one", "two"]
    assert len(reader.faults) == 1
    assert "line 3" in reader.faults[0]


def test_a_file_of_another_schema_is_said(folder, reader):
    append(folder / "a.jsonl", header(schema="ml-pipeline/predictions/9"), request("one"))
    append(folder / "b.jsonl", header(), request("two"))
    assert reader.ids() == ["two"]
    (fault,) = reader.faults
    assert fault == (
        "a.jsonl, line 1: schema 'ml-pipeline/predictions/9', expected ml-pipeline/predictions/1; "
        "the requests behind it are not counted (2 lines)"
    )
    assert reader.ids() == []
    assert reader.faults == [], "said once"


def test_a_file_without_its_first_line_is_said(folder, reader):
    path = append(folder / "a.jsonl", request("one"))
    assert reader.ids() == []
    assert "does not name the model" in reader.faults[0]
    append(path, request("two"))
    assert reader.ids() == []
    assert "a.jsonl, line 2: the first line does not name the model" in reader.faults[0]


def test_an_empty_file_is_read_once_it_has_lines(folder, reader):
    path = folder / "a.jsonl"
    path.touch()
    assert (reader.ids(), reader.faults) == ([], [])
    append(path, header(), request("one"))
    assert reader.ids() == ["one"]


def test_a_file_that_the_system_cannot_read_is_an_environment_fault(folder, reader):
    append(folder / "a.jsonl", header(), request("one"))
    (folder / "b.jsonl").mkdir()
    with pytest.raises(EnvironmentFault, match=r"b\.jsonl cannot be read: Is a directory"):
        reader.ids()


def test_a_missing_folder_is_an_empty_log(folder):
    assert [batch.served for batch in read_since(folder / "none", Cursor())] == [None]


def test_two_versions_that_serve_at_the_same_time_are_batches_of_their_own(folder, reader):
    other = header(model_version=4, digest="e" * 64, features=["plan", "age"])
    append(folder / "a.jsonl", header(), request("one"))
    append(folder / "b.jsonl", other, request("two", ["pro", 1]))
    append(folder / "c.jsonl", header(), request("three"))
    assert reader.ids() == ["one", "two", "three"]
    assert [one.served.version for one in reader.batches] == [3, 4, 3]


@pytest.mark.parametrize("time", [1.0, 9e9])
def test_the_clock_does_not_matter_for_the_position(folder, reader, time):
    append(folder / "20260102T000000.000000Z-aa.jsonl", header(), request("one", time=1000.0))
    assert reader.ids() == ["one"]
    append(folder / "20260101T000000.000000Z-bb.jsonl", header(), request("two", time=time))
    assert reader.ids() == ["two"]


def test_files_that_the_rotation_removed_unread_are_gaps(folder, reader):
    append(folder / "a.jsonl", header(), request("one"))
    removed_files.remove(append(folder / "early.jsonl", header()))
    assert reader.ids() == ["one"]
    assert reader.gaps == [], "removed before the first look"
    append(folder / "a.jsonl", request("two"), request("three")[:10])
    append(folder / "b.jsonl", header(), request("four"))
    size = (folder / "b.jsonl").stat().st_size
    for name in ("a.jsonl", "b.jsonl"):
        removed_files.remove(folder / name)
    assert reader.ids() == []
    assert reader.gaps == [Gap("a.jsonl", len(request("two"))), Gap("b.jsonl", size)]
    assert str(reader.gaps[1]) == f"b.jsonl was removed with {size} bytes that were not read"
    reader.ids()
    assert reader.gaps == [], "said once"


def test_a_file_that_was_read_to_its_end_is_no_gap_when_it_is_removed(folder, reader):
    append(folder / "a.jsonl", header(), request("one"))
    reader.ids()
    removed_files.remove(folder / "a.jsonl")
    assert (reader.ids(), reader.gaps) == ([], [])
    append(folder / "a.jsonl", header(), request("one"))
    assert reader.ids() == [], "copied once more from another machine"


def test_a_file_that_was_removed_by_hand_is_said(folder, reader):
    append(folder / "a.jsonl", header(), request("one"))
    reader.ids()
    (folder / "a.jsonl").unlink()
    reader.ids()
    assert [str(gap) for gap in reader.gaps] == [
        "a.jsonl was removed, but not by the rotation of the log"
    ]


def test_a_longer_copy_is_read_from_where_the_shorter_one_ended(folder, reader):
    path = append(folder / "a.jsonl", header(), request("one"))
    reader.ids()
    longer = append(folder / ".new", path.read_text(), request("two"))
    longer.replace(path)
    assert reader.ids() == ["two"]


def test_a_file_shorter_than_the_cursor_is_said_and_not_counted_again(folder, reader):
    path = append(folder / "a.jsonl", header(), request("one"), request("two"))
    reader.ids()
    content = path.read_text()
    path.write_text(content[:-20])
    assert reader.ids() == []
    (fault,) = reader.faults
    assert fault == (
        f"a.jsonl: has {len(content) - 20} bytes, although {len(content)} were read; "
        "not read until it is longer"
    )
    path.write_text(content + request("three"))
    assert reader.ids() == ["three"]


def test_a_file_replaced_by_other_content_is_said(folder, reader):
    path = append(folder / "a.jsonl", header(), request("one"))
    reader.ids()
    path.write_text(header() + request("a-longer-name-than-one") + request("next"))
    assert reader.ids() == ["next"]
    assert "replaced by other content" in reader.faults[0]


def test_a_copy_under_another_name_is_not_read_again(folder, reader):
    path = append(folder / "b.jsonl", header(), request("one"))
    reader.ids()
    shutil.copy(path, folder / "a.jsonl")
    shutil.copy(path, folder / "c.jsonl")
    assert reader.ids() == []
    assert reader.faults == [
        "a.jsonl: a copy of b.jsonl; it is not read again",
        "c.jsonl: a copy of b.jsonl; it is not read again",
    ]
    removed_files.remove(path)
    shutil.copy(folder / "a.jsonl", folder / "d.jsonl")
    assert reader.ids() == []
    assert reader.faults == ["d.jsonl: a copy of b.jsonl; it is not read again"]


def test_batches_are_bounded(folder, monkeypatch):
    monkeypatch.setattr(log_lines, "BLOCK_BYTES", 1000)
    names = [f"id-{number}" for number in range(100)]
    append(folder / "a.jsonl", header(), *map(request, names))
    append(folder / "b.jsonl", header(), request("last", *[[1, "a"]] * 50), request("end"))
    batches = list(read_since(folder, Cursor(), rows=10))
    assert max(len(one.served) for one in batches if one.served) <= 10 + 50
    found = [name for one in batches if one.served for name in one.served.request_ids]
    assert found == [*names, *["last"] * 50, "end"]
    for place, batch in enumerate(batches[:-1]):
        again = list(read_since(folder, batch.cursor, rows=10))
        assert [len(one.served) for one in again if one.served] == [
            len(one.served) for one in batches[place + 1 :] if one.served
        ]


def test_expired_files_are_removed_after_a_look_and_unread_requests_are_a_gap(folder, reader):
    paths = [append(folder / f"{name}.jsonl", header(), request(name)) for name in "abcd"]
    paths[1] = archived_log.write(paths[1])
    (folder / "b.jsonl").unlink()
    assert reader.ids() == [*"abcd"]
    for path in paths[:3]:
        os.utime(path, (1000.0, 1000.0))
    append(paths[0], request("late"))
    os.utime(paths[0], (1000.0, 1000.0))
    days = Retention(keep=1, keep_days=7)
    assert remove_expired_logs(folder, days, 1000.0 + 6 * DAY_SECONDS) == []
    assert remove_expired_logs(folder, days, 1000.0 + 8 * DAY_SECONDS) == paths[:3]
    assert reader.ids() == []
    assert reader.gaps == [Gap("a.jsonl", len(request("late")))]


class TestArchive:
    def test_an_archive_is_read_like_its_file(self, folder, reader):
        path = append(
            folder / "a.jsonl",
            header(),
            request("ml-pipeline-probe"),
            request("one", [41, "pro"], [None, "basic"], time=5.5),
            request("two", [1, None], time=6.0),
        )
        before = next(iter(read_since(folder, Cursor())))
        archived_log.write(path)
        path.unlink()
        assert reader.ids() == ["one", "one", "two"]
        (after,) = reader.batches
        assert (after.requests, after.probes) == (before.requests, before.probes)
        assert after.served.features == before.served.features
        assert after.served.times.tolist() == before.served.times.tolist()
        assert after.served.places.tolist() == before.served.places.tolist()
        for one, other in zip(after.served.columns, before.served.columns, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_a_file_that_becomes_an_archive_is_read_on_and_no_gap(self, folder, reader):
        path = append(folder / "a.jsonl", header(), request("one"), request("two"))
        reader.ids()
        append(path, request("three"))
        archived_log.write(path)
        path.unlink()
        assert reader.ids() == ["three"]
        assert (reader.faults, reader.gaps) == ([], [])
        assert reader.ids() == []

    def test_a_file_that_comes_back_is_read_on_behind_its_archive(self, folder, reader):
        """As if a copy was archived while its server still wrote the file."""
        path = append(folder / "a.jsonl", header(), request("one", [1, "a"], [2, "b"]))
        archive = archived_log.write(path)
        content = path.read_text()
        path.unlink()
        assert reader.ids() == ["one", "one"]
        archive.unlink()
        path.write_text(content + request("two"))
        assert reader.ids() == ["two"]
        assert (reader.faults, reader.gaps) == ([], [])
        append(path, request("three"))
        assert reader.ids() == ["three"]

    def test_an_archive_by_pandas_with_timestamps_and_a_struct(self, folder, reader):
        import pandas as pd

        frame = pd.DataFrame(
            {
                "request_id": ["a", "b"],
                "time": pd.to_datetime([1.5, 2.5], unit="s", utc=True),
                "digest": ["d", "e"],
                "model_version": [3, 4],
                "features": [{"age": 1.0, "plan": "x"}, {"age": None, "plan": None}],
                "prediction": [0.5, 0.6],
            }
        )
        frame.to_parquet(folder / "a.parquet")
        assert reader.ids() == ["a", "b"]
        assert [one.served.version for one in reader.batches] == [3, 4]
        assert [one.served.times.tolist() for one in reader.batches] == [[1.5], [2.5]]
        assert reader.batches[0].served.features == ("age", "plan")

    @pytest.mark.parametrize("content", [b"", b"PAR1 text", b"PAR1PAR1"])
    def test_an_unfinished_archive_is_said(self, folder, reader, content):
        (folder / "a.parquet").write_bytes(content)
        assert reader.ids() == []
        assert "a.parquet: not a finished Parquet file" in reader.faults[0]

    def test_another_parquet_file_is_said(self, folder, reader):
        import pandas as pd

        pd.DataFrame({"x": [1]}).to_parquet(folder / "a.parquet")
        reader.ids()
        assert reader.faults == [
            "a.parquet: not an archive of a prediction log: no column 'request_id'"
        ]
