"""The prediction log: entries are read back, its size is bounded, shutdown loses nothing."""

import asyncio
import os
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ml_pipeline.core.errors import EnvironmentFault, Refused
from ml_pipeline.serving import prediction_log, removed_files
from ml_pipeline.serving.app import RequestLimits, make_app
from ml_pipeline.serving.prediction_log import LoggedModel, PredictionLog, Rotation, files, read

from tests.serving.conftest import Api

SOURCE = LoggedModel("small", 3, "d" * 64, ["x", "c"])
VALUES = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "predictions"


def logged(folder, *requests, **rotation):
    """Log the requests (id, rows, probabilities) and close the log; return it."""
    log = PredictionLog(Rotation(folder, **rotation), SOURCE)

    async def add():
        for request in requests:
            log.add(*request)
            await asyncio.sleep(0)

    asyncio.run(add())
    log.close()
    return log


def test_an_answered_request_is_logged_as_sent(bundle, state, folder):
    log = PredictionLog(Rotation(folder), SOURCE)
    api = Api(make_app(bundle, 3, RequestLimits(2_000, 4), state, log=log))
    before = time.time()
    one = api.predict([1, "north"], headers={"x-request-id": "first"}).json()
    many = api.predict([[0.5, None], [None, "west"]]).json()
    api.predict(["text", "north"])
    log.close()
    first, second = read(folder)
    assert first[0] == SOURCE
    assert (first[1].request_id, first[1].model_version) == ("first", 3)
    assert first[1].features == [[1, "north"]]
    assert first[1].probability == [one["probability"]]
    assert before <= first[1].time <= time.time()
    assert second[1].features == [[0.5, None], [None, "west"]]
    assert second[1].probability == [each["probability"] for each in many]
    assert log.written == 2


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(st.lists(VALUES, min_size=2, max_size=2), min_size=1, max_size=3))
def test_any_row_is_read_back_unchanged(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("log")
    logged(folder, ("id", rows, [0.5] * len(rows)))
    ((_, entry),) = read(folder)
    assert entry.features == rows


@pytest.mark.parametrize("value", [10**30, "\ud800"])
def test_large_integers_and_lone_surrogates_are_read_back_unchanged(folder, value):
    log = logged(folder, ("a", [[value]], [0.5]), ("b", [[1.0]], [0.5]))
    assert log.dropped == 0
    assert [entry.features[0][0] for _, entry in read(folder)] == [value, 1.0]


def test_files_are_rotated_by_size_and_the_oldest_are_removed(folder):
    requests = [(f"id-{number}", [[float(number), "north"]], [0.5]) for number in range(300)]
    log = logged(folder, *requests, max_bytes=4_000, keep=3)
    kept = files(folder)
    assert len(kept) == 3
    assert all(path.stat().st_size <= 4_000 for path in kept)
    numbers = [int(entry.request_id.removeprefix("id-")) for _, entry in read(folder)]
    assert numbers == list(range(300 - len(numbers), 300)), "the newest, in order, none missing"
    assert log.written == 300


def test_removed_files_are_listed_with_their_finished_bytes(folder):
    logged(folder, ("a", [[1.0]], [0.5]))
    (first,) = files(folder)
    finished = first.stat().st_size
    with first.open("ab") as stream:
        stream.write(b'{"request_id": "cut')
    for name in "bc":
        logged(folder, (name, [[1.0]], [0.5]), keep=2)
    assert [entry.request_id for _, entry in read(folder)] == ["b", "c"]
    assert removed_files.removed_files(folder) == [(first.name, finished)]


def test_a_full_disk_does_not_stop_the_rotation(folder, monkeypatch):
    """Removing a file may make the room that the list needs."""
    logged(folder, ("a", [[1.0]], [0.5]))
    (first,) = files(folder)
    add = removed_files.add

    def full_while_the_file_exists(where, removed):
        if first.exists():
            raise OSError(28, "No space left on device")
        add(where, removed)

    monkeypatch.setattr(removed_files, "add", full_while_the_file_exists)
    for name in "bc":
        logged(folder, (name, [[1.0]], [0.5]), keep=2)
    assert [one.file for one in removed_files.removed_files(folder)] == [first.name]


def test_the_list_of_removed_files_is_bounded(folder, monkeypatch):
    monkeypatch.setattr(removed_files, "MAX_FILES", 10)
    folder.mkdir()
    for number in range(25):
        removed_files.add(folder, [removed_files.RemovedFile(f"{number}.jsonl", number)])
    names = [one.file for one in removed_files.removed_files(folder)]
    assert 5 <= len(names) <= 10
    assert names[-1] == "24.jsonl"


def test_files_are_removed_by_age_and_total_size(folder):
    for name in "abc":
        logged(folder, (name, [[1.0]], [0.5]))
    old, _, _ = files(folder)
    os.utime(old, (time.time() - 3 * 86_400,) * 2)
    logged(folder, ("d", [[1.0]], [0.5]), keep_days=2)
    assert [entry.request_id for _, entry in read(folder)] == ["b", "c", "d"]
    size = files(folder)[0].stat().st_size
    logged(folder, ("e", [[1.0]], [0.5]), max_bytes=size, total_bytes=size + size * 3 // 2)
    assert [entry.request_id for _, entry in read(folder)] == ["d", "e"]


def test_a_file_holds_the_requests_of_a_day_if_their_age_is_limited(folder, monkeypatch):
    folder.mkdir()
    now = 0.0
    monkeypatch.setattr(prediction_log.time, "monotonic", lambda: now)
    log_files = prediction_log._RotatedFiles(Rotation(folder, keep_days=7), SOURCE)
    for now in (0.0, 86_399.0, 86_400.0):  # noqa: B007  read by the clock
        log_files.write(b"{}\n")
    log_files.finish()
    assert [path.read_bytes().count(b"{}") for path in files(folder)] == [2, 1]


def test_a_file_that_was_replaced_is_not_written_to_any_more(folder):
    folder.mkdir()
    log_files = prediction_log._RotatedFiles(Rotation(folder), SOURCE)
    log_files.write(b"1\n")
    (path,) = files(folder)
    copy = path.with_suffix(".copy")
    copy.write_bytes(path.read_bytes().replace(b"1", b" "))
    copy.replace(path)
    log_files.write(b"2\n")
    log_files.finish()
    assert [one.read_bytes().splitlines()[1:] for one in files(folder)] == [[b" "], [b"2"]]


def test_a_request_larger_than_a_file_gets_its_own_file(folder):
    logged(folder, ("a", [[1.0]] * 500, [0.5] * 500), ("b", [[1.0]], [0.5]), max_bytes=500)
    assert [entry.request_id for _, entry in read(folder)] == ["a", "b"]
    assert len(files(folder)) == 2


def test_requests_beyond_the_pending_limit_are_dropped_and_counted(folder, monkeypatch):
    monkeypatch.setattr(prediction_log, "MAX_PENDING", 1_000)
    requests = [(f"id-{number}", [[1.0, None]], [0.5]) for number in range(100)]
    monkeypatch.setattr(prediction_log, "FLUSH_SECONDS", 60.0)
    log = logged(folder, *requests)
    entries = list(read(folder))
    assert 0 < len(entries) < 100
    assert log.dropped == 100 - len(entries)


def test_a_full_disk_drops_entries_and_logging_continues(folder, monkeypatch, caplog):
    log = PredictionLog(Rotation(folder), SOURCE)
    write, full = os.write, []

    def sometimes_full(file, content):
        if full:
            write(file, bytes(content)[:10])
            raise OSError(28, "No space left on device")
        return write(file, content)

    monkeypatch.setattr(os, "write", sometimes_full)

    async def add(number):
        before = log.written + log.dropped
        log.add(f"id-{number}", [[1.0, None]], [0.5])
        while log.written + log.dropped == before:  # noqa: ASYNC110  # no event
            await asyncio.sleep(0.01)

    asyncio.run(add(1))
    full.append(True)
    asyncio.run(add(2))
    full.clear()
    asyncio.run(add(3))
    log.close()
    assert [entry.request_id for _, entry in read(folder)] == ["id-1", "id-3"]
    assert (log.written, log.dropped) == (2, 1)
    assert "No space left on device; 1 requests are lost" in caplog.text


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match="prediction log: cannot write to"):
        PredictionLog(Rotation(tmp_path / "file/log"), SOURCE)


def test_the_log_is_readable_by_its_owner_only(folder):
    logged(folder, ("a", [[1.0]], [0.5]))
    assert folder.stat().st_mode & 0o77 == 0
    assert files(folder)[0].stat().st_mode & 0o77 == 0


class TestRead:
    def test_a_missing_folder_is_an_empty_log(self, folder):
        assert list(read(folder)) == []

    def test_since_a_time(self, folder):
        logged(folder, ("a", [[1.0]], [0.5]))
        now = datetime.now(UTC)
        assert len(list(read(folder, since=now - timedelta(minutes=1)))) == 1
        assert list(read(folder, since=now + timedelta(minutes=1))) == []

    def test_the_incomplete_line_of_a_killed_process_is_ignored(self, folder):
        logged(folder, ("a", [[1.0]], [0.5]), ("b", [[1.0]], [0.5]))
        (path,) = files(folder)
        path.write_bytes(path.read_bytes()[:-5])
        assert [entry.request_id for _, entry in read(folder)] == ["a"]
        path.write_bytes(path.read_bytes()[:20])
        assert list(read(folder)) == []

    @pytest.mark.parametrize("line", [b"{}\n", b"text\n", b'{"schema": "other/1"}\n', b"[[]]\n"])
    @pytest.mark.parametrize("number", [1, 2])
    def test_an_invalid_line_is_refused_with_its_number(self, folder, line, number):
        logged(folder, ("a", [[1.0]], [0.5]))
        (path,) = files(folder)
        lines = path.read_bytes().splitlines(keepends=True)
        lines[number - 1] = line
        path.write_bytes(b"".join(lines))
        with pytest.raises(Refused, match=f"line {number} is not a line of a prediction log"):
            list(read(folder))
