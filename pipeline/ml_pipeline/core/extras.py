"""The packages of this distribution's extras, as a command that installs them."""

from __future__ import annotations

import shlex
from importlib import metadata

from packaging.requirements import Requirement

DISTRIBUTION = "jenkins-ml-pipeline"


def install_command(extra: str) -> str:
    """Return the command that installs what an extra adds.

    It names the packages themselves: this distribution need not be on the index that pip asks.
    """
    declared = [Requirement(text) for text in metadata.requires(DISTRIBUTION) or ()]
    added = [
        f"{one.name}{_extras(one)}{one.specifier}"
        for one in declared
        if one.marker is not None
        and one.marker.evaluate({"extra": extra})
        and not one.marker.evaluate({"extra": ""})
    ]
    return f"pip install {shlex.join(added)}"


def _extras(requirement: Requirement) -> str:
    return f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
