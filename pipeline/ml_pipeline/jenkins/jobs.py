"""``ml-pipeline jobs check|diff|update``: the commands of strict-jenkins-jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ml_pipeline.core.errors import EnvironmentFault, PipelineError, Refused, UsageError
from ml_pipeline.jenkins import distributions

if TYPE_CHECKING:
    from strict_jenkins_jobs import Outcome

FOLDER = Path("jobs")
"""Where a repository keeps its job definitions, unless a flag names another folder."""
ERRORS: tuple[type[PipelineError], ...] = (Refused, UsageError, EnvironmentFault)


def check(folder: Path, *, golden: Path | None, renew: bool) -> Outcome:
    """Read a folder of YAML strictly; with ``golden`` also compare, or renew, the XML."""
    with _translated_errors():
        from strict_jenkins_jobs import check

        return check(folder, golden=golden, renew=renew)


def diff(environment: Mapping[str, str], folder: Path) -> Outcome:
    """Show what ``update`` would change on the server."""
    with _translated_errors():
        from strict_jenkins_jobs import diff

        return diff(environment, folder)


def update(
    environment: Mapping[str, str],
    folder: Path,
    *,
    say: Callable[[str], None],
    confirm: Callable[[str], bool] | None,
    yes: bool,
    delete: bool,
) -> Outcome:
    """Show the plan, have it confirmed, and carry it out."""
    with _translated_errors():
        from strict_jenkins_jobs import update

        return update(environment, folder, say=say, confirm=confirm, yes=yes, delete=delete)


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Raise errors of strict-jenkins-jobs as this program's errors of the same exit code.

    Raises:
        UsageError: strict-jenkins-jobs is not installed.
    """
    distributions.require("strict_jenkins_jobs")
    from strict_jenkins_jobs import JobsError

    try:
        yield
    except JobsError as error:
        kind = next((one for one in ERRORS if one.exit_code == error.exit_code), PipelineError)
        raise kind(str(error)) from None
