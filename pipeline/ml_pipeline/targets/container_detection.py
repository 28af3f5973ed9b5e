"""Detects whether this process runs in a container, which ends all processes started in it.

``ML_PROCESS_TARGET_IN_CONTAINER=allow`` permits the process target in a long-lived container, such
as a development container or an agent container that outlives its builds.

A marker file alone is not sufficient: a machine started from an unpacked image has it, too. A
container has its own PID namespace; that of the host is ``PROC_PID_INIT_INO``
(``include/linux/proc_ns.h``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

HOST_PID_NAMESPACE = "pid:[4026531836]"
MARKERS = ("/.dockerenv", "/run/.containerenv")
ALLOW_VARIABLE = "ML_PROCESS_TARGET_IN_CONTAINER"
RUNTIME_CGROUP = re.compile(r"/(docker|containerd|kubepods|libpod|crio)[-/.]")


def container_marker(
    root: Path = Path("/"), environment: Mapping[str, str] = os.environ
) -> str | None:
    """Return the marker of a container; None outside one, or if the target is allowed in it."""
    if environment.get(ALLOW_VARIABLE) == "allow":
        return None
    try:
        if str((root / "proc/self/ns/pid").readlink()) == HOST_PID_NAMESPACE:
            return None
    except OSError:
        pass  # not readable: the markers decide
    for marker in MARKERS:
        if (root / marker.lstrip("/")).exists():
            return marker
    if "KUBERNETES_SERVICE_HOST" in environment:
        return "KUBERNETES_SERVICE_HOST"
    try:
        groups = (root / "proc/self/cgroup").read_text()
    except OSError:
        return None
    return "/proc/self/cgroup" if RUNTIME_CGROUP.search(groups) else None
