"""Writes a comparison to files and reads it back, for a check in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_pipeline.core.report import Check, ModelRef, StageReport, jsonable
from ml_pipeline.data import parquet
from ml_pipeline.evaluation.holdout import Sample
from ml_pipeline.gate.comparison import Comparison
from ml_pipeline.gate.comparison_set import ComparisonSet
from ml_pipeline.gate.model_comparison import ComparedRows, ModelComparison, StageReports
from ml_pipeline.statistics.paired_test import PairedTest
from ml_pipeline.tasks.loader import read_task

VALUES, ROWS, PREDICTIONS = "comparison.json", "rows.parquet", "predictions.npz"
PLAIN = (
    "challenger",
    "champion",
    "goal",
    "first_day",
    "why",
    "models",
    "table",
    "expected",
    "earlier_decisions",
)
"""Attributes that are JSON already."""


def write_comparison(comparison: ModelComparison, folder: Path) -> None:
    """Write a comparison with its rows.

    Raises:
        ValueError: no rows were compared.
    """
    import numpy as np

    rows = comparison.rows
    if rows is None:
        raise ValueError("a comparison without rows")
    rows.frame.to_parquet(folder / ROWS)
    np.savez(folder / PREDICTIONS, challenger=rows.challenger, other=rows.other)
    heuristic = comparison.heuristic
    values = {name: getattr(comparison, name) for name in PLAIN} | {
        "stages_without_model": list(comparison.stages_without_model),
        "code_stages": list(comparison.code_stages),
        "model": comparison.model.model_dump(mode="json"),
        "reports": _reports(comparison.reports),
        "advisory_reports": _reports(comparison.advisory_reports),
        "comparisons": _comparisons(comparison.comparisons),
        "heuristic": None if heuristic is None else _comparisons(heuristic),
    }
    (folder / VALUES).write_text(json.dumps(values, default=jsonable), encoding="utf-8")


def read_comparison(folder: Path) -> ModelComparison:
    """Return the comparison that ``write_comparison`` wrote."""
    import numpy as np

    values = json.loads((folder / VALUES).read_text(encoding="utf-8"))
    frame = parquet.read(folder / ROWS)
    task = read_task(values["challenger"]["training"].get("task"))
    with np.load(folder / PREDICTIONS, allow_pickle=False) as predictions:
        rows = ComparedRows(
            frame, Sample.of(frame, task), predictions["challenger"], predictions["other"]
        )
    heuristic = values["heuristic"]
    return ModelComparison(
        **{name: values[name] for name in PLAIN},
        stages_without_model=tuple(values["stages_without_model"]),
        code_stages=tuple(values["code_stages"]),
        model=ModelRef.model_validate(values["model"]),
        reports=_read_reports(values["reports"]),
        advisory_reports=_read_reports(values["advisory_reports"]),
        comparisons=_read_comparisons(values["comparisons"]),
        heuristic=None if heuristic is None else _read_comparisons(heuristic),
        rows=rows,
    )


def _reports(reports: StageReports) -> dict[str, Any]:
    return {
        name: None if report is None else report.model_dump(mode="json", by_alias=True)
        for name, report in reports.items()
    }


def _read_reports(values: Mapping[str, Any]) -> StageReports:
    return {
        name: None if report is None else StageReport.model_validate(report)
        for name, report in values.items()
    }


def _comparisons(comparisons: ComparisonSet) -> dict[str, Any]:
    return {
        "primary": _comparison(comparisons.primary),
        "guards": [_comparison(guard) for guard in comparisons.guards],
        "checks": [check.model_dump(mode="json") for check in comparisons.checks],
    }


def _comparison(comparison: Comparison) -> dict[str, Any]:
    test = comparison.test
    return vars(comparison) | {"test": None if test is None else vars(test)}


def _read_comparisons(values: Mapping[str, Any]) -> ComparisonSet:
    return ComparisonSet(
        _read_comparison(values["primary"]),
        tuple(_read_comparison(guard) for guard in values["guards"]),
        tuple(Check.model_validate(check) for check in values["checks"]),
    )


def _read_comparison(values: Mapping[str, Any]) -> Comparison:
    test = values["test"]
    return Comparison(**{**values, "test": None if test is None else PairedTest(**test)})
