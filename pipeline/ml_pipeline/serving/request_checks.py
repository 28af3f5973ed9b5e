"""Checks of a request before its body is parsed: id, authorisation, headers, size."""

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
"""A valid X-Request-ID; any other is replaced."""
BODY_TIMED_OUT = "late"
"""Key in the scope's state that the protocol sets when the body timed out."""


class RequestError(Exception):
    """A request that gets an error response with ``status`` and one line."""

    def __init__(
        self,
        status: int,
        message: str,
        retry_after: int | None = None,
        *,
        schema_error: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.schema_error = schema_error
        """Whether the body can be read, and its rows do not fit the model."""
        self.retry_after = retry_after
        """Seconds after which the client may retry."""


_process = os.urandom(8).hex()
_numbers = count(1)


def choose_request_id(client_id: bytes | None) -> bytes:
    """Return the client's request id if it is well-formed, otherwise a new one."""
    if client_id is not None and WELL_FORMED.fullmatch(client_id):
        return client_id
    return f"{_process}-{next(_numbers):x}".encode()


def authorise(fields: Iterable[tuple[bytes, bytes]], token: bytes | None) -> None:
    """Compare the bearer token in a request's header fields with ``token``, if there is one.

    Raises:
        RequestError: 401 if it is missing, duplicate or wrong.
    """
    if token is None:
        return
    values = [value for name, value in fields if name == b"authorization"]
    scheme, _, credential = (values[0] if len(values) == 1 else b"").partition(b" ")
    if scheme.lower() != b"bearer" or not hmac.compare_digest(credential.strip(), token):
        raise RequestError(401, "the bearer token is missing or wrong")


def check_headers(headers: Mapping[bytes, bytes], limit: int) -> None:
    """Check the headers that describe the body.

    Raises:
        RequestError: 413 if it is longer than ``limit`` bytes, 415 if it is compressed.
    """
    length = headers.get(b"content-length")
    if length is not None and length.isdigit() and int(length[:20]) > limit:
        raise _too_large(limit)
    encoding = headers.get(b"content-encoding")
    if encoding is not None and encoding.lower() != b"identity":
        raise RequestError(415, "the body is compressed; send it uncompressed")


def check_size(body: bytes | bytearray, limit: int) -> None:
    """Check the length of a body.

    Raises:
        RequestError: 413 if it is longer than ``limit`` bytes.
    """
    if len(body) > limit:
        raise _too_large(limit)


async def read_body(scope: Scope, receive: Receive, limit: int) -> bytes | bytearray:
    """Return the body; of a body over ``limit`` bytes, that much and at most one more chunk.

    Raises:
        RequestError: 408 if it timed out, 400 if the client disconnected.
    """
    message = await receive()
    body: bytes | bytearray = message.get("body", b"")
    if message.get("more_body", False) or message["type"] == "http.disconnect":
        body = await _read_rest(scope, message, bytearray(body), receive, limit)
    return body


async def _read_rest(
    scope: Scope, message: Mapping[str, object], body: bytearray, receive: Receive, limit: int
) -> bytearray:
    while len(body) <= limit:
        if message["type"] == "http.disconnect":
            late = scope.get("state", {}).get(BODY_TIMED_OUT, False)
            raise RequestError(408 if late else 400, "the body ended early")
        if not message.get("more_body", False):
            break
        message = await receive()
        chunk = message.get("body", b"")
        body += chunk if isinstance(chunk, bytes | bytearray) else b""
    return body


def _too_large(limit: int) -> RequestError:
    return RequestError(413, f"the body is too large; at most {limit} bytes")
