"""Trials of a parameter search on the disk: one JSON line each, so that a killed run goes on.

The first line identifies the search. A log of another search is started again, and a last line that
was cut off is dropped.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ml_pipeline.training.training_record import Trial

Recorded = tuple[dict[str, Any], Trial]


class TrialLog:
    """The trials of one search, in order.

    Args:
        path: The file; None keeps the trials in memory.
        subject: What is searched, but for the rows.
    """

    def __init__(self, path: Path | None = None, subject: str = "") -> None:
        self._path = path
        self._subject = subject
        self._trials: list[Recorded] = []

    def open(self, *rows: bytes) -> None:
        """Read the trials that an interrupted search of the same rows has made.

        Args:
            rows: The content of every array that the search reads.
        """
        digest = hashlib.sha256(self._subject.encode())
        for content in rows:
            digest.update(hashlib.sha256(content).digest())
        header = {"search": digest.hexdigest()}
        if self._path is None:
            return
        self._trials = _read(self._path, header)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._write("w", header, *(_line(*each) for each in self._trials))

    def trial(self, number: int) -> Recorded | None:
        """Return a trial and its values; None where it has not been made."""
        return self._trials[number] if number < len(self._trials) else None

    def append(self, values: dict[str, Any], trial: Trial) -> None:
        """Keep a trial; it is on the disk when this returns."""
        self._trials.append((values, trial))
        if self._path is not None:
            self._write("a", _line(values, trial))

    def _write(self, mode: str, *lines: dict[str, Any]) -> None:
        assert self._path is not None
        with self._path.open(mode, encoding="utf-8") as stream:
            stream.writelines(json.dumps(line) + "\n" for line in lines)
            stream.flush()
            os.fsync(stream.fileno())


def _line(values: dict[str, Any], trial: Trial) -> dict[str, Any]:
    return {"values": values, "params": trial.params, "scores": trial.scores}


def _read(path: Path, header: dict[str, str]) -> list[Recorded]:
    """Return the trials up to the first line that is not whole."""
    if not path.is_file():
        return []
    first, *lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    if first != json.dumps(header):
        return []
    trials = []
    for line in lines:
        try:
            entry = json.loads(line)
            trial = Trial(params=entry["params"], scores=tuple(entry["scores"]))
            trials.append((dict(entry["values"]), trial))
        except (ValueError, KeyError, TypeError, ValidationError):
            break
    return trials
