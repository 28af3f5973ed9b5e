"""Why pods are not ready, from what the cluster says of them."""

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
"""Reasons that do not pass by themselves, and what helps."""


@dataclass(frozen=True)
class Fault:
    """What is wrong with a pod."""

    text: str
    error: PipelineError
    hopeless: bool
    """Whether waiting longer helps nothing."""


def faults(pods: Sequence[dict[str, Any]]) -> list[Fault]:
    """Return what is wrong with the pods that are not ready, the hopeless first."""
    found = [fault for pod in pods for fault in _of(pod.get("status", {}))]
    return sorted(found, key=lambda fault: not fault.hopeless)


def _of(status: dict[str, Any]) -> Iterator[Fault]:
    for condition in status.get("conditions", ()):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            yield _passing(f"no node takes it: {condition.get('message', 'no reason told')}")
    for container in status.get("containerStatuses", ()):
        if container.get("ready"):
            continue
        for state in (container.get("state", {}), container.get("lastState", {})):
            if "terminated" in state:
                yield _ended(state["terminated"])
            elif state.get("waiting", {}).get("reason") not in (None, "ContainerCreating"):
                yield _waits(state["waiting"])


def _ended(state: dict[str, Any]) -> Fault:
    code = state.get("exitCode")
    if state.get("reason") == "OOMKilled":
        return _passing("a server needs more memory than it may take: environments.NAME.memory")
    error = startup_error(code, str(state.get("message", "")))
    return Fault(error.fault, error, hopeless=is_permanent(code))


def _waits(state: dict[str, Any]) -> Fault:
    reason = str(state["reason"])
    text = f"{reason}: {state.get('message', 'no more is told')}"
    error = EnvironmentFault(text, hint=HINTS.get(reason, ""))
    return Fault(text, error, hopeless=reason in HINTS)


def _passing(text: str) -> Fault:
    return Fault(text, EnvironmentFault(text), hopeless=False)
