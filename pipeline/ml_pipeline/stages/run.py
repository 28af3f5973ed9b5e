"""Run stages one after the other until one does not pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ml_pipeline.core.errors import PASS
from ml_pipeline.project import doctor_environments
from ml_pipeline.project.policy_in_force import policy_in_force
from ml_pipeline.promotion.environment import PRODUCTION
from ml_pipeline.stages.plugins import all_stages
from ml_pipeline.stages.record import Stage, changed, flags_of, values_of
from ml_pipeline.stages.runner import Result, execute
from ml_pipeline.stages.session import Session
from ml_pipeline.stages.table import runs

Started = Callable[[Stage, str | None], None]
Ended = Callable[[Stage, str | None, Result], None]


@dataclass(frozen=True)
class Run:
    """The reports of a run, and the steps that were not reached."""

    results: tuple[Result, ...]
    left: tuple[tuple[str, str | None], ...]

    @property
    def exit_code(self) -> int:
        return self.results[-1].exit_code


def run(session: Session, name: str, flags: Any, *, started: Started, ended: Ended) -> Run:
    """Run the steps of ``ci``, ``cd`` or ``all``; ``flags`` is a dataclass of them.

    A flag goes to every stage that has it; those that make a run quick only to the quick steps.

    Raises:
        UsageError: the home is another repository's, ml.yaml would loosen the policy, or another
            environment, of this or another project, has the port of one of the run.
        EnvironmentFault: another program listens at such a port; without this check only the
            deployment, after the training, would fail.
    """
    every = all_stages()
    steps = runs(every.values())[name]
    stages = [every[step] for step, _, _ in steps]
    if any(stage.home for stage in stages):
        session.home.check_owner()
    if any("policy" in stage.credentials for stage in stages):
        policy_in_force(session.policy, session.project)
    served = {environment for _, environment, _ in steps if environment is not None}
    if any(stage.changes_production for stage in stages):
        served.add(PRODUCTION)
    doctor_environments.check_ports(session.project, session.home, sorted(served))
    options = changed(flags)
    results: list[Result] = []
    for step, environment, own in steps:
        stage = every[step]
        known = {flag.key for flag in flags_of(stage.flags) if own or flag.in_run != "quick"}
        passed = {key: value for key, value in options.items() if key in known} | dict(own)
        started(stage, environment)
        result = execute(session.context(stage, environment, values_of(stage.flags, passed)))
        ended(stage, environment, result)
        results.append(result)
        if result.exit_code != PASS:
            break
    left = tuple((step, environment) for step, environment, _ in steps[len(results) :])
    return Run(tuple(results), left)
