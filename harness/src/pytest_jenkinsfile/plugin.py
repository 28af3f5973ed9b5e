"""The pytest plugin: the fixture ``jenkins``, one Java process for a whole test session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_jenkinsfile.jenkins import Jenkins


@pytest.fixture(scope="session")
def jenkins_library(pytestconfig: pytest.Config) -> Path | None:
    """The shared library of the scripts: the repository itself if it has ``vars``.

    Override this fixture to return the folder of another library, or several by name.
    """
    root = pytestconfig.rootpath
    return root if (root / "vars").is_dir() else None


@pytest.fixture(scope="session")
def jenkins(jenkins_library: Path | None) -> Iterator[Jenkins]:
    """Run Jenkinsfiles: ``jenkins.run('Jenkinsfile', branch='main', approve_as='alice')``."""
    from pytest_jenkinsfile.jenkins import Jenkins

    with Jenkins(library=jenkins_library) as running:
        yield running
