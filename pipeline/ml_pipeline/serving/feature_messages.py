"""What server and feature worker say to each other: frames of JSON over a pipe.

A frame is its length (4 bytes, big-endian) and its content. To the worker goes the body of a
request as it came, or a CSV behind ``CSV``; back comes ``Features`` or ``Failure``, and ``Ready``
or ``Failure`` once when the worker has started.
"""

from __future__ import annotations

import struct
from typing import IO, Any

import msgspec

HEADER = struct.Struct(">I")
CSV = b"\0"
"""Begins a frame whose rest is a CSV file with a line of column names; no JSON begins so."""
MAX_FRAME = 256 << 20
"""Bytes of an answer, beyond which the worker counts as broken."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The worker has imported the bundle's code."""


class Features(msgspec.Struct, frozen=True, tag=True):
    """The model's inputs for the rows that are to be predicted."""

    rows: list[list[Any]]
    """Values in the order of the schema's features; None is missing."""
    places: list[int]
    """For each of them its place in the request, from 0."""
    set_aside: list[tuple[int, str]]
    """Rows of the history that missed a data test: place, and the names of the tests."""


class Failure(msgspec.Struct, frozen=True, tag=True):
    """There are no features; ``status`` and ``error`` are what the client gets."""

    status: int
    error: str


Message = Ready | Features | Failure

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Message).decode


def read_frame(stream: IO[bytes]) -> bytes | None:
    """Return the content of the next frame; None at the end of the stream."""
    header = stream.read(HEADER.size)
    if len(header) < HEADER.size:
        return None
    (length,) = HEADER.unpack(header)
    content = stream.read(length)
    return content if len(content) == length else None


def write_frame(stream: IO[bytes], content: bytes) -> None:
    stream.write(HEADER.pack(len(content)) + content)
    stream.flush()
