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
"""So long has one that answers nobody: while it holds the port, nobody else does."""
MAX_LOG = 10 << 20

LEFT_ALONE = {"JENKINS_NODE_COOKIE": "dontKillMe"}
"""Tells Jenkins not to end the process with its build."""


@dataclass(frozen=True)
class Started:
    """A verified server that answers on a loopback port of its own."""

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
    settings: Sequence[str],
    log: Path,
    gives_way: bool = False,
) -> Started:
    """Start a server and wait until it has verified the bundle and answers.

    Args:
        bundle: the released copy, which stays where it is.
        version: told to clients.
        host: the public address it will serve at, for the rule about tokens.
        token_env: names the variable with the token, the one that goes along.
        settings: further arguments; see ``ml_pipeline.targets.server_arguments``.
        log: stdout and stderr of the server, appended; its control socket lies beside it.
        gives_way: whether it starts at a low priority, which
            ``ml_pipeline.targets.process.priority`` ends.

    Raises:
        Refused: the server rejects the bundle.
        EnvironmentFault: it ended or did not answer in time; the log's last line is told.
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
            env=environment(token_env),
        )
    if gives_way:
        priority.lower(process.pid)
    try:
        facts = _wait(process, path, log, before)
    except BaseException:
        process.kill()
        process.wait()
        path.unlink(missing_ok=True)
        raise
    process.returncode = 0  # it is the system's to wait for from here on, no child to be warned of
    return Started(process.pid, process_identity.start_of(process.pid), path, int(facts["port"]))


def end(process: psutil.Process | None, seconds: float | None = None) -> None:
    """Let a server finish its requests and end; kill it if it has not in time.

    Args:
        process: None has ended already.
        seconds: that it has for it; None is ``END_SECONDS``.
    """
    import psutil

    if process is None:
        return
    try:
        process.terminate()
        if not _ends(process, END_SECONDS if seconds is None else seconds):
            process.kill()
            _ends(process, END_SECONDS)
    except psutil.NoSuchProcess:
        return


def _ends(process: psutil.Process, seconds: float) -> bool:
    """Wait until it has ended; a zombie that no parent reaps counts as ended.

    Raises:
        psutil.NoSuchProcess: it has ended before.
    """
    import psutil

    deadline = time.monotonic() + seconds
    zombie = False
    while time.monotonic() < deadline:
        try:
            process.wait(0.05)
        except psutil.TimeoutExpired:
            if zombie:  # a child of our own would be gone by now: another's
                return True
            zombie = process.status() == psutil.STATUS_ZOMBIE
        else:
            return True
    return False


def _wait(process: subprocess.Popen[bytes], path: Path, log: Path, before: int) -> dict[str, Any]:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise _failed(process.returncode, log, before)
        if path.exists():
            try:
                return control_socket.send_command(path, "status")[0]
            except OSError:
                pass  # bound, and not yet listening
        time.sleep(0.01)
    raise EnvironmentFault(
        f"the server did not answer within {START_SECONDS:g} s", hint=f"see {log}"
    )


def _failed(code: int, log: Path, before: int) -> Exception:
    with log.open("rb") as stream:
        stream.seek(before)
        output = stream.read(MAX_LOG).decode(errors="replace")
    return startup_error(code, output, hint=f"see {log}")


def environment(token_env: str | None) -> Mapping[str, str]:
    """Return the variables that a process gets which outlives the command.

    They are the system's and the token's: the secrets of a build stay with the build, and nothing
    marks the server as a part of one that ends (Jenkins goes by variables).
    """
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return inherited(*([token_env] if token_env else [])) | single | LEFT_ALONE
