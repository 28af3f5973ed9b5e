"""The live shadow of a server process: a reader process beside it, on this machine."""

from __future__ import annotations

import socket
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.core import process_identity, workdir
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.serving import control_socket, mirror
from ml_pipeline.targets.base import CopyCounts, ShadowSpec
from ml_pipeline.targets.process import server_process
from ml_pipeline.traffic.mirror_reader import MirrorReaderSettings

if TYPE_CHECKING:
    import psutil

LAST_SECONDS = 10.0
"""After the longest wait for the challenger, for the reader to end."""


@dataclass(frozen=True)
class Reader:
    """The process that asks the challenger, and the server's control socket."""

    pid: int
    started: str
    """See ``ml_pipeline.core.process_identity``."""
    control: str
    timeout: float
    records: str

    @classmethod
    def of(cls, values: dict[str, Any]) -> Reader:
        """Return the reader that ``to_json`` told of."""
        return cls(**process_identity.with_start(values))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def counts(self) -> CopyCounts | None:
        return self._told("mirror")

    def end(self) -> CopyCounts | None:
        """End the copying, and wait until the last answer is written down."""
        counts = self._told("unmirror")
        process = self._process()
        if process is not None:
            import psutil

            try:
                process.wait(self.timeout + LAST_SECONDS)
            except psutil.TimeoutExpired:
                process.kill()
        return counts

    def _told(self, command: str) -> CopyCounts | None:
        try:
            told, _ = control_socket.send_command(Path(self.control), command)
        except OSError:
            return None
        return counts_of(told)

    def _process(self) -> psutil.Process | None:
        return process_identity.running(self.pid, self.started)


def counts_of(told: dict[str, Any]) -> CopyCounts | None:
    """Return the counts that a server told; None where it does not copy."""
    return CopyCounts(int(told["offered"]), int(told["dropped"])) if "offered" in told else None


def start(server: str, records: Path, spec: ShadowSpec) -> Reader:
    """Start a reader, which outlives this command, and let the server copy to it.

    Args:
        server: its control socket.
        records: the file that is made, with settings and log of the reader beside it.
        spec: what goes where.

    Raises:
        EnvironmentFault: the server does not answer its control socket, or the system lacks it.
    """
    token_env = spec.challenger.serving.token_env
    workdir.write_text(records, "")
    records.chmod(0o600)
    settings = MirrorReaderSettings(
        url=spec.served.url,
        version=spec.served.version,
        timeout=spec.timeout,
        positions=spec.positions,
        contract=spec.contract,
        task=spec.task,
        records=str(records),
        token_env=token_env,
    )
    try:
        ours, theirs = mirror.socket_pair()
    except OSError as error:
        raise EnvironmentFault(f"this system cannot copy requests: {error}") from None
    with ours, theirs:
        pid, started = _reader(records.with_suffix(""), settings, theirs)
        theirs.close()
        try:
            control_socket.send_command(Path(server), "mirror", ours, share=spec.share)
        except OSError as error:
            raise EnvironmentFault(f"production does not copy its requests: {error}") from None
    return Reader(pid, started, server, spec.timeout, str(records))


def _reader(place: Path, settings: MirrorReaderSettings, queue: socket.socket) -> tuple[int, str]:
    config = workdir.write_text(place.with_suffix(".settings.json"), settings.to_json())
    command = [sys.executable, "-P", "-m", "ml_pipeline.traffic.mirror_reader"]
    with place.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(
            [*command, str(config), str(queue.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=place.parent,
            env=dict(server_process.environment(settings.token_env)),
            pass_fds=[queue.fileno()],
        )
    process.returncode = 0  # it is the system's to wait for from here on
    return process.pid, process_identity.start_of(process.pid)
