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
"""Time for the reader to end, in addition to the challenger's timeout."""


@dataclass(frozen=True)
class ReaderProcess:
    """The process that sends the copies to the challenger, and the server's control socket."""

    pid: int
    started: str
    """See ``ml_pipeline.core.process_identity``."""
    control: str
    timeout: float
    records: str

    @classmethod
    def of(cls, values: dict[str, Any]) -> ReaderProcess:
        """Return the reader from the output of ``to_json``."""
        return cls(**process_identity.with_start(values))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def counts(self) -> CopyCounts | None:
        return self._command("mirror")

    def end(self) -> CopyCounts | None:
        """End the copying, and wait until the last response is recorded."""
        counts = self._command("unmirror")
        process = self._process()
        if process is not None:
            import psutil

            try:
                process.wait(self.timeout + LAST_SECONDS)
            except psutil.TimeoutExpired:
                process.kill()
        return counts

    def _command(self, command: str) -> CopyCounts | None:
        try:
            reply, _ = control_socket.send_command(Path(self.control), command)
        except OSError:
            return None
        return counts_of(reply)

    def _process(self) -> psutil.Process | None:
        return process_identity.running(self.pid, self.started)


def counts_of(reply: dict[str, Any]) -> CopyCounts | None:
    """Return the counts in a server's reply; None if it does not copy."""
    return CopyCounts(int(reply["offered"]), int(reply["dropped"])) if "offered" in reply else None


def start(server: str, records: Path, spec: ShadowSpec) -> ReaderProcess:
    """Start a reader, which outlives this command, and let the server copy to it.

    Args:
        server: path of its control socket.
        records: file for the records; the reader's settings and log are written beside it.
        spec: the live shadow.

    Raises:
        EnvironmentFault: the server does not respond, or the system does not support it.
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
        server_end, reader_end = mirror.socket_pair()
    except OSError as error:
        raise EnvironmentFault(f"this system cannot copy requests: {error}") from None
    with server_end, reader_end:
        pid, started = _start_reader(records.with_suffix(""), settings, reader_end)
        reader_end.close()
        try:
            control_socket.send_command(Path(server), "mirror", server_end, share=spec.share)
        except OSError as error:
            raise EnvironmentFault(f"production does not copy its requests: {error}") from None
    return ReaderProcess(pid, started, server, spec.timeout, str(records))


def _start_reader(
    base_path: Path, settings: MirrorReaderSettings, queue: socket.socket
) -> tuple[int, str]:
    config = workdir.write_text(base_path.with_suffix(".settings.json"), settings.to_json())
    command = [sys.executable, "-P", "-m", "ml_pipeline.traffic.mirror_reader"]
    with base_path.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(
            [*command, str(config), str(queue.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=base_path.parent,
            env=dict(server_process.environment(settings.token_env)),
            pass_fds=[queue.fileno()],
        )
    process.returncode = 0  # not waited for by this process: avoids a ResourceWarning
    return process.pid, process_identity.start_of(process.pid)
