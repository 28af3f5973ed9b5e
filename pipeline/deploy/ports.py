"""Who holds a TCP port of this machine."""

from __future__ import annotations

LONGEST = 100


def owner(port: int) -> str:
    """Return the process that listens on ``port``: its number and command, as far as visible."""
    import psutil

    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        connections = []
    for connection in connections:
        if connection.status != psutil.CONN_LISTEN or connection.pid is None:
            continue
        if not connection.laddr or connection.laddr[1] != port:
            continue
        try:
            process = psutil.Process(connection.pid)
            command = " ".join(process.cmdline()) or process.name()
        except psutil.Error:
            return f"pid {connection.pid}"
        shown = command if len(command) <= LONGEST else f"{command[:LONGEST]}..."
        return f"pid {connection.pid} ({shown})"
    return "a process of another user"
