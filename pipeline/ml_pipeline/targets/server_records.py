"""Records of server processes: ``home/servers/<environment>.json``.

A process is identified by its pid and start time, so a process that reuses the pid is never
treated as a server, and never ended.
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
class ServerRecord:
    """A server process and the settings that it was started with."""

    pid: int
    started: str
    """See ``ml_pipeline.core.process_identity``."""
    version: int | None
    digest: str
    bundle: str
    host: str
    asked_port: int
    """The configured port; 0 is any free port."""
    port: int
    control: str
    token_env: str | None
    settings: str
    """The other arguments of the server."""

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
        """Return the running process; None if it has ended, or belongs to another home.

        The system reuses pids, and the record in a copied home is about the server of the original
        home.
        """
        process = process_identity.running(self.pid, self.started)
        if process is None or _belongs_to_another_home(process, Path(self.control).parent):
            return None
        return process


@dataclass(frozen=True)
class EnvironmentRecord:
    """The server of an environment, and the former one during a handover."""

    serving: ServerRecord | None = None
    former: ServerRecord | None = None


def address(host: str) -> str:
    """Return the host that a client on this machine connects to, in URL notation."""
    if host in ("0.0.0.0", ""):  # noqa: S104 - read, not bound
        return "127.0.0.1"
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host


def read(path: Path) -> EnvironmentRecord:
    """Return the record; an empty one if the file does not exist.

    Raises:
        EnvironmentFault: the file is not a valid record.
    """
    try:
        values = documents.read_json(path)
    except FileNotFoundError:
        return EnvironmentRecord()
    except (OSError, DocumentError) as error:
        raise _invalid_record(path, error) from None
    try:
        if values["schema"] != SCHEMA:
            raise _invalid_record(path, f"schema {values['schema']!r}")
        return EnvironmentRecord(
            *(_parse_server(values[name], path.parent) for name in ("serving", "former"))
        )
    except (KeyError, TypeError) as error:
        raise _invalid_record(path, error) from None


def write(path: Path, state: EnvironmentRecord) -> None:
    """Write the file atomically; remove it if the record is empty."""
    if state == EnvironmentRecord():
        path.unlink(missing_ok=True)
        return
    values = {"schema": SCHEMA} | asdict(state)
    workdir.write_text(path, json.dumps(values, indent=2) + "\n")


def control_socket_of(process: psutil.Process) -> Path | None:
    """Return the control socket of a server process; None for other processes."""
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


def _belongs_to_another_home(process: psutil.Process, folder: Path) -> bool:
    """Return whether the server was started for another home that still exists."""
    control = control_socket_of(process)
    if control is None:
        return False
    try:
        return not control.parent.samefile(folder)
    except OSError:
        return False


def _parse_server(values: dict[str, Any] | None, folder: Path) -> ServerRecord | None:
    """Return the recorded server; its control socket is in the folder of the record."""
    if values is None:
        return None
    control = folder / Path(str(values["control"])).name
    return ServerRecord(**process_identity.with_start(values | {"control": str(control)}))


def _invalid_record(path: Path, why: object) -> EnvironmentFault:
    return EnvironmentFault(
        f"cannot read {path}: {why}",
        expected="the record of this environment's server",
        hint="end the server if it runs, then remove the file",
    )
