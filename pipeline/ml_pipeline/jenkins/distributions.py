"""The distributions that the verbs for Jenkins call; each is installed on its own."""

from __future__ import annotations

from importlib.util import find_spec

from ml_pipeline.core.errors import UsageError

FOLDERS = {"pytest_jenkinsfile": "harness", "strict_jenkins_jobs": "strict-jenkins-jobs"}
"""The folder of each in the repository of the library, by import name."""


def require(package: str) -> None:
    """Check that a distribution is installed.

    Raises:
        UsageError: it is not, with the command that installs it.
    """
    if find_spec(package) is None:
        name, folder = package.replace("_", "-"), FOLDERS[package]
        raise UsageError(
            f"the package {name} is not installed",
            hint=f"install it with 'pip install ./{folder}' in a checkout of the library, or with "
            f"pip install '{name} @ git+ADDRESS#subdirectory={folder}'",
        )
