"""The context that a stage runs in, and the outcome that it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

from ml_pipeline import config
from ml_pipeline.approval.current_user import current_user_name
from ml_pipeline.approval.policy import PolicyFiles
from ml_pipeline.config import Config, Project
from ml_pipeline.core import report, workdir
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import Check, ModelRef, Profile, Progress, StageReport, Verdict
from ml_pipeline.core.workdir import Workdir
from ml_pipeline.stages.plugins import maker_of
from ml_pipeline.stages.record import Stage
from ml_pipeline.stages.table import TRAIN


@dataclass(frozen=True)
class Outcome:
    """The result of a stage. The runner makes the verdict from the checks, never the stage."""

    summary: str
    checks: Sequence[Check]
    metrics: Mapping[str, Any] = field(default_factory=dict)
    outputs: Sequence[Path] = ()
    model: ModelRef | None = None
    waits: bool = False
    """Whether the stage is to be run again later: the checks decide nothing yet."""


F = TypeVar("F")
"""The dataclass of a stage's flags."""


@dataclass
class Context(Generic[F]):
    """The project, the folders and the flags of one run of one stage."""

    stage: Stage
    project: Project
    workdir: Workdir
    home: Home
    profile: Profile
    run_id: str
    progress: Progress
    flags: F
    environment: str | None = None
    policy: PolicyFiles = None
    interactive: bool = False
    inputs: dict[str, str] = field(default_factory=dict)
    section: Any = None
    """The values of the record's ``section``."""

    @property
    def config(self) -> Config:
        return self.project.config

    @cached_property
    def overrides(self) -> dict[str, str]:
        """Keys of ``ml.yaml`` that the environment or ``--set`` changed, with who set them."""
        return {
            key: f"{origin} of user {current_user_name()}"
            for key, origin in config.overridden(self.project).items()
        }

    @property
    def quick(self) -> bool:
        return self.profile is Profile.QUICK

    def report_of(self, stage: str, environment: str | None = None) -> StageReport:
        """Return the last report of a stage, passed or not.

        Raises:
            UsageError: there is none in the working folder.
        """
        path = self.workdir / f"reports/{report.file_name(stage, environment)}.json"
        if not path.is_file():
            command = f"ml-pipeline {stage} {environment or ''}".strip()
            raise UsageError(
                f"{self.stage.name} needs the report of {stage}", hint=f"run '{command}'"
            )
        return report.read(path)

    def trained(self, identity: str) -> bool:
        """Return whether the working folder holds the training run that made this identity."""
        if not (self.workdir / f"reports/{TRAIN.name}.json").is_file():
            return False
        model = self.report_of(TRAIN.name).model
        return model is not None and model.identity == identity

    def take(self, name: str) -> Path:
        """Return the path of an artefact and record its digest as an input of this stage.

        Raises:
            UsageError: the stage that makes it has not passed, or the file is not the one it made.
        """
        made_by = maker_of(name)
        maker = self.report_of(made_by)
        if maker.verdict is not Verdict.PASS:
            raise UsageError(
                f"{made_by} ended with {maker.verdict}: {maker.summary}",
                expected="pass",
                hint=f"fix it and run 'ml-pipeline {made_by}' again",
            )
        path = self.workdir / name
        reported = maker.outputs.get(name)
        found = workdir.digest(path) if path.exists() else None
        if reported is None or found != reported:
            raise UsageError(
                f"{path} is not what {made_by} made",
                expected=f"sha256 {reported}, found {found or 'no file'}",
                hint=f"run 'ml-pipeline {made_by}' again",
            )
        self.inputs[name] = found
        return path
