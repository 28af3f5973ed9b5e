"""The protocol between server and feature worker: frames of JSON over pipes.

A frame is its length (4 bytes, big-endian) and its content. The server sends the body of a request
as received, or a CSV file prefixed with ``CSV``; the worker replies ``ComputedFeatures`` or
``Failure``. At its start the worker sends ``Ready`` or ``Failure`` once.
"""

from __future__ import annotations

import struct
from typing import IO, Any

import msgspec

HEADER = struct.Struct(">I")
CSV = b"\0"
"""Prefix of a CSV file with a header line; JSON cannot begin with this byte."""
MAX_FRAME = 256 << 20
"""Bytes of a reply; a worker that announces more is restarted."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The worker has imported the bundle's code."""


class ComputedFeatures(msgspec.Struct, frozen=True, tag="Features"):
    """The model's inputs for the rows that are to be predicted."""

    rows: list[list[Any]]
    """Values in the order of the schema's features; None is missing."""
    places: list[int]
    """Index of each in the request, from 0."""
    set_aside: list[tuple[int, str]]
    """Rows of the history that failed a data test: index, and the names of the tests."""


class Failure(msgspec.Struct, frozen=True, tag=True):
    """The features cannot be computed; ``status`` and ``error`` go to the client."""

    status: int
    error: str


Message = Ready | ComputedFeatures | Failure

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
