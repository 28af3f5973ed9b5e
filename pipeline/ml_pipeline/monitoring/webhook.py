"""Events of alarms are posted to a webhook, each until it was accepted once.

The address is read from the environment variable ``ML_WEBHOOK``, since it usually holds a token,
and is in no report, message or argument.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ml_pipeline.core import workdir
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.report import Check, Verdict

VARIABLE = "ML_WEBHOOK"
SCHEMA = "ml-pipeline/alarm/1"
ACCEPTED = "webhook.json"
"""Holds the id of the last event that the webhook accepted."""

TIMEOUT_SECONDS = 10.0
PAUSES = (1.0, 3.0)
"""Seconds between the attempts to post an event."""


@dataclass(frozen=True)
class Webhook:
    """The address to which the events of one environment are posted.

    Args:
        address: An http or https URL.
        folder: The folder of the environment's monitoring, with ``alarms.jsonl``.
        about: What each message says beside the event: ``project``, ``environment``, ``build``.
    """

    address: str
    folder: Path
    about: Mapping[str, Any]

    def post(self, alarms: Path, now: Sequence[str], look: Mapping[str, Any]) -> Check:
        """Post the events that were not accepted yet, the oldest first.

        Args:
            alarms: The file with an event per line.
            now: Ids of this look's events: the first that are posted where none ever was.
            look: What each message says of this look.

        Returns:
            A check that blocks nothing: alarms count whether or not the webhook accepts them.
        """
        try:
            waiting = self._waiting(alarms, now)
        except ValueError as error:
            return self._check(Verdict.FAIL, 0, f"{alarms} is broken: {error}")
        for place, event in enumerate(waiting):
            fault = self._deliver({**event, "text": self._text(event), **self.about, **look})
            if fault:
                left = len(waiting) - place
                why = f"{left} events were not accepted, the next look posts them again: {fault}"
                return self._check(Verdict.FAIL, place, why)
            workdir.write_text(self.folder / ACCEPTED, json.dumps({"last": event["id"]}) + "\n")
        return self._check(Verdict.PASS, len(waiting), "")

    def _check(self, verdict: Verdict, posted: int, why: str) -> Check:
        return Check(name="webhook", verdict=verdict, required=False, observed=posted, why=why)

    def _waiting(self, alarms: Path, now: Sequence[str]) -> list[dict[str, Any]]:
        if not alarms.exists():
            return []
        events = [json.loads(line) for line in alarms.read_text(encoding="utf-8").splitlines()]
        ids = [event["id"] for event in events]
        last = self._last()
        if last in ids:
            return events[ids.index(last) + 1 :]
        return [event for event in events if event["id"] in now]

    def _last(self) -> str | None:
        try:
            last: str | None = json.loads((self.folder / ACCEPTED).read_text())["last"]
        except (FileNotFoundError, ValueError, KeyError):
            return None
        return last

    def _deliver(self, message: Mapping[str, Any]) -> str:
        """Post a message; return why it was not accepted, without the address."""
        import httpx

        fault = ""
        for pause in (*PAUSES, None):
            try:
                answer = httpx.post(
                    self.address, json={"schema": SCHEMA, **message}, timeout=TIMEOUT_SECONDS
                )
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                fault = f"the address of {VARIABLE}: {type(error).__name__}"
            else:
                if answer.is_success:
                    return ""
                fault = f"the address of {VARIABLE} answered with status {answer.status_code}"
                if answer.status_code < 500 and answer.status_code != 429:
                    return fault
            if pause is not None:
                time.sleep(pause)
        return fault

    def _text(self, event: Mapping[str, Any]) -> str:
        """Return one line for chats, which show the key ``text``."""
        where = f"{self.about['project']} in {self.about['environment']}"
        build = f" {self.about['build']}" if self.about.get("build") else ""
        return f"{where}: alarm {event['event']}: {event['text']}{build}"


def configured_webhook(folder: Path, about: Mapping[str, Any]) -> Webhook | None:
    """Return the webhook that ``ML_WEBHOOK`` names; None if it is not set.

    Raises:
        UsageError: its value is no http or https address.
    """
    address = os.environ.get(VARIABLE, "").strip()
    if not address:
        return None
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{VARIABLE} is no address", expected="https://HOST/PATH")
    build = os.environ.get("BUILD_URL", "")
    return Webhook(address, folder, {**about, "build": build or None})
