"""Choose the HTTP protocol: the bounded one with supported releases of uvicorn, else uvicorn's own.

``http_protocol`` subclasses a class of uvicorn that is not public, so another release may rename
what it overrides. It is imported only after the check.
"""

from __future__ import annotations

import dis
import logging
import re
from collections.abc import Mapping
from importlib import import_module
from types import FunctionType
from typing import TYPE_CHECKING, Final, Literal

import uvicorn

from ml_pipeline.core.errors import EnvironmentFault

if TYPE_CHECKING:
    import asyncio

logger = logging.getLogger("ml_pipeline.serving")

PLAIN: Final = "h11"
"""uvicorn's protocol in pure Python; unlike its httptools protocol it bounds the headers."""
SUPPORTED: Final = {"uvicorn": ((0, 54), (0, 55)), "httptools": ((0, 9), (0, 10))}
"""First supported minor release, and the first that is too new; as in pyproject.toml."""
REQUIRED: Final = {
    "uvicorn.protocols.http.httptools_impl:STATUS_LINE": "",
    "uvicorn.protocols.http.httptools_impl:HttpToolsProtocol": (
        "app connection_lost connection_made connections cycle data_received eof_received "
        "expect_100_continue flow headers limit_concurrency loop on_body on_header "
        "on_headers_complete on_message_begin on_message_complete on_response_complete on_url "
        "parser pause_writing pipeline resume_writing scope send_400_response server_state "
        "shutdown tasks timeout_keep_alive timeout_keep_alive_task transport url"
    ),
    "uvicorn.protocols.http.httptools_impl:RequestResponseCycle": (
        "more_body response_complete response_started scope"
    ),
    "uvicorn.protocols.http.flow_control:FlowControl": "pause_reading resume_reading write_paused",
    "uvicorn.server:ServerState": "default_headers total_requests",
    "httptools:HttpRequestParser": "get_http_version get_method should_keep_alive should_upgrade",
}
"""Names that ``http_protocol`` uses; for a class its methods and the attributes they set."""
SERVER_REQUIRED: Final = {
    "uvicorn.server:Server": "config lifespan serve server_state servers shutdown startup",
    "uvicorn.server:ServerState": "connections",
    "uvicorn.config:Config": "get_loop_factory http_protocol_class",
    "uvicorn.lifespan.off:LifespanOff": "state",
}
"""Names that ``server`` uses whichever protocol is chosen."""


def choose_protocol() -> type[asyncio.Protocol] | Literal["h11"]:
    """Return the value of uvicorn's ``http`` option, and log a warning if it is the plain one."""
    reason = _incompatibility()
    if reason is None:
        from ml_pipeline.serving.http_protocol import BoundedProtocol

        return BoundedProtocol
    requirements = " ".join(f"'{_requirement(name)}'" for name in SUPPORTED)
    logger.warning(
        "%s: uvicorn's plain protocol (%s) is used, which is slower and does not disconnect slow "
        "clients (docs/reference/serving.md, Plain protocol); install %s",
        reason,
        PLAIN,
        requirements,
    )
    return PLAIN


def _incompatibility() -> str | None:
    """Return why the bounded protocol cannot be used, or None."""
    for name, (first, too_new) in SUPPORTED.items():
        try:
            version = str(getattr(import_module(name), "__version__", "unknown"))
        except ImportError:
            return f"{name} is not installed"
        numbers = re.match(r"(\d+)\.(\d+)", version)
        if numbers is None or not first <= (int(numbers[1]), int(numbers[2])) < too_new:
            return f"{name} {version} is installed, {_requirement(name)} is supported"
    return _missing(REQUIRED)


def check_server() -> None:
    """Check what the server's own class uses of uvicorn; no other protocol replaces it.

    Raises:
        EnvironmentFault: the installed uvicorn does not have it.
    """
    reason = _missing(SERVER_REQUIRED)
    if reason is not None:
        raise EnvironmentFault(
            f"the server cannot use uvicorn {uvicorn.__version__}: {reason}",
            expected=_requirement("uvicorn"),
            hint=f"install '{_requirement('uvicorn')}'",
        )


def _missing(required: Mapping[str, str]) -> str | None:
    """Return which of the names a module or class of the installed releases lacks, or None."""
    for path, names in required.items():
        module, _, name = path.partition(":")
        try:
            owner = getattr(import_module(module), name)
        except (ImportError, AttributeError):
            return f"the installed release has no {path}"
        missing = {each for each in names.split() if not hasattr(owner, each)}
        if missing:
            missing -= _instance_attributes(owner)
        if missing:
            return f"{path} has no {', '.join(sorted(missing))}"
    return None


def _instance_attributes(cls: type) -> set[str]:
    """Return the attributes that the methods of ``cls`` set."""
    methods = [value for value in vars(cls).values() if isinstance(value, FunctionType)]
    return {
        instruction.argval
        for method in methods
        for instruction in dis.get_instructions(method)
        if instruction.opname == "STORE_ATTR"
    }


def _requirement(name: str) -> str:
    (major, minor), (too_new_major, too_new_minor) = SUPPORTED[name]
    return f"{name}>={major}.{minor},<{too_new_major}.{too_new_minor}"
