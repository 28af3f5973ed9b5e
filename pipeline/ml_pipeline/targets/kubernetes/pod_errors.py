"""Errors of pods that are not ready, from their status."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ml_pipeline.core.errors import EnvironmentFault, PipelineError
from ml_pipeline.targets.server_exit import is_permanent, startup_error

HINTS = {
    "ImagePullBackOff": "'ml-pipeline package --push' puts the image there; a private registry "
    "needs environments.NAME.kubernetes.pull_secret",
    "InvalidImageName": "see environments.NAME.kubernetes.repository",
    "CreateContainerConfigError": "make the Secret with the token: see docs/how-to/kubernetes.md",
}
"""Reasons that need an action, and the hint."""


@dataclass(frozen=True)
class PodError:
    """An error of a pod."""

    text: str
    error: PipelineError
    permanent: bool
    """Whether waiting cannot help."""


def find_errors(pods: Sequence[dict[str, Any]]) -> list[PodError]:
    """Return the errors of the pods that are not ready, permanent ones first."""
    found = [error for pod in pods for error in _of(pod.get("status", {}))]
    return sorted(found, key=lambda error: not error.permanent)


def _of(status: dict[str, Any]) -> Iterator[PodError]:
    for condition in status.get("conditions", ()):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            yield _transient(f"not scheduled: {condition.get('message', 'no reason given')}")
    for container in status.get("containerStatuses", ()):
        if container.get("ready"):
            continue
        for state in (container.get("state", {}), container.get("lastState", {})):
            if "terminated" in state:
                yield _ended(state["terminated"])
            elif state.get("waiting", {}).get("reason") not in (None, "ContainerCreating"):
                yield _waiting(state["waiting"])


def _ended(state: dict[str, Any]) -> PodError:
    code = state.get("exitCode")
    if state.get("reason") == "OOMKilled":
        return _transient("a server ran out of memory; raise environments.NAME.memory")
    error = startup_error(code, str(state.get("message", "")))
    return PodError(error.fault, error, permanent=is_permanent(code))


def _waiting(state: dict[str, Any]) -> PodError:
    reason = str(state["reason"])
    text = f"{reason}: {state.get('message', 'no message')}"
    error = EnvironmentFault(text, hint=HINTS.get(reason, ""))
    return PodError(text, error, permanent=reason in HINTS)


def _transient(text: str) -> PodError:
    return PodError(text, EnvironmentFault(text), permanent=False)
