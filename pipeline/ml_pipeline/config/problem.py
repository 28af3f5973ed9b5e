"""``problem``: the plug-in that defines rows and labels, and its options."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ProblemSection(BaseModel):
    """What a row, a label and a group are. The other keys are options of the plug-in ``kind``."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: str = "bars"
    task: str = Field(
        "binary_classification",
        description="What is predicted: binary_classification, multiclass_classification or "
        "regression; see docs/reference/tasks.md.",
    )
