"""Redaction of the prediction log: features that are hashed with a key, or left out.

A hashed value is ``hmac:`` and 32 hexadecimal digits: HMAC-SHA-256 of the feature's name and the
value, cut to 128 bits, the least that RFC 2104 recommends for SHA-256. Among a billion values of a
feature, two have the same hash with a probability below 1e-20. Without the key a value cannot be
found by hashing all candidates. Missing values stay missing.
"""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.whitespace import BLANKS

PREFIX: Final = "hmac:"
DIGITS: Final = 32
MIN_KEY_CHARACTERS: Final = 32
Treatment = Literal["hash", "omit"]
NOT_LOGGED: Final = "not logged, since it may hold values of features (serving.redact)"
"""Logged in place of an error message about a request."""


@dataclass(frozen=True)
class Redaction:
    """How features are redacted; ``key`` is None if none is hashed."""

    treatments: Mapping[str, Treatment]
    key: bytes | None = None


class RowRedaction:
    """Redacts the rows of a model."""

    def __init__(self, redaction: Redaction, features: Sequence[str]) -> None:
        treatments = redaction.treatments
        self._key = redaction.key or b""
        self.omitted = [name for name in features if treatments.get(name) == "omit"]
        self.hashed = [name for name in features if treatments.get(name) == "hash"]
        self.features = [name for name in features if treatments.get(name) != "omit"]
        """Of the redacted rows."""
        self.unknown = sorted(set(treatments) - set(features))
        """Redacted names that are no feature of the model."""
        hashed = set(self.hashed)
        self._kept = [
            (place, name if name in hashed else None)
            for place, name in enumerate(features)
            if treatments.get(name) != "omit"
        ]

    def __call__(self, rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
        """Return redacted copies of rows, which may end before optional features."""
        return [
            [
                None
                if place >= len(row)
                else row[place]
                if name is None
                else hashed_value(self._key, name, row[place])
                for place, name in self._kept
            ]
            for row in rows
        ]


def hashed_value(key: bytes, feature: str, value: object) -> str | None:
    """Return the hash of a feature's value; None if it is missing.

    Equal numbers have one hash, 41 and 41.0 too; so have texts that differ in outer blanks only.
    """
    if value is None:
        return None
    message = json.dumps([feature, _canonical(value)]).encode()
    return PREFIX + hmac.digest(key, message, "sha256").hex()[:DIGITS]


def _canonical(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return str(value)
    return value.strip(BLANKS) if isinstance(value, str) else value


def read_key(key_env: str | None, key_file: Path | None) -> bytes:
    """Return the key from an environment variable, or else from a file.

    Raises:
        UsageError: there is none, or it is too short.
    """
    place = f"environment variable {key_env}" if key_env else f"key file {key_file}"
    try:
        text = os.environ.get(key_env, "") if key_env else Path(key_file or "").read_text()
    except OSError as error:
        raise UsageError(
            f"{place}: {error.strerror}", expected="the key of serving.redact"
        ) from None
    key = text.strip()
    if len(key) < MIN_KEY_CHARACTERS:
        raise UsageError(
            f"{place} holds no key for serving.redact",
            expected=f"at least {MIN_KEY_CHARACTERS} characters",
            hint="make one with: openssl rand -hex 32",
        )
    return key.encode()
