"""The gate check that runs the project's comparison tests against the champion."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from ml_pipeline.core import artefacts
from ml_pipeline.core.artefacts import LABEL_COLUMN
from ml_pipeline.core.report import Check, Profile, StageReport
from ml_pipeline.core.workdir import Workdir
from ml_pipeline.gate.checks.base import GateCheck, NoSettings, as_required
from ml_pipeline.gate.model_comparison import ComparedRows, ModelComparison
from ml_pipeline.project import isolation
from ml_pipeline.project.protected_files import CHECK, Protected
from ml_pipeline.project.user_tests import COMPARISON, is_comparison, run_user_tests
from ml_pipeline.tasks.base import as_column
from ml_pipeline.tasks.binary_classification import BINARY

Take = Callable[[str], Path]
"""Returns the path of an artefact, given its name in the working folder."""


class ComparisonTests(GateCheck):
    """Require that the project's tests with the fixture ``baseline_model`` pass.

    With a champion they run again with the champion as ``baseline_model``. Without one, or without
    a fair comparison, their results in the report of ``evaluate`` count.
    """

    name = "comparison tests of the project"

    def __init__(self, folder: Path, profile: Profile, protected: Protected, take: Take) -> None:
        super().__init__(NoSettings())
        self.folder = folder
        self.profile = profile
        self.protected = protected
        self.take = take

    def judge(self, comparison: ModelComparison) -> Sequence[Check]:
        rows = comparison.rows
        if comparison.champion is None or rows is None:
            return reported_comparisons(comparison.reports.get("evaluate"), COMPARISON)
        with tempfile.TemporaryDirectory(prefix="gate-") as name:
            holdout, predictions = Path(name, "holdout.parquet"), Path(name, "predictions.parquet")
            rows.frame.to_parquet(holdout)
            other = as_column(rows.other)
            rows.frame[[LABEL_COLUMN]].assign(champion=other).to_parquet(predictions)
            checks = run_user_tests(
                self.protected.project,
                Workdir(Path(name)),
                self.folder,
                "model",
                {
                    "model": str(self.take(artefacts.ONNX)),
                    "schema": str(self.take(artefacts.SCHEMA)),
                    "holdout": str(holdout),
                    "predictions": str(predictions),
                    "baseline": "champion",
                    "profile": str(self.profile),
                    **self._training(rows),
                },
                self.protected,
            )
        return [
            *as_required(check for check in checks if is_comparison(check)),
            *(check for check in checks if check.name.endswith((" as a whole", CHECK))),
            *isolation.check(checks),
        ]

    def _training(self, rows: ComparedRows) -> dict[str, str]:
        """Return the training record, which names a task other than the default."""
        if rows.sample.task.name == BINARY.name:
            return {}
        return {"training": str(self.take(artefacts.TRAINING))}


def reported_comparisons(report: StageReport | None, expected: str) -> list[Check]:
    """Return the comparison tests of evaluate's report, which are advisory there, as required.

    Args:
        report: the report of evaluate.
        expected: the ``expected`` of such a check (``user_tests.COMPARISON``).
    """
    return as_required(
        check for check in (report.checks if report else ()) if check.expected == expected
    )
