"""Reads the reports of the stages that the gate requires, and those that it only shows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, MutableMapping
from dataclasses import dataclass

from ml_pipeline.core import report, workdir
from ml_pipeline.core.errors import UsageError, nearest
from ml_pipeline.core.report import StageReport
from ml_pipeline.core.workdir import Workdir
from ml_pipeline.gate.model_comparison import StageReports

Step = tuple[str, str | None]
"""A stage and its environment."""
DEFAULT_ENVIRONMENT = "staging"


@dataclass(frozen=True)
class GateReports:
    """Reports in the order of the delivery, by names such as ``verify staging``."""

    required: StageReports
    advisory: StageReports


def read_reports(
    folder: Workdir,
    delivery: Iterable[Step],
    demanded: Iterable[Step],
    optional: Collection[str],
    inputs: MutableMapping[str, str],
) -> GateReports:
    """Read the reports of the delivery's stages and of the further ones that are demanded.

    Args:
        folder: the working folder.
        delivery: the stages before the gate.
        demanded: stages of ``gate.require`` and of the policy's ``require``.
        optional: stages that ml.yaml makes advisory; one that is demanded is required all the same.
        inputs: filled with the SHA-256 of each report by its file name.
    """
    further = list(demanded)
    required: dict[str, StageReport | None] = {}
    advisory: dict[str, StageReport | None] = {}
    for step in dict.fromkeys([*delivery, *further]):
        stage, environment = step
        name = f"{stage} {environment}" if environment else stage
        is_required = stage not in optional or step in further
        file = f"reports/{report.file_name(stage, environment)}.json"
        (required if is_required else advisory)[name] = _read(folder, file, inputs)
    return GateReports(required, advisory)


def parse_step(name: str, stages: Mapping[str, bool], environments: Collection[str]) -> Step:
    """Return the stage and environment of an entry of ``require``, such as ``verify staging``.

    Args:
        name: the entry.
        stages: the stages that exist, with whether they take an environment.
        environments: those of the project.

    Raises:
        UsageError: there is no such stage or environment.
    """
    stage, _, environment = name.partition(" ")
    if stage not in stages:
        raise UsageError(f"gate or policy requires '{name}'", hint=nearest(stage, stages))
    if not stages[stage]:
        return stage, None
    environment = environment or DEFAULT_ENVIRONMENT
    if environment not in environments:
        raise UsageError(
            f"gate or policy requires '{name}'", hint=nearest(environment, environments)
        )
    return stage, environment


def _read(folder: Workdir, file: str, inputs: MutableMapping[str, str]) -> StageReport | None:
    path = folder / file
    if not path.is_file():
        return None
    inputs[file] = workdir.digest(path)
    try:
        return report.read(path)
    except UsageError:
        return None
