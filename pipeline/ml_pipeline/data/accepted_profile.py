"""The profile of the last accepted data: that of the version in production."""

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
"""In the home."""


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
            for name, figures in _read(path).items()
            if name in clean.columns or not figures.get("left_out")
        }
        return check_frame(clean, distribution_tests(accepted, data.distribution))
    return [
        Check(
            name="distribution",
            verdict=Verdict.SKIPPED,
            observed="not compared",
            expected="shares of nulls and means near those of the last accepted data",
            why=why,
        )
    ]


def missing_column(
    path: Path, data: DataSection, problem: Problem, present: Collection[str]
) -> str:
    """Say which column of the data of the version in production the source lacks, if any."""
    if not path.is_file():
        return ""
    others = {*present, *data.constants, problem.group_column if data.groups else None}
    for name, figures in _read(path).items():
        column = data.columns.get(name, name)
        if not {name, column} & others and not figures.get("left_out"):
            return (
                f"production's data had '{column}': keep it in the data until a model "
                "without it is in production"
            )
    return ""


def _read(path: Path) -> dict[str, Any]:
    try:
        columns: dict[str, Any] = documents.read_json(path)["columns"]
        if all({"null_share", "mean", "std"} <= set(column) for column in columns.values()):
            return columns
    except (OSError, DocumentError, KeyError, TypeError, AttributeError):
        pass
    raise EnvironmentFault(
        f"{path} cannot be read",
        expected="the profile of the last accepted data",
        hint="restore it, or delete it to accept the next data as they come",
    )
