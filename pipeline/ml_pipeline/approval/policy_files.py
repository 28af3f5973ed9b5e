"""The policy files in force, in order: the administrators' first, then those that tighten it.

The administrators' file of a machine has a fixed path, which no variable, argument or Jenkinsfile
replaces. ``ML_POLICY`` belongs to the administrators too; on Jenkins the library takes its value
from Jenkins' own configuration. Everything else is chosen by the user who starts the command.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ml_pipeline.approval import policy
from ml_pipeline.approval.policy import Policy, PolicyFiles
from ml_pipeline.core.errors import UsageError

SYSTEM_POLICY = Path("/etc/ml-pipeline/policy.yaml")
"""The administrators' file of this machine, or of a container that mounts it."""

ADMINISTRATORS = "ML_POLICY"
JOB = "ML_JOB_POLICY"
ARGUMENT = "--policy"
UNSET = "-"
"""Value of ``ML_POLICY`` from the Jenkins library if Jenkins' configuration sets none."""


@dataclass(frozen=True)
class PolicyFile:
    """A policy file: its path, and the variable or argument that names it."""

    named_by: str
    path: Path
    of_administrators: bool

    @property
    def is_writable(self) -> bool:
        """Return whether the user of this process could change or replace it."""
        return os.access(self.path, os.W_OK) or os.access(self.path.parent, os.W_OK)


def find(environment: Mapping[str, str], argument: str | None) -> tuple[PolicyFile, ...]:
    """Return the policy files of this machine, the environment and the argument ``--policy``.

    Raises:
        UsageError: a variable or the argument is empty, or a variable's name is not in upper case.
    """
    for name in environment:
        if name.upper() in (ADMINISTRATORS, JOB) and name != name.upper():
            raise UsageError(
                f"the environment variable {name} is set", expected=f"the name {name.upper()}"
            )
    values = {name: environment.get(name) for name in (ADMINISTRATORS, JOB)} | {ARGUMENT: argument}
    if values[ADMINISTRATORS] == UNSET:
        values[ADMINISTRATORS] = None
    if empty := [name for name, file in values.items() if file == ""]:
        raise UsageError(f"{empty[0]} is empty", expected="a file", hint="set it or unset it")
    system = [PolicyFile(str(SYSTEM_POLICY), SYSTEM_POLICY, True)] if _has_system_policy() else []
    return (
        *system,
        *(
            PolicyFile(name, Path(file).resolve(), name == ADMINISTRATORS)
            for name, file in values.items()
            if file is not None
        ),
    )


def in_order(files: tuple[PolicyFile, ...]) -> PolicyFiles:
    """Return the paths as ``policy.minimum`` takes them: the administrators' file or None first."""
    paths = tuple(file.path for file in files)
    return paths if files and files[0].of_administrators else (None, *paths)


def describe(files: tuple[PolicyFile, ...]) -> str:
    """Return the files in force, as one line."""
    if not files:
        return "the built-in minimum"
    names = [
        str(file.path) if file.named_by == str(file.path) else f"{file.path} ({file.named_by})"
        for file in files
    ]
    first = "" if files[0].of_administrators else "the built-in minimum, tightened by "
    return first + ", tightened by ".join(names)


def read(files: tuple[PolicyFile, ...]) -> Policy:
    """Return the policy of the files; raises UsageError as ``policy.minimum`` does."""
    return policy.minimum(in_order(files))


def _has_system_policy() -> bool:
    """Return whether a system policy exists; one that cannot be inspected counts as existing."""
    try:
        SYSTEM_POLICY.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True
