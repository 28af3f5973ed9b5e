"""Starts and ends server processes that outlive the process that deploys."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core import process_identity
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.subprocess_environment import inherited
from ml_pipeline.serving import control_socket
from ml_pipeline.targets.process import priority
from ml_pipeline.targets.server_exit import startup_error

if TYPE_CHECKING:
    import psutil

START_SECONDS = 60.0
END_SECONDS = 40.0
"""Longer than the server takes to drain, so that only a hung one is killed."""
HUNG_SECONDS = 2.0
"""Time to end for a server that does not respond and still holds the port."""
MAX_LOG = 10 << 20

JENKINS_COOKIE = {"JENKINS_NODE_COOKIE": "dontKillMe"}
"""Keeps Jenkins from ending the process with its build."""


@dataclass(frozen=True)
class StartedServer:
    """A server that has verified its bundle and listens on a loopback port."""

    pid: int
    started: str
    control: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def start(
    bundle: Bundle,
    version: int | None,
    *,
    host: str,
    token_env: str | None,
    key_env: str | None = None,
    settings: Sequence[str],
    log: Path,
    low_priority: bool = False,
) -> StartedServer:
    """Start a server, and wait until it has verified the bundle and responds.

    Args:
        bundle: the released copy.
        version: the registered version, if any.
        host: the public host it will serve on, for the rule about tokens.
        token_env: variable with the token, passed to the server.
        key_env: variable with the key of ``serving.redact``, passed to the server.
        settings: further arguments; see ``ml_pipeline.targets.server_arguments``.
        log: file for stdout and stderr, appended; the control socket is created beside it.
        low_priority: whether it starts with a low priority, until ``priority.restore``.

    Raises:
        Refused: the server rejects the bundle.
        EnvironmentFault: it ended or did not respond in time; has the log's last line.
    """
    path = log.with_name(f"{log.stem}-{secrets.token_hex(4)}.sock")
    command = [sys.executable, "-P", "-m", "ml_pipeline.serving"]
    command += ["--bundle", str(bundle.path), "--control", str(path), "--host", host]
    command += settings
    command += [] if version is None else ["--version", str(version)]
    command += [] if token_env is None else ["--token-env", token_env]
    if log.exists() and log.stat().st_size > MAX_LOG:
        log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as stream:
        before = stream.tell()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            cwd=log.parent,
            env=environment(token_env, key_env),
        )
    if low_priority:
        priority.lower(process.pid)
    try:
        status = _wait(process, path, log, before)
    except BaseException:
        process.kill()
        process.wait()
        path.unlink(missing_ok=True)
        raise
    process.returncode = 0  # not waited for by this process: avoids a ResourceWarning
    return StartedServer(
        process.pid, process_identity.start_of(process.pid), path, int(status["port"])
    )


def end(process: psutil.Process | None, seconds: float | None = None) -> None:
    """End a server after its open requests; kill it if it takes too long.

    Args:
        process: None if it has ended already.
        seconds: time to end; ``END_SECONDS`` if None.
    """
    import psutil

    if process is None:
        return
    try:
        process.terminate()
        if not _has_ended_within(process, END_SECONDS if seconds is None else seconds):
            process.kill()
            _has_ended_within(process, END_SECONDS)
    except psutil.NoSuchProcess:
        return


def _has_ended_within(process: psutil.Process, seconds: float) -> bool:
    """Wait until it has ended; a zombie that its parent never reaps counts as ended.

    Raises:
        psutil.NoSuchProcess: it had ended before.
    """
    import psutil

    deadline = time.monotonic() + seconds
    zombie = False
    while time.monotonic() < deadline:
        try:
            process.wait(0.05)
        except psutil.TimeoutExpired:
            if zombie:  # a child of this process would have been reaped by now
                return True
            zombie = process.status() == psutil.STATUS_ZOMBIE
        else:
            return True
    return False


def _wait(process: subprocess.Popen[bytes], path: Path, log: Path, before: int) -> dict[str, Any]:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise _start_error(process.returncode, log, before)
        if path.exists():
            try:
                return control_socket.send_command(path, "status")[0]
            except OSError:
                pass  # bound, but not listening yet
        time.sleep(0.01)
    raise EnvironmentFault(
        f"the server did not respond within {START_SECONDS:g} s", hint=f"see {log}"
    )


def _start_error(code: int, log: Path, before: int) -> Exception:
    with log.open("rb") as stream:
        stream.seek(before)
        output = stream.read(MAX_LOG).decode(errors="replace")
    return startup_error(code, output, hint=f"see {log}")


def environment(*secret_variables: str | None) -> Mapping[str, str]:
    """Return the environment of a process that outlives the command.

    It has the system's variables and these only: no secrets of a build, and none of the
    variables by which Jenkins finds the processes of a build to end them.
    """
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return inherited(*filter(None, secret_variables)) | single | JENKINS_COOKIE
