"""Runs stages one after the other until one does not pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ml_pipeline.core.errors import PASS
from ml_pipeline.project import doctor_environments
from ml_pipeline.project.policy_in_force import in_force
from ml_pipeline.promotion.environment import PRODUCTION
from ml_pipeline.stages.runner import Result, execute
from ml_pipeline.stages.session import Session
from ml_pipeline.stages.table import RUNS, STAGES, Stage

QUICK_FLAGS = frozenset({"sample_size", "max_samples", "max_epochs"})

Started = Callable[[Stage, str | None], None]
Ended = Callable[[Stage, str | None, Result], None]


@dataclass(frozen=True)
class Run:
    """What a run did, and which steps it did not come to."""

    results: tuple[Result, ...]
    left: tuple[tuple[str, str | None], ...]

    @property
    def exit_code(self) -> int:
        return self.results[-1].exit_code


def run(
    session: Session, name: str, flags: Mapping[str, Any], *, started: Started, ended: Ended
) -> Run:
    """Run the steps of ``ci``, ``cd`` or ``all``.

    A flag goes to every stage that knows it; those that make a run quick only to the quick steps.

    Raises:
        UsageError: the home is another repository's, ml.yaml would loosen the policy, or two
            environments, or another project's, have the port of one that is to serve.
        EnvironmentFault: something else listens at such a port, which the deployment would find
            only after the training.
    """
    steps = RUNS[name]
    if any(STAGES[step].home for step, _, _ in steps):
        session.home.check_owner()
    if any(step == "gate" for step, _, _ in steps):
        in_force(session.policy, session.project)
    served = {environment for _, environment, _ in steps if environment is not None}
    if any(step == "promote" for step, _, _ in steps):
        served.add(PRODUCTION)
    doctor_environments.check_ports(session.project, session.home, sorted(served))
    results: list[Result] = []
    for step, environment, own in steps:
        stage = STAGES[step]
        known = {flag.key for flag in stage.flags if own or flag.key not in QUICK_FLAGS}
        passed = {key: value for key, value in flags.items() if key in known} | dict(own)
        started(stage, environment)
        result = execute(session.context(stage, environment, passed))
        ended(stage, environment, result)
        results.append(result)
        if result.exit_code != PASS:
            break
    left = tuple((step, environment) for step, environment, _ in steps[len(results) :])
    return Run(tuple(results), left)
