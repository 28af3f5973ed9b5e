"""The gate checks that ``gate.checks`` and the policy enable, installed or in the repository."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_pipeline.config import GateMinimums, GateSection
from ml_pipeline.core import documents
from ml_pipeline.core.documents import DocumentError
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.report import Check
from ml_pipeline.gate.checks.base import (
    GateCheck,
    NoSettings,
    inconclusive,
    judge_configured,
)
from ml_pipeline.gate.checks.loader import make_check
from ml_pipeline.gate.comparison_files import write_comparison
from ml_pipeline.gate.model_comparison import ModelComparison
from ml_pipeline.gate.policy_minimums import effective_checks
from ml_pipeline.project import gate_check_process, isolation
from ml_pipeline.project.gate_check_process import ANSWER, MODULE
from ml_pipeline.project.isolation import ProcessResult, isolated_copy
from ml_pipeline.project.protected_files import Protected


def configured_checks(
    section: GateSection, minimum: GateMinimums, where: str, protected: Protected
) -> list[GateCheck]:
    """Return the enabled checks, those of ``ml.yaml`` first, in their order.

    Args:
        section: ``gate`` of ``ml.yaml``.
        minimum: ``gate`` of the policy.
        where: the file that sets the minimum, for messages.
        protected: the project and the files that its code may not write.

    Raises:
        UsageError: a check cannot be loaded, or its settings are wrong or looser than the policy's.
    """
    return [
        ProjectCheck(name, settings, protected) if ":" in name else make_check(name, settings)
        for name, settings in effective_checks(section, minimum, where).items()
    ]


def judge_all_configured(
    checks: Sequence[GateCheck], comparison: ModelComparison, protected: Protected
) -> list[Check]:
    """Return the verdicts of the configured checks, and the isolation of the repository's."""
    verdicts = [verdict for check in checks for verdict in judge_configured(check, comparison)]
    of_project = [check for check in checks if isinstance(check, ProjectCheck)]
    if not of_project or comparison.rows is None:
        return verdicts
    written = protected.check()
    return [
        *verdicts,
        *([] if written is None else [written]),
        *isolation.check(of_project),
    ]


class ProjectCheck(GateCheck):
    """A check in the project's repository, ``module:name``, judged in an isolated process.

    The process gets the comparison as files and returns verdicts as JSON. Anything else makes the
    check inconclusive.
    """

    def __init__(self, reference: str, settings: Mapping[str, Any], protected: Protected) -> None:
        super().__init__(NoSettings())
        self.name = reference
        self.values = settings
        self.protected = protected

    def judge(self, comparison: ModelComparison) -> Sequence[Check]:
        with (
            tempfile.TemporaryDirectory(prefix="gate-") as name,
            isolated_copy(self.protected) as place,
        ):
            folder = Path(name).resolve()
            write_comparison(comparison, folder)
            request = gate_check_process.Request(
                original=str(place.original),
                root=str(place.root),
                reference=self.name,
                settings=dict(self.values),
                comparison=str(folder),
                out=str(place.out),
            )
            with self.protected.detect_changes():
                process = place.run_module(MODULE, request.to_json())
            content = place.read(ANSWER, documents.MAX_JSON)
        return self._verdicts(content, process)

    def _verdicts(self, content: bytes | None, process: ProcessResult) -> Sequence[Check]:
        """Return the verdicts in the answer.

        Raises:
            UsageError: the process reports that the check cannot be loaded, or that a setting is
                wrong.
        """
        if process.exit_code not in (0, UsageError.exit_code):
            return [inconclusive(f"its process {process}")]
        try:
            answer = documents.parse_json(content or b"", ANSWER)
            if process.exit_code == UsageError.exit_code:
                raise UsageError(
                    str(answer["fault"]),
                    expected=str(answer["expected"]),
                    hint=str(answer["hint"]),
                )
            return [Check.model_validate(each) for each in answer["checks"]]
        except (DocumentError, KeyError, TypeError, ValueError):
            return [inconclusive(f"the check returned no verdict; its process {process}")]
