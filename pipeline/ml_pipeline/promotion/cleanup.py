"""Remove the released bundles that a home no longer needs, after a successful delivery."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from ml_pipeline.config import Project
from ml_pipeline.core import workdir
from ml_pipeline.core.errors import PipelineError
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.promotion import production_history
from ml_pipeline.promotion.environment import PRODUCTION, clear_stopped
from ml_pipeline.promotion.journal import open_journals
from ml_pipeline.promotion.rollback import rollback_stack
from ml_pipeline.targets import server_records
from ml_pipeline.targets.base import Deployment, Placement
from ml_pipeline.targets.loader import load_target
from ml_pipeline.targets.released_bundles import remove_unused

logger = logging.getLogger(__name__)

SERVED = ".released"
"""Suffix of the file beside an environment's state that records the last deployment."""


def clean(project: Project, home: Home, environment: str, deployment: Deployment) -> list[Check]:
    """Remove the released bundles that are no longer needed.

    What stays: what an environment of the home serves or was last given, what an open change is
    about, and the newest ``serving.keep_released`` versions that production may go back to.

    Args:
        project: whose environments are asked.
        home: that holds the bundles.
        environment: that was just delivered to.
        deployment: what it serves since.

    Returns:
        A check, not required, if something was removed or could not be: the delivery stands.
    """
    served = home / f"servers/{environment}{SERVED}"
    try:
        if environment == PRODUCTION:
            clear_stopped(home)
        workdir.write_text(served, f"{deployment.digest}\n")
        removed = remove_unused(home, lambda: set(_in_use(project, home)))
    except (PipelineError, OSError) as error:
        logger.warning("not all unused released bundles were removed: %s", error)
        return [_check(Verdict.FAIL, f"not all were removed: {error}")]
    return [_check(Verdict.PASS, f"{len(removed)} removed")] if removed else []


def _check(verdict: Verdict, observed: str) -> Check:
    return Check(
        name="unused released bundles",
        verdict=verdict,
        required=False,
        observed=observed,
        expected="removed from the home",
    )


def _in_use(project: Project, home: Home) -> Iterator[str]:
    for path in (home / "servers").iterdir():
        if path.suffix == SERVED:
            yield path.read_text().strip()
        elif path.suffix == ".json" and "." not in path.stem:
            known = server_records.read(path)
            yield from (one.digest for one in (known.serving, known.former) if one is not None)
    for name, section in project.config.environments.items():
        running = load_target(section.target).status(Placement.of(project, name, home))
        if running is not None:
            yield running.digest
    for journal in open_journals(home):
        yield journal.record.bundle
        yield journal.record.former_bundle or ""
    yield production_history.bundle_in_production(home) or ""
    stack = rollback_stack(production_history.read_history(home))
    yield from (digest for _, digest in stack[-project.config.serving.keep_released :])
