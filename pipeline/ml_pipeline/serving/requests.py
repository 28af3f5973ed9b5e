"""A request before it is understood: its number, its right to be answered, its body."""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Iterable, Mapping
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Receive, Scope

WELL_FORMED = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
"""An X-Request-ID that is taken over; another one is replaced."""
BODY_TIMED_OUT = "late"
"""Key of the connection's state by which the protocol says that a body came too late."""


class RequestError(Exception):
    """A request that is answered with ``status`` and one line."""

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        """Seconds after which it may be asked again."""


_process = os.urandom(8).hex()
_numbers = count(1)


def request_id(given: bytes | None) -> bytes:
    """Return the id that a client gave, if it is well-formed, or a new one."""
    if given is not None and WELL_FORMED.fullmatch(given):
        return given
    return f"{_process}-{next(_numbers):x}".encode()


def authorise(fields: Iterable[tuple[bytes, bytes]], token: bytes | None) -> None:
    """Compare the bearer token in a request's header fields with ``token``; None asks for none.

    Raises:
        RequestError: 401 where it is missing, given twice or another one.
    """
    if token is None:
        return
    given = [value for name, value in fields if name == b"authorization"]
    scheme, _, credential = (given[0] if len(given) == 1 else b"").partition(b" ")
    if scheme.lower() != b"bearer" or not hmac.compare_digest(credential.strip(), token):
        raise RequestError(401, "a bearer token is needed, and this is none or not the right one")


def check_headers(headers: Mapping[bytes, bytes], limit: int) -> None:
    """Refuse a body by what its headers say of it.

    Raises:
        RequestError: 413 where it is longer than ``limit`` bytes, 415 where it is compressed.
    """
    length = headers.get(b"content-length")
    if length is not None and length.isdigit() and int(length[:20]) > limit:
        raise _too_large(limit)
    encoding = headers.get(b"content-encoding")
    if encoding is not None and encoding.lower() != b"identity":
        raise RequestError(415, "the body is compressed; send it plain")


def check_size(body: bytes | bytearray, limit: int) -> None:
    """Refuse a body that is longer than ``limit`` bytes.

    Raises:
        RequestError: 413.
    """
    if len(body) > limit:
        raise _too_large(limit)


async def read(scope: Scope, receive: Receive, limit: int) -> bytes | bytearray:
    """Return the body, or ``limit`` bytes of it and a chunk more where it is longer.

    Raises:
        RequestError: 408 and 400 where it does not arrive as a whole.
    """
    message = await receive()
    body: bytes | bytearray = message.get("body", b"")
    if message.get("more_body", False) or message["type"] == "http.disconnect":
        body = await _rest(scope, message, bytearray(body), receive, limit)
    return body


async def _rest(
    scope: Scope, message: Mapping[str, object], body: bytearray, receive: Receive, limit: int
) -> bytearray:
    while len(body) <= limit:
        if message["type"] == "http.disconnect":
            late = scope.get("state", {}).get(BODY_TIMED_OUT, False)
            raise RequestError(408 if late else 400, "the body ended early")
        if not message.get("more_body", False):
            break
        message = await receive()
        more = message.get("body", b"")
        body += more if isinstance(more, bytes | bytearray) else b""
    return body


def _too_large(limit: int) -> RequestError:
    return RequestError(413, f"the body is too large; at most {limit} bytes")
