"""The pipe to the engine: JSON lines both ways."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Mapping
from typing import Any

from pytest_jenkinsfile import jvm
from pytest_jenkinsfile.errors import HarnessError

FRAMES = 3
"""Stack frames in the message of an internal error."""

Handler = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class Engine:
    """A Java process that runs scenarios; it starts with the first one."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(
        self, scenario: Mapping[str, Any], handlers: Mapping[str, Handler], on_line: Handler
    ) -> list[Mapping[str, Any]]:
        """Run a scenario; ``handlers`` respond to the requests of the engine, by kind.

        Raises:
            HarnessError: the engine failed.
        """
        self._send(scenario)
        failure: Exception | None = None
        while True:
            message = self._receive()
            if "done" in message:
                if failure is not None:
                    raise failure
                builds: list[Mapping[str, Any]] = message["done"]["builds"]
                return builds
            if "fault" in message:
                raise failure or HarnessError(
                    _summary(message["fault"]),
                    hint="a bug of pytest-jenkinsfile: report it with the script",
                )
            if "event" in message:
                on_line(message)
                continue
            try:
                reply = handlers[message["request"]](message)
            except Exception as error:  # noqa: BLE001  raised again when the engine has stopped
                failure = failure or error
                reply = {"abort": str(error)}
            self._send(reply)

    def close(self) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        with contextlib.suppress(OSError):
            _pipes(process)[0].close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _pipes(process)[1].close()

    def _send(self, message: Mapping[str, Any]) -> None:
        if self._process is None:
            self._process = jvm.start()
        stdin, _ = _pipes(self._process)
        try:
            stdin.write(json.dumps(message) + "\n")
            stdin.flush()
        except OSError as error:
            self.close()
            raise HarnessError(f"the Java process of the engine has ended: {error}") from None

    def _receive(self) -> Mapping[str, Any]:
        if self._process is None:
            raise HarnessError("the engine is closed")
        _, stdout = _pipes(self._process)
        line = stdout.readline()
        if not line:
            code = self._process.wait()
            self.close()
            raise HarnessError(
                f"the Java process of the engine ended with exit code {code}",
                hint="its error output is above",
            )
        message: Mapping[str, Any] = json.loads(line)
        return message


def _summary(trace: str) -> str:
    """Return the exception of a Java stack trace, and the first frames of the engine."""
    exception, *lines = trace.splitlines() or [""]
    frames = [line.strip() for line in lines if line.startswith("\tat jenkinsfile.")]
    return " ".join([exception, *frames[:FRAMES]])


def _pipes(process: subprocess.Popen[str]) -> tuple[Any, Any]:
    if process.stdin is None or process.stdout is None:
        raise HarnessError("the engine was started without pipes")
    return process.stdin, process.stdout
