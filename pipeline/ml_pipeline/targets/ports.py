"""The owner of a TCP port of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.home import owner_of
from ml_pipeline.targets import server_records

if TYPE_CHECKING:
    import psutil

MAX_COMMAND_SHOWN = 100
DOCKER_PROXY = "docker-proxy"
"""Docker's process for a published port of a container."""


def describe_owner(port: int) -> str:
    """Describe the process that listens on ``port``: its pid and command, as far as visible."""
    import psutil

    own = own_server(port)
    if own is not None:
        return describe_server(*own)
    process = _listener(port)
    if process is None:
        return "a process of another user"
    try:
        command = " ".join(process.cmdline()) or process.name()
    except psutil.Error:
        return f"pid {process.pid}"
    if process.name() == DOCKER_PROXY:
        return (
            "a container that publishes it (see 'docker ps'; a server of ml-pipeline is ended by "
            "'ml-pipeline stop' with the target docker)"
        )
    command_shown = (
        command if len(command) <= MAX_COMMAND_SHOWN else f"{command[:MAX_COMMAND_SHOWN]}..."
    )
    return f"pid {process.pid} ({command_shown})"


def describe_server(home: Path, environment: str) -> str:
    """Describe a server of ml-pipeline: its project, environment and home."""
    try:
        owner = owner_of(home)
    except EnvironmentFault:
        owner = None
    description = "a server of ml-pipeline" if owner is None else f"the server of {owner}"
    return f"{description}, environment {environment}, home {home}"


def own_server(port: int) -> tuple[Path, str] | None:
    """Return home and environment of a server of ml-pipeline on ``port``; None for others."""
    process = _listener(port)
    control = None if process is None else server_records.control_socket_of(process)
    return None if control is None else (control.parent.parent, control.name.rpartition("-")[0])


def _listener(port: int) -> psutil.Process | None:
    import psutil

    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return None
    for connection in connections:
        if connection.status != psutil.CONN_LISTEN or connection.pid is None:
            continue
        if connection.laddr and connection.laddr[1] == port:
            try:
                return psutil.Process(connection.pid)
            except psutil.NoSuchProcess:
                return None
    return None
