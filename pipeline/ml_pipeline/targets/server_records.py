"""What runs where, as ``home/servers/<environment>.json`` remembers it.

A process is identified by its pid and its start: a pid that the system gave to another process
since is never taken for a server, and never ended.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.core import documents, process_identity, workdir
from ml_pipeline.core.documents import DocumentError
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.targets.base import Deployment

if TYPE_CHECKING:
    import psutil

SCHEMA = "ml-pipeline/servers/1"


@dataclass(frozen=True)
class Server:
    """A server process and all that is needed to start the like of it again."""

    pid: int
    started: str
    """See ``ml_pipeline.core.process_identity``."""
    version: int | None
    digest: str
    bundle: str
    host: str
    asked_port: int
    """The port of the configuration, where 0 stands for any."""
    port: int
    control: str
    token_env: str | None
    settings: str
    """The other arguments that it was started with."""

    @property
    def url(self) -> str:
        return f"http://{address(self.host)}:{self.port}"

    @property
    def deployment(self) -> Deployment:
        return Deployment(
            url=self.url,
            version=self.version,
            digest=self.digest,
            pid=self.pid,
            bundle=Path(self.bundle),
        )

    def process(self) -> psutil.Process | None:
        """Return the running process; None if it has ended, or is not this home's server.

        A pid is another's after a while; and the record of a copied home is about the server of the
        home that was copied.
        """
        process = process_identity.running(self.pid, self.started)
        if process is None or _is_of_another_home(process, Path(self.control).parent):
            return None
        return process


@dataclass(frozen=True)
class State:
    """The server of an environment, and the one that waits while a handover is under way."""

    serving: Server | None = None
    former: Server | None = None


def address(host: str) -> str:
    """Return what a client on this machine connects to, as a URL spells it."""
    if host in ("0.0.0.0", ""):  # noqa: S104 - read, not bound
        return "127.0.0.1"
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host


def read(path: Path) -> State:
    """Return what the file says; nothing where there is none.

    Raises:
        EnvironmentFault: the file is not one that this module wrote.
    """
    try:
        values = documents.read_json(path)
    except FileNotFoundError:
        return State()
    except (OSError, DocumentError) as error:
        raise _unreadable(path, error) from None
    try:
        if values["schema"] != SCHEMA:
            raise _unreadable(path, f"schema {values['schema']!r}")
        return State(*(_server(values[name], path.parent) for name in ("serving", "former")))
    except (KeyError, TypeError) as error:
        raise _unreadable(path, error) from None


def write(path: Path, state: State) -> None:
    """Write the file whole; an empty state is no file."""
    if state == State():
        path.unlink(missing_ok=True)
        return
    values = {"schema": SCHEMA} | asdict(state)
    workdir.write_text(path, json.dumps(values, indent=2) + "\n")


def started_with(process: psutil.Process) -> Path | None:
    """Return the control socket that a server of ours was started with; None if it is none."""
    import psutil

    try:
        command = process.cmdline()
    except psutil.Error:
        return None
    if (
        not {"ml_pipeline.serving", "pipeline.serving"} & {*command}
        or "--control" not in command[:-1]
    ):
        return None
    return Path(command[command.index("--control") + 1])


def _is_of_another_home(process: psutil.Process, folder: Path) -> bool:
    """Return whether a server was started in another home, which is there still."""
    control = started_with(process)
    if control is None:
        return False
    try:
        return not control.parent.samefile(folder)
    except OSError:
        return False


def _server(values: dict[str, Any] | None, folder: Path) -> Server | None:
    """Return what was recorded; the control socket lies beside the record, wherever that went."""
    if values is None:
        return None
    control = folder / Path(str(values["control"])).name
    return Server(**process_identity.with_start(values | {"control": str(control)}))


def _unreadable(path: Path, why: object) -> EnvironmentFault:
    return EnvironmentFault(
        f"cannot read {path}: {why}",
        expected="the record of this environment's server",
        hint="end the server by hand if it runs, then remove the file",
    )
