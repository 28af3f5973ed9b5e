"""Whether this process runs in a container, with which all that it starts would end.

``ML_PROCESS_TARGET_IN_CONTAINER=allow`` permits the target process in a container that stays: a
development container, for example, or an agent that is a container itself and outlives its builds.

A marker alone is not believed: it lies in an unpacked image, too, that a machine was started from.
A container has numbers of processes of its own; Linux gives those of the machine itself the
namespace ``PROC_PID_INIT_INO`` (``include/linux/proc_ns.h``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

MACHINE = "pid:[4026531836]"
MARKERS = ("/.dockerenv", "/run/.containerenv")
ALLOW_VARIABLE = "ML_PROCESS_TARGET_IN_CONTAINER"
RUNTIME = re.compile(r"/(docker|containerd|kubepods|libpod|crio)[-/.]")


def container(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the marker of a container that may end, None outside one or where it is allowed."""
    if environment.get(ALLOW_VARIABLE) == "allow":
        return None
    try:
        if str((root / "proc/self/ns/pid").readlink()) == MACHINE:
            return None
    except OSError:
        pass  # not to be read here: the markers decide
    for marker in MARKERS:
        if (root / marker.lstrip("/")).exists():
            return marker
    if "KUBERNETES_SERVICE_HOST" in environment:
        return "KUBERNETES_SERVICE_HOST"
    try:
        groups = (root / "proc/self/cgroup").read_text()
    except OSError:
        return None
    return "/proc/self/cgroup" if RUNTIME.search(groups) else None
