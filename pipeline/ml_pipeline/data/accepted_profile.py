"""Compare data with the profile of the data that the version in production was trained on."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.config import DataSection
from ml_pipeline.core import documents
from ml_pipeline.core.documents import DocumentError
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.data.rules import distribution_tests
from ml_pipeline.data.validation import check_frame

if TYPE_CHECKING:
    import pandas as pd

    from ml_pipeline.problem import Problem

ACCEPTED = "accepted/profile.json"
"""Path of the profile, relative to the home."""


def check_distribution(
    path: Path, clean: pd.DataFrame, data: DataSection, *, is_sample: bool
) -> Sequence[Check]:
    """Compare clean rows with the accepted data; a sample is not compared.

    Raises:
        EnvironmentFault: the profile cannot be read.
    """
    if is_sample:
        why = "a sample is not compared with the last accepted data"
    elif not path.is_file():
        why = "no data has been accepted yet"
    else:
        accepted = {
            name: figures
            for name, figures in _read_columns(path).items()
            if name in clean.columns or not figures.get("left_out")
        }
        return check_frame(clean, distribution_tests(accepted, data.distribution))
    return [
        Check(
            name="distribution",
            verdict=Verdict.SKIPPED,
            observed="not compared",
            expected="null shares and means close to those of the last accepted data",
            why=why,
        )
    ]


def missing_column(
    path: Path, data: DataSection, problem: Problem, present: Collection[str]
) -> str:
    """Return a message that names a column of production's data that the source lacks, or ""."""
    if not path.is_file():
        return ""
    others = {*present, *data.constants, problem.group_column if data.groups else None}
    for name, figures in _read_columns(path).items():
        column = data.columns.get(name, name)
        if not {name, column} & others and not figures.get("left_out"):
            return (
                f"production's data had '{column}': keep it in the data until a model "
                "without it is in production"
            )
    return ""


def _read_columns(path: Path) -> dict[str, Any]:
    try:
        columns: dict[str, Any] = documents.read_json(path)["columns"]
        if all({"null_share", "mean", "std"} <= set(column) for column in columns.values()):
            return columns
    except (OSError, DocumentError, KeyError, TypeError, AttributeError):
        pass
    raise EnvironmentFault(
        f"{path} cannot be read",
        expected="the profile of the last accepted data",
        hint="restore it, or delete it so that the next data are accepted without a comparison",
    )
