"""The command ``kubectl``: its calls as lists of words, and what they answer as values."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ml_pipeline.core.errors import EnvironmentFault

PROGRAM = "kubectl"
FIELD_MANAGER = "ml-pipeline"
SECONDS = 60.0
"""Time for a call to end; that of a rollout is added."""
FORWARD_SECONDS = 20.0
OUTPUT = 1 << 16
FORWARDING = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) ->")

Object = dict[str, Any]


class Kubectl:
    """A namespace of the cluster that a context of the kubeconfig names."""

    def __init__(self, context: str | None, namespace: str) -> None:
        self.namespace = namespace
        self._words = [PROGRAM, "--namespace", namespace]
        self._words += [] if context is None else ["--context", context]

    def get(self, kind: str, name: str) -> Object | None:
        """Return an object, None where there is none. Raises EnvironmentFault as all here do."""
        text = self._told("get", kind, name, "--ignore-not-found", "--output", "json")
        return self._parsed(text) if text.strip() else None

    def named(self, kinds: Sequence[str], name: str) -> list[Object]:
        """Return the objects of this name, of whatever kind among these."""
        things = [f"{kind}/{name}" for kind in kinds]
        text = self._told("get", *things, "--ignore-not-found", "--output", "json")
        if not text.strip():
            return []
        found = self._parsed(text)
        return list(found["items"]) if found.get("kind") == "List" else [found]

    def find(self, kind: str, labels: Mapping[str, str]) -> list[Object]:
        text = self._told("get", kind, "--selector", _selector(labels), "--output", "json")
        items = self._parsed(text).get("items")
        return items if isinstance(items, list) else []

    def apply(self, documents: Sequence[Object]) -> None:
        """Make objects as they are written, on the server's side."""
        self._told(
            *("apply", "--server-side", "--force-conflicts", "--field-manager", FIELD_MANAGER),
            *("--filename", "-"),
            given=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(documents)}),
        )

    def rolled_out(self, deployment: str, seconds: int) -> bool:
        """Wait so long for all servers of a deployment; say whether they are ready."""
        words = ("rollout", "status", f"deployment/{deployment}", "--timeout", f"{seconds}s")
        return self._run(words, seconds=SECONDS + seconds).returncode == 0

    def replace_if(self, kind: str, name: str, path: str, *, old: str, new: str) -> bool:
        """Change one value, unless it is no longer what it was; say whether it was changed."""
        steps = [
            {"op": "test", "path": path, "value": old},
            {"op": "replace", "path": path, "value": new},
        ]
        words = ("patch", kind, name, "--type", "json", "--field-manager", FIELD_MANAGER)
        done = self._run((*words, "--patch", json.dumps(steps)))
        if done.returncode and self._value(kind, name, path) != old:
            return False
        self._check(words, done)
        return True

    def _value(self, kind: str, name: str, path: str) -> Any:
        found: Any = self.get(kind, name)
        for key in path.strip("/").split("/"):
            found = found.get(key) if isinstance(found, dict) else None
        return found

    def delete(self, kinds: Sequence[str], labels: Mapping[str, str]) -> None:
        """Delete all objects with these labels; servers end their requests meanwhile."""
        words = ("delete", ",".join(kinds), "--selector", _selector(labels), "--wait=false")
        self._told(*words, "--ignore-not-found")

    @contextmanager
    def forwarded(self, target: str, port: int | str) -> Iterator[str]:
        """Yield an address of this machine that reaches a server of ``service/NAME``, say."""
        words = [*self._words, "port-forward", "--address", "127.0.0.1", target, f":{port}"]
        with tempfile.TemporaryFile() as output, self._started(words, output) as process:
            try:
                yield f"http://127.0.0.1:{_port(process, output, target)}"
            finally:
                process.terminate()
                process.wait()

    # --- calls --------------------------------------------------------------------------------

    def _told(self, *words: str, given: str | None = None) -> str:
        done = self._run(words, given)
        self._check(words, done)
        return done.stdout

    def _run(
        self, words: Sequence[str], given: str | None = None, seconds: float = SECONDS
    ) -> subprocess.CompletedProcess[str]:
        with _missing():
            try:
                return subprocess.run(
                    [*self._words, *words],
                    input="" if given is None else given,
                    capture_output=True,
                    text=True,
                    env=_environment(),
                    timeout=seconds,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise EnvironmentFault(
                    f"kubectl {words[0]} did not end within {seconds:g} s",
                    hint="see whether the cluster answers: kubectl cluster-info",
                ) from None

    def _check(self, words: Sequence[str], done: subprocess.CompletedProcess[str]) -> None:
        if done.returncode == 0:
            return
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise EnvironmentFault(
            f"kubectl {words[0]}: {lines[-1].removeprefix('error: ')}",
            expected=f"a cluster that answers and lets you work in namespace {self.namespace}",
        )

    def _parsed(self, text: str) -> Object:
        try:
            found = json.loads(text)
        except ValueError as error:
            raise EnvironmentFault(f"kubectl get answers no JSON: {error}") from None
        if not isinstance(found, dict):
            raise EnvironmentFault("kubectl get answers no object")
        return found

    @contextmanager
    def _started(self, words: Sequence[str], output: Any) -> Iterator[subprocess.Popen[bytes]]:
        with (
            _missing(),
            subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environment(),
            ) as process,
        ):
            yield process


@contextmanager
def _missing() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        if error.filename != PROGRAM:
            raise
        raise EnvironmentFault(
            "kubectl is not installed", hint="install it where 'deploy' and 'promote' run"
        ) from None


def _environment() -> dict[str, str]:
    return os.environ | {"LC_ALL": "C"}


def _selector(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={text}" for key, text in labels.items())


def _port(process: subprocess.Popen[bytes], output: Any, target: str) -> int:
    """Wait until kubectl says at which port it listens."""
    deadline = time.monotonic() + FORWARD_SECONDS
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        text = os.pread(output.fileno(), OUTPUT, 0).decode(errors="replace")
        if found := FORWARDING.search(text):
            return int(found[1])
        if ended:
            last = (text.strip().splitlines() or ["it ended"])[-1].removeprefix("error: ")
            raise EnvironmentFault(f"kubectl port-forward {target}: {last}")
        time.sleep(0.02)
    raise EnvironmentFault(f"kubectl port-forward {target} did not begin in time")
