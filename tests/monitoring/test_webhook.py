"""Events of alarms at a webhook: each until it is accepted, once, and the address in no message."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.monitoring import webhook
from ml_pipeline.monitoring.webhook import configured_webhook

TOKEN = "T0KEN"


class Receiver:
    """A server that keeps what it accepts; ``statuses`` are its next answers, then 200."""

    def __init__(self) -> None:
        self.accepted: list[dict[str, Any]] = []
        self.statuses: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = receiver.statuses.pop(0) if receiver.statuses else 200
                if status == 200:
                    receiver.accepted.append(json.loads(body))
                self.send_response(status)
                self.send_header("location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Write nothing."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/{TOKEN}"

    @property
    def ids(self) -> list[str]:
        return [message["id"] for message in self.accepted]


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    receiver = Receiver()
    Thread(target=receiver.server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("ML_WEBHOOK", receiver.address)
    monkeypatch.setenv("BUILD_URL", "http://jenkins.example/job/monitor/7/")
    monkeypatch.setattr(webhook, "PAUSES", (0.0, 0.0))
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


Look = Callable[..., Check]


@pytest.fixture
def look(tmp_path: Path) -> Look:
    """A look with events, which it appends to the file as the stage does."""
    alarms = tmp_path / "alarms.jsonl"

    def run(*ids: str) -> Check:
        with alarms.open("a") as file:
            for one in ids:
                event = {"id": one, "event": "opened", "name": "drift of x", "text": "0.4 sd"}
                file.write(json.dumps(event) + "\n")
        made = configured_webhook(tmp_path, {"project": "small", "environment": "production"})
        assert made is not None
        return made.post(alarms, ids, {"look_conclusion": "retrain", "reason": "drift"})

    return run


def test_an_event_is_posted_once_with_what_a_person_needs(receiver: Receiver, look: Look) -> None:
    assert look("a").verdict is Verdict.PASS
    assert look().observed == 0
    (message,) = receiver.accepted
    assert message == {
        "schema": "ml-pipeline/alarm/1",
        "id": "a",
        "event": "opened",
        "name": "drift of x",
        "text": "small in production: alarm opened: 0.4 sd http://jenkins.example/job/monitor/7/",
        "project": "small",
        "environment": "production",
        "build": "http://jenkins.example/job/monitor/7/",
        "look_conclusion": "retrain",
        "reason": "drift",
    }


def test_what_was_not_accepted_is_posted_by_the_next_look(receiver: Receiver, look: Look) -> None:
    receiver.statuses = [200, 500, 500, 500]
    check = look("a", "b", "c")
    assert (check.verdict, check.required, check.observed) == (Verdict.FAIL, False, 1)
    assert "2 events were not accepted" in check.why
    assert look("d").verdict is Verdict.PASS
    assert receiver.ids == ["a", "b", "c", "d"]


def test_a_server_that_is_busy_is_asked_again(receiver: Receiver, look: Look) -> None:
    receiver.statuses = [503, 429]
    assert look("a").verdict is Verdict.PASS
    assert receiver.ids == ["a"]


@pytest.mark.parametrize("status", [302, 404])
def test_a_refusal_is_named_without_the_address_and_no_redirect_is_followed(
    receiver: Receiver, look: Look, status: int
) -> None:
    receiver.statuses = [status]
    check = look("a")
    assert f"answered with status {status}" in check.why
    assert TOKEN not in check.why
    assert receiver.accepted == []


def test_no_server_is_no_fault_of_the_look(
    receiver: Receiver, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ML_WEBHOOK", f"http://127.0.0.1:9/{TOKEN}")
    check = look("a")
    assert (check.verdict, check.required) == (Verdict.FAIL, False)
    assert "ConnectError" in check.why
    assert TOKEN not in check.why


def test_a_webhook_that_is_set_later_gets_no_old_events(
    receiver: Receiver, look: Look, tmp_path: Path
) -> None:
    old = {"id": "old", "event": "opened", "name": "x", "text": "x"}
    (tmp_path / "alarms.jsonl").write_text(json.dumps(old) + "\n")
    look("a")
    assert receiver.ids == ["a"]


def test_a_broken_file_of_events_is_named(receiver: Receiver, look: Look, tmp_path: Path) -> None:
    (tmp_path / "alarms.jsonl").write_text('{"id": \n')
    assert "alarms.jsonl is broken" in look("a").why


@pytest.mark.parametrize("value", ["ftp://hooks.example/T0KEN", "T0KEN", "https:///T0KEN"])
def test_a_value_that_is_no_address_is_refused_without_showing_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: str
) -> None:
    monkeypatch.setenv("ML_WEBHOOK", value)
    with pytest.raises(UsageError, match="ML_WEBHOOK is no address") as raised:
        configured_webhook(tmp_path, {})
    assert TOKEN not in str(raised.value)


def test_without_the_variable_there_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("ML_WEBHOOK", raising=False)
    assert configured_webhook(tmp_path, {}) is None
