"""The reports that the gate demands, from the records of the stages."""

from __future__ import annotations

from collections.abc import Iterable

from ml_pipeline.config import Config
from ml_pipeline.core.errors import UsageError, nearest
from ml_pipeline.gate.reports import ReportDemand
from ml_pipeline.stages.plugins import all_stages
from ml_pipeline.stages.record import Stage
from ml_pipeline.stages.table import STAGING


def demands(config: Config, required: Iterable[str]) -> list[ReportDemand]:
    """Return the reports that the gate demands, in the order of the delivery.

    Args:
        config: Says whether the report of a stage with a ``required_key`` is advisory.
        required: Further stages, each with its environment if it has one, by ``gate.require`` of
            ``ml.yaml`` and ``require`` of the policy.

    Raises:
        UsageError: ``required`` names a stage or an environment that does not exist.
    """
    stages = all_stages()
    named = [_stage_and_environment(name, config) for name in required]
    found = [
        (stage.name, STAGING if stage.environment else None)
        for stage in stages.values()
        if stage.gate_requires_report
    ]
    return [
        ReportDemand(
            stage=name,
            environment=environment,
            required=(name, environment) in named or _is_required(stages[name], config),
            names_model=stages[name].names_model,
            of_code=stages[name].phase == "check",
        )
        for name, environment in dict.fromkeys([*found, *named])
    ]


def _is_required(stage: Stage, config: Config) -> bool:
    """Return the value of the stage's ``required_key``; True for a stage without one."""
    if not stage.required_key:
        return True
    value: object = config
    for key in stage.required_key.split("."):
        value = value.get(key) if isinstance(value, dict) else getattr(value, key, None)
    return value is not False


def _stage_and_environment(name: str, config: Config) -> tuple[str, str | None]:
    stages = all_stages()
    stage, _, environment = name.partition(" ")
    if stage not in stages:
        raise UsageError(f"gate or policy requires '{name}'", hint=nearest(stage, stages))
    if not stages[stage].environment:
        return stage, None
    environment = environment or STAGING
    if environment not in config.environments:
        hint = nearest(environment, config.environments)
        raise UsageError(f"gate or policy requires '{name}'", hint=hint)
    return stage, environment
