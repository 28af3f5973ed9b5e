"""Reads the reports of the stages that the gate requires, and those that it only shows."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass

from ml_pipeline.core import report, workdir
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.report import StageReport
from ml_pipeline.core.workdir import Workdir
from ml_pipeline.gate.model_comparison import StageReports


@dataclass(frozen=True)
class ReportDemand:
    """A report that the gate demands or, where it is not required, shows."""

    stage: str
    environment: str | None = None
    required: bool = True
    names_model: bool = True
    """Whether the report must name the model; False for stages before there is a model."""
    of_code: bool = False
    """Whether the stage makes no file that another reads, so that only its run id ties its report
    to the model."""

    @property
    def name(self) -> str:
        return f"{self.stage} {self.environment}" if self.environment else self.stage


@dataclass(frozen=True)
class GateReports:
    """Reports in the order of the delivery, by names such as ``verify staging``."""

    required: StageReports
    advisory: StageReports


def read_reports(
    folder: Workdir, demands: Iterable[ReportDemand], inputs: MutableMapping[str, str]
) -> GateReports:
    """Read the reports that the gate demands; None stands for one that is absent or damaged.

    Args:
        folder: the working folder.
        demands: in the order of the delivery.
        inputs: filled with the SHA-256 of each report by its file name.
    """
    required: dict[str, StageReport | None] = {}
    advisory: dict[str, StageReport | None] = {}
    for demand in demands:
        file = f"reports/{report.file_name(demand.stage, demand.environment)}.json"
        reports = required if demand.required else advisory
        reports[demand.name] = _read(folder, file, inputs)
    return GateReports(required, advisory)


def _read(folder: Workdir, file: str, inputs: MutableMapping[str, str]) -> StageReport | None:
    path = folder / file
    if not path.is_file():
        return None
    inputs[file] = workdir.digest(path)
    try:
        return report.read(path)
    except UsageError:
        return None
