"""The server's log: one JSON object a line, on stderr."""

from __future__ import annotations

import json
import logging
import random
import sys
import time
from datetime import UTC, datetime
from typing import Any, TextIO

FACTS = "facts"
"""Attribute of a record with what else its line says."""
REFUSALS_A_SECOND = 50
"""Lines about refused requests, so that no client fills the disk."""

logger = logging.getLogger("ml_pipeline.serving")


class JsonFormatter(logging.Formatter):
    """``time``, ``level``, ``message``, the facts of the record, and ``traceback`` of a fault."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, FACTS, {}),
        }
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told)


def configure(stream: TextIO | None = None) -> None:
    """Let everything that is logged in this process go to ``stream`` (stderr) as JSON lines."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logger.setLevel(logging.INFO)


class RequestLog:
    """One line a request that is logged.

    That is a ``share`` (0 to 1) of those that succeed, every fault, and the refused ones up to a
    number a second; the next line then tells how many were left out.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._second = 0
        self._lines = self._left_out = 0

    def answered(
        self,
        request_id: bytes,
        method: str,
        path: str,
        status: int,
        seconds: float,
        error: str | None = None,
    ) -> None:
        """Log an answered request if it is one of those that are logged."""
        if status < 400:
            if self._share == 0 or random.random() >= self._share:  # noqa: S311  # a sample
                return
            level = logging.INFO
        elif status == 500:
            level = logging.ERROR
        elif self._may_log_refusal():
            level = logging.WARNING
        else:
            return
        facts: dict[str, Any] = {
            "request_id": request_id.decode(),
            "method": method,
            "path": path,
            "status": status,
            "seconds": round(seconds, 6),
        }
        if error is not None:
            facts["error"] = error
        if self._left_out and level == logging.WARNING:
            facts["left_out"], self._left_out = self._left_out, 0
        logger.log(level, "answered" if status < 400 else "refused", extra={FACTS: facts})

    def _may_log_refusal(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._lines = second, 0
        self._lines += 1
        if self._lines > REFUSALS_A_SECOND:
            self._left_out += 1
            return False
        return True
