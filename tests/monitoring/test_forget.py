"""forget: an entity's rows leave the home's records of requests, and nothing else changes."""

from __future__ import annotations

import io
import json
import threading
from datetime import UTC, datetime
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from ml_pipeline import cli
from ml_pipeline.core.errors import EnvironmentFault, UsageError
from ml_pipeline.core.home import Home
from ml_pipeline.monitoring import archived_log, forgotten_rows
from ml_pipeline.monitoring.forget import forget
from ml_pipeline.monitoring.labels import segments
from ml_pipeline.monitoring.served_rows import Cursor, read_since
from ml_pipeline.monitoring.state import MonitorFolder
from ml_pipeline.serving import prediction_log
from ml_pipeline.serving.prediction_log import LoggedModel, Rotation
from ml_pipeline.serving.redaction import hashed_value
from ml_pipeline.targets import redaction_key

from tests.monitoring.conftest import LabelDesk, served

HEADER = {
    "schema": "ml-pipeline/predictions/1",
    "model": "shop",
    "model_version": 3,
    "digest": "d" * 64,
    "features": ["customer", "age"],
}
AT = datetime(2026, 5, 19, 12, tzinfo=UTC)


def line(name, *rows, key="probability", values=None):
    entry = {"request_id": name, "time": AT.timestamp(), "model_version": 3, "features": list(rows)}
    return json.dumps(entry | {key: values or [0.25] * len(rows)}) + "\n"


class Shop:
    """A project whose requests name a customer, and its home."""

    def __init__(self, project, home):
        self.project, self.home = project, home
        self.log = home / "predictions/production"
        self.log.mkdir(parents=True)

    def write(self, name, *lines, **header):
        path = self.log / name
        path.write_text(json.dumps(HEADER | header) + "\n" + "".join(lines))
        return path

    def forget(self, value="c-17", column="customer"):
        return forget(self.project, self.home, value, column, lambda *_: None)

    def removed(self, result, kind="the prediction log", environment="production"):
        one = result.removed[environment][kind]
        return one.rows, one.files


@pytest.fixture
def shop(make_project, tmp_path):
    table = {"kind": "table", "label": "y", "numeric": ["age"], "id": "customer"}
    project = make_project(problem=table, environments={"production": {"port": 0}})
    home = Home(tmp_path / "home")
    home.make()
    return Shop(project, home)


def ids(folder, cursor=None):
    """Return the ids and customers that a look reads, and the cursor behind them."""
    batches = list(read_since(folder, cursor or Cursor()))
    rows = [
        (request_id, batch.served.columns[0][row])
        for batch in batches
        if batch.served
        for row, request_id in enumerate(batch.served.request_ids)
    ]
    return rows, batches[-1].cursor if batches else cursor


def test_rows_are_removed_and_all_else_stays_in_its_place(shop):
    path = shop.write(
        "a.jsonl",
        line("one", ["c-17", 1.50]),
        line("two", ["c-4", 2], [" c-17 ", 3], ["c-5", None], values=[0.1, 0.2, 0.3]),
        line("three", ["c-170", 4]),
    )
    other = shop.write("b.jsonl", line("four", ["c-4", 1]))
    stat, untouched = path.stat(), other.stat()
    result = shop.forget()
    assert shop.removed(result) == (2, 1)
    content = path.read_text()
    assert "c-17 " not in content
    assert '"c-17"' not in content
    assert '"one"' not in content
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    assert after.st_mode & 0o777 == stat.st_mode & 0o777
    assert other.stat().st_ino == untouched.st_ino
    (batch,) = read_since(shop.log, Cursor())
    assert batch.served.request_ids == ["two", "two", "three", "four"]
    assert batch.served.places.tolist() == [0, 2, 0, 0], "rows keep their places"
    assert batch.served.predictions.tolist() == [0.1, 0.3, 0.25, 0.25]
    assert (batch.requests, batch.forgotten) == (3, 2)
    assert shop.removed(shop.forget()) == (0, 0), "a further run finds nothing"


@pytest.mark.parametrize("key", ["prediction", "probabilities"])
def test_predictions_of_other_tasks_are_removed_too(shop, key):
    values = [1.5, 2.5] if key == "prediction" else [[0.2, 0.8], [0.6, 0.4]]
    shop.write("a.jsonl", line("one", ["c-17", 1], ["c-4", 2], key=key, values=values))
    shop.forget()
    (batch,) = read_since(shop.log, Cursor())
    assert (batch.served.predictions.tolist(), batch.faults) == ([values[1]], ())
    assert str(values[0]) not in (shop.log / "a.jsonl").read_text()


def test_an_entity_may_be_a_number(shop):
    shop.write("a.jsonl", line("one", [17, 1]), line("two", [17.0, 1]), line("three", ["17", 1]))
    assert shop.removed(shop.forget("17")) == (3, 1)


def test_the_cursor_of_monitor_stays_valid(shop):
    path = shop.write("a.jsonl", line("one", ["c-17", 1]), line("two", ["c-4", 2]))
    _, cursor = ids(shop.log)
    with path.open("a") as stream:
        stream.write(line("three", ["c-17", 1]) + line("four", ["c-4", 2]))
    shop.forget()
    rows, cursor = ids(shop.log, cursor)
    assert rows == [("four", "c-4")]
    assert ids(shop.log, cursor)[0] == []


def test_a_hashed_column_is_found_by_the_key(shop):
    redaction_key.key_file(shop.home).parent.mkdir(mode=0o700)
    redaction_key.key_file(shop.home).write_text("k" * 32)
    values = [hashed_value(b"k" * 32, "customer", one) for one in ("c-17", "c-4")]
    lines = [line(f"id-{number}", [value, 1]) for number, value in enumerate(values)]
    shop.write("a.jsonl", *lines, hashed=["customer"])
    assert shop.removed(shop.forget()) == (1, 1)
    assert [row[0] for row in ids(shop.log)[0]] == ["id-1"]
    redaction_key.key_file(shop.home).unlink()
    with pytest.raises(EnvironmentFault, match="is hashed in the prediction log, and its key is"):
        shop.forget("c-4")


def test_an_archive_keeps_its_rows_as_empty_ones(shop):
    path = shop.write("a.jsonl", line("one", ["c-17", 1], ["c-4", 2]), line("two", ["c-17", 3]))
    archived_log.write(path)
    path.unlink()
    assert shop.removed(shop.forget()) == (2, 1)
    table = pq.read_table(shop.log / "a.parquet")
    assert table["request_id"].to_pylist() == ["", "one", ""]
    assert table["features.customer"].to_pylist() == [None, "c-4", None]
    (batch,) = read_since(shop.log, Cursor())
    assert (batch.served.request_ids, batch.forgotten, batch.faults) == (["one"], 2, ())


@pytest.mark.parametrize("by", ["request", "key", "group"])
def test_rows_that_wait_for_labels_or_have_them_are_removed(shop, by, tmp_path):
    shop.write("a.jsonl", line("one", ["c-17", 1], ["c-4", 2]))
    if by != "request":
        shop.write("a.jsonl", line("other", ["c-4", 2]))  # the log no longer has the request
    section = {"keys": {"date": "day", "customer": "id"}} if by == "key" else {"row": "row"}
    names = SimpleNamespace(
        time_column="date", entity_column="customer", options=SimpleNamespace(positive=1)
    )
    desk = LabelDesk(tmp_path, names, **section)
    desk.folder = MonitorFolder.of(shop.home, "production").root
    desk.group_by = ("customer",) if by == "group" else ()
    desk.labels(header="day,id,label" if by == "key" else "id,row,label")
    waiting = served(["one", "one"], places=[0, 1], at=AT, customer=["c-17", "c-4"])
    desk.at(AT, waiting)
    result = shop.forget()
    assert shop.removed(result, "rows that wait for labels") == (1, 1)
    (left,) = [path for path, kind, _ in segments(desk.folder) if kind == "pending"]
    assert pq.read_table(left)["row"].to_pylist() == [1]
    joined = desk.at(AT)
    assert joined.waiting == 1, "the next look goes on with the rest"


def test_records_of_a_shadow_are_removed_unless_it_runs(shop):
    shop.write("a.jsonl", line("one", ["c-17", 1]), line("two", ["c-4", 2]))
    folder = shop.home / "shadow"
    folder.mkdir()
    records = "".join(json.dumps({"id": name}) + "\n" for name in ("one", "two"))
    for name in ("staging", "canary"):
        (folder / f"{name}.jsonl").write_text(records)
    (folder / "canary.json").touch()
    result = shop.forget()
    assert (folder / "staging.jsonl").read_text() == '{"id": "two"}\n'
    assert (folder / "canary.jsonl").read_text() == records
    assert result.incomplete[0].startswith("the live shadow of canary runs")


def test_what_cannot_be_examined_or_reached_is_said(shop):
    shop.write("a.jsonl", line("one", ["c-17", 1]), "torn\n", '{"request_id": "unfin')
    shop.write("b.jsonl", line("two", [4]), features=["age"], omitted=["customer"])
    (shop.log / "c.jsonl").write_text("text\n")
    (shop.log / "d.parquet").write_text("text")
    result = shop.forget()
    assert shop.removed(result) == (1, 1)
    assert [one.removeprefix(f"{shop.log}/")[:9] for one in result.incomplete] == [
        "a.jsonl, ",
        "a.jsonl, ",
        "c.jsonl: ",
        "d.parquet",
    ]
    assert any("from b.jsonl on" in one for one in result.unreached)
    assert any("registry" in one for one in result.unreached)
    assert "c-17" not in json.dumps(result.to_json()) + "".join(result.lines())


def test_environments_that_left_a_log_are_covered_and_other_folders_left_alone(shop):
    folder = shop.home / "predictions/canary"
    folder.mkdir()
    (folder / "a.jsonl").write_text(json.dumps(HEADER) + "\n" + line("one", ["c-17", 1]))
    (shop.home / "predictions/notes").mkdir()
    assert shop.removed(shop.forget(), environment="canary") == (1, 1)
    assert not (shop.home / "monitor/notes").exists()


def test_a_column_that_no_log_has_is_an_error(shop):
    shop.write("a.jsonl", line("one", ["c-17", 1]))
    with pytest.raises(UsageError, match="no prediction log has the feature 'client'") as error:
        shop.forget(column="client")
    assert "age, customer" in str(error.value)


def test_a_look_that_is_under_way_is_not_disturbed(shop):
    path = shop.write("a.jsonl", line("one", ["c-17", 1]))
    with (
        MonitorFolder.of(shop.home, "production").locked(),
        pytest.raises(EnvironmentFault, match="another 'ml-pipeline monitor' works"),
    ):
        shop.forget()
    assert "c-17" in path.read_text()


def test_a_server_that_writes_meanwhile_loses_nothing(shop):
    model = LoggedModel("shop", 3, "d" * 64, ["customer", "age"])
    log = prediction_log._RotatedFiles(Rotation(shop.log, max_bytes=1 << 16), model)
    written, stop = [], threading.Event()

    def serve():
        while not stop.is_set():
            name = f"id-{len(written)}"
            customer = "c-17" if len(written) % 3 == 0 else "c-4"
            log.write(line(name, [customer, 1]).encode())
            written.append(name)

    log.write(line("first", ["c-17", 1]).encode())
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        for _ in range(5):
            shop.forget()
    finally:
        stop.set()
        thread.join()
    log.finish()
    shop.forget()
    expected = [name for number, name in enumerate(written) if number % 3]
    rows, _ = ids(shop.log)
    kept = [name for name, _ in rows]
    assert kept == expected[-len(kept) :], "in order, none missing but by the rotation"
    assert {customer for _, customer in rows} <= {"c-4"}


def test_a_run_that_was_killed_is_completed_by_the_next(shop, monkeypatch, tmp_path):
    shop.write("a.jsonl", line("one", ["c-17", 1]))
    names = SimpleNamespace(
        time_column=None, entity_column=None, options=SimpleNamespace(positive=1)
    )
    desk = LabelDesk(tmp_path, names)
    desk.folder = MonitorFolder.of(shop.home, "production").root
    desk.labels()
    desk.at(AT, served(["one"], at=AT))
    original = forgotten_rows.forget_in_segment

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(forgotten_rows, "forget_in_segment", killed)
    with pytest.raises(KeyboardInterrupt):
        shop.forget()
    monkeypatch.setattr(forgotten_rows, "forget_in_segment", original)
    result = shop.forget()
    assert shop.removed(result) == (1, 1)
    assert shop.removed(result, "rows that wait for labels") == (1, 1)


def test_the_command_takes_the_value_from_stdin_and_does_not_repeat_it(shop, monkeypatch, capsys):
    shop.write("a.jsonl", line("one", ["c-17", 1]), "torn\n")
    monkeypatch.setenv("ML_HOME", str(shop.home.root.parent / "homes"))
    home = shop.home.root.parent / "homes/small"
    home.parent.mkdir()
    shop.home.root.rename(home)
    monkeypatch.setattr("sys.stdin", io.StringIO("c-17\n"))
    root = str(shop.project.root)
    assert cli.main(["forget", "--entity", "-", "--column", "customer", "--project", root]) == 1
    shown = capsys.readouterr()
    assert "production: 1 row removed from the prediction log (1 file)" in shown.out
    assert "not complete:" in shown.out
    assert "c-17" not in shown.out + shown.err
    assert cli.main(["forget", "--project", root]) == 2
