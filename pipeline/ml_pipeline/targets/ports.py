"""Who holds a TCP port of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.home import owner_of
from ml_pipeline.targets import server_records

if TYPE_CHECKING:
    import psutil

LONGEST = 100
PROXY = "docker-proxy"
"""The engine's process for a port that a container publishes."""


def owner(port: int) -> str:
    """Return the process that listens on ``port``: its number and command, as far as visible."""
    import psutil

    ours = own_server(port)
    if ours is not None:
        return named(*ours)
    process = _listener(port)
    if process is None:
        return "a process of another user"
    try:
        command = " ".join(process.cmdline()) or process.name()
    except psutil.Error:
        return f"pid {process.pid}"
    if process.name() == PROXY:
        return (
            "a container that publishes it ('docker ps' names it; if it is ours, 'ml-pipeline "
            "stop' with the target docker ends it)"
        )
    shown = command if len(command) <= LONGEST else f"{command[:LONGEST]}..."
    return f"pid {process.pid} ({shown})"


def named(home: Path, environment: str) -> str:
    """Return in words whose server it is: its project, environment and home."""
    try:
        owner = owner_of(home)
    except EnvironmentFault:
        owner = None
    whose = "our own server" if owner is None else f"the server of {owner}"
    return f"{whose}, environment {environment}, home {home}"


def own_server(port: int) -> tuple[Path, str] | None:
    """Return home and environment of the server of ours on ``port``; None if it is none."""
    process = _listener(port)
    control = None if process is None else server_records.started_with(process)
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
