"""The server's log: one JSON object a line, on stderr."""

from __future__ import annotations

import json
import logging
import random
import sys
import time
from datetime import UTC, datetime
from typing import Any, TextIO

from ml_pipeline.serving.redaction import NOT_LOGGED

LOG_FIELDS = "log_fields"
"""Attribute of a log record with further keys of its line."""
VALUE_ERRORS = (400, 409, 422)
"""Statuses of errors whose message may quote a value of the request."""
MAX_REFUSED_LINES = 50
"""Lines a second about refused requests, so that no client can fill the disk."""

logger = logging.getLogger("ml_pipeline.serving")


class JsonFormatter(logging.Formatter):
    """``time``, ``level``, ``message``, the log fields, and ``traceback`` of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, LOG_FIELDS, {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure(stream: TextIO | None = None) -> None:
    """Send all log records of this process to ``stream`` (stderr) as JSON lines."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logger.setLevel(logging.INFO)


class RequestLog:
    """Logs requests, one line each.

    Logged are a ``share`` (0 to 1) of the successful requests, every internal error, and refused
    requests up to ``MAX_REFUSED_LINES`` a second; the next line has the number left out. Without
    ``log_errors`` messages that may quote a value of the request are left out.
    """

    def __init__(self, share: float, *, log_errors: bool = True) -> None:
        self._share = share
        self._log_errors = log_errors
        self._second = 0
        self._lines = self._left_out = 0

    def record(
        self,
        request_id: bytes,
        method: str,
        path: str,
        status: int,
        seconds: float,
        error: str | None = None,
    ) -> None:
        """Log an answered request, if it is in the share or the rate limit allows."""
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
        fields: dict[str, Any] = {
            "request_id": request_id.decode(),
            "method": method,
            "path": path,
            "status": status,
            "seconds": round(seconds, 6),
        }
        if error is not None:
            quotes_values = status in VALUE_ERRORS and not self._log_errors
            fields["error"] = NOT_LOGGED if quotes_values else error
        if self._left_out and level == logging.WARNING:
            fields["left_out"], self._left_out = self._left_out, 0
        logger.log(level, "answered" if status < 400 else "refused", extra={LOG_FIELDS: fields})

    def _may_log_refusal(self) -> bool:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._lines = second, 0
        self._lines += 1
        if self._lines > MAX_REFUSED_LINES:
            self._left_out += 1
            return False
        return True
