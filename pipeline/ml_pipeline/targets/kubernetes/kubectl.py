"""Calls of the command ``kubectl``, with parsed results."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ml_pipeline.core.errors import EnvironmentFault

PROGRAM = "kubectl"
FIELD_MANAGER = "ml-pipeline"
SECONDS = 60.0
"""Timeout of a call; for a rollout its own timeout is added."""
FORWARD_SECONDS = 20.0
EXEC_SECONDS = 600.0
"""Longest time of a command in a container."""
OUTPUT = 1 << 16
FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) ->")

Object = dict[str, Any]


class Kubectl:
    """A namespace of the cluster of a kubeconfig context.

    All methods raise EnvironmentFault if kubectl is not installed, fails or takes too long.
    """

    def __init__(self, context: str | None, namespace: str) -> None:
        self.namespace = namespace
        self._command = [PROGRAM, "--namespace", namespace]
        self._command += [] if context is None else ["--context", context]

    def get(self, kind: str, name: str) -> Object | None:
        """Return an object; None if it does not exist."""
        text = self._output("get", kind, name, "--ignore-not-found", "--output", "json")
        return self._parse(text) if text.strip() else None

    def get_named(self, kinds: Sequence[str], name: str) -> list[Object]:
        """Return the objects of this name of any of these kinds."""
        things = [f"{kind}/{name}" for kind in kinds]
        text = self._output("get", *things, "--ignore-not-found", "--output", "json")
        if not text.strip():
            return []
        content = self._parse(text)
        return list(content["items"]) if content.get("kind") == "List" else [content]

    def find(self, kind: str, labels: Mapping[str, str]) -> list[Object]:
        text = self._output("get", kind, "--selector", _selector(labels), "--output", "json")
        items = self._parse(text).get("items")
        return items if isinstance(items, list) else []

    def apply(self, documents: Sequence[Object]) -> None:
        """Apply objects (server-side apply)."""
        self._output(
            *("apply", "--server-side", "--force-conflicts", "--field-manager", FIELD_MANAGER),
            *("--filename", "-"),
            stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)}),
        )

    def wait_for_rollout(self, deployment: str, seconds: int) -> bool:
        """Wait for all pods of a deployment; return whether they are ready."""
        arguments = ("rollout", "status", f"deployment/{deployment}", "--timeout", f"{seconds}s")
        return self._run(arguments, seconds=SECONDS + seconds).returncode == 0

    def replace_if(self, kind: str, name: str, path: str, *, old: str, new: str) -> bool:
        """Change one value if it is still ``old``; return whether it was changed."""
        steps = [
            {"op": "test", "path": path, "value": old},
            {"op": "replace", "path": path, "value": new},
        ]
        arguments = ("patch", kind, name, "--type", "json", "--field-manager", FIELD_MANAGER)
        completed = self._run((*arguments, "--patch", json.dumps(steps)))
        if completed.returncode and self._value(kind, name, path) != old:
            return False
        self._check(arguments, completed)
        return True

    def _value(self, kind: str, name: str, path: str) -> Any:
        content: Any = self.get(kind, name)
        for key in path.strip("/").split("/"):
            content = content.get(key) if isinstance(content, dict) else None
        return content

    def delete(self, kinds: Sequence[str], labels: Mapping[str, str]) -> None:
        """Delete all objects with these labels without waiting."""
        arguments = ("delete", ",".join(kinds), "--selector", _selector(labels), "--wait=false")
        self._output(*arguments, "--ignore-not-found")

    @contextmanager
    def forwarded(self, target: str, port: int | str) -> Iterator[str]:
        """Yield a local URL that is forwarded to ``target``, for example ``service/NAME``."""
        arguments = [*self._command, "port-forward", "--address", "127.0.0.1", target, f":{port}"]
        with tempfile.TemporaryFile() as output, self._started(arguments, output) as process:
            try:
                yield f"http://127.0.0.1:{_forwarded_port(process, output, target)}"
            finally:
                process.terminate()
                process.wait()

    def output_of(self, pod: str, container: str, command: Sequence[str]) -> Iterator[bytes]:
        """Run a command in a container and yield its standard output in chunks."""
        arguments = ["exec", pod, "--container", container, "--", *command]
        with (
            tempfile.TemporaryFile() as errors,
            _kubectl_installed(),
            subprocess.Popen(
                [*self._command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=_environment(),
            ) as process,
        ):
            assert process.stdout is not None
            timer = threading.Timer(EXEC_SECONDS, process.kill)
            timer.start()
            try:
                while chunk := process.stdout.read(OUTPUT):
                    yield chunk
                code = process.wait()
            finally:
                timer.cancel()
                process.kill()
            if code:
                errors.seek(0)
                lines = errors.read().decode(errors="replace").strip().splitlines()
                raise EnvironmentFault(
                    f"kubectl exec {pod}: {lines[-1] if lines else f'exit code {code}'}",
                    expected=f"the verb create on pods/exec in namespace {self.namespace}",
                )

    # --- calls --------------------------------------------------------------------------------

    def _output(self, *arguments: str, stdin: str | None = None) -> str:
        completed = self._run(arguments, stdin)
        self._check(arguments, completed)
        return completed.stdout

    def _run(
        self, arguments: Sequence[str], stdin: str | None = None, seconds: float = SECONDS
    ) -> subprocess.CompletedProcess[str]:
        with _kubectl_installed():
            try:
                return subprocess.run(
                    [*self._command, *arguments],
                    input="" if stdin is None else stdin,
                    capture_output=True,
                    text=True,
                    env=_environment(),
                    timeout=seconds,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise EnvironmentFault(
                    f"kubectl {arguments[0]} did not end within {seconds:g} s",
                    hint="check that the cluster responds: kubectl cluster-info",
                ) from None

    def _check(self, arguments: Sequence[str], completed: subprocess.CompletedProcess[str]) -> None:
        if completed.returncode == 0:
            return
        lines = completed.stderr.strip().splitlines() or [f"exit code {completed.returncode}"]
        raise EnvironmentFault(
            f"kubectl {arguments[0]}: {lines[-1].removeprefix('error: ')}",
            expected=f"a cluster that responds, and access to namespace {self.namespace}",
        )

    def _parse(self, text: str) -> Object:
        try:
            content = json.loads(text)
        except ValueError as error:
            raise EnvironmentFault(f"the output of kubectl get is not JSON: {error}") from None
        if not isinstance(content, dict):
            raise EnvironmentFault("the output of kubectl get is not an object")
        return content

    @contextmanager
    def _started(self, arguments: Sequence[str], output: Any) -> Iterator[subprocess.Popen[bytes]]:
        with (
            _kubectl_installed(),
            subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environment(),
            ) as process,
        ):
            yield process


@contextmanager
def _kubectl_installed() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        if error.filename != PROGRAM:
            raise
        raise EnvironmentFault(
            "kubectl is not installed",
            hint="install it on the machine that runs 'deploy' and 'promote'",
        ) from None


def _environment() -> dict[str, str]:
    return os.environ | {"LC_ALL": "C"}


def _selector(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={text}" for key, text in labels.items())


def _forwarded_port(process: subprocess.Popen[bytes], output: Any, target: str) -> int:
    """Wait until kubectl prints the local port."""
    deadline = time.monotonic() + FORWARD_SECONDS
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        text = os.pread(output.fileno(), OUTPUT, 0).decode(errors="replace")
        if match := FORWARDING.search(text):
            return int(match[1])
        if ended:
            last = (text.strip().splitlines() or ["it ended"])[-1].removeprefix("error: ")
            raise EnvironmentFault(f"kubectl port-forward {target}: {last}")
        time.sleep(0.02)
    raise EnvironmentFault(f"kubectl port-forward {target} did not start in time")
