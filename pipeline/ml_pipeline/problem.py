"""What a problem plug-in is: columns, data tests, and the matrix of features, labels and keys.

A third party's plug-in is a class named by an entry point of the group ``ml_pipeline.problems``.
It has a class attribute ``Options`` (a :class:`ml_pipeline.config.Section`) and is made with one.
A problem with other tasks than binary classification names all of its tasks in a class attribute
``tasks``, and is made with the options and the :class:`ml_pipeline.Task` of ``problem.task``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import pandas as pd

    from ml_pipeline.config import Section

ColumnKind = Literal["date", "text", "number", "integer"]
Scope = Literal["entity", "day", "row"]


@dataclass(frozen=True)
class Column:
    """A column that the source's columns are mapped to.

    ``required``: it must be in the source or be given as a constant. ``critical``: it must not be
    null, which one of the problem's own rules tests.
    """

    name: str
    kind: ColumnKind
    required: bool = True
    critical: bool = True


@dataclass(frozen=True)
class Rule:
    """One of the problem's own data tests, a great_expectations expectation by its snake-case name.

    ``severity`` is what happens to a row that misses it: the run fails, the row leaves
    (quarantine), or the cell in column ``blank`` is set to missing. ``tolerance`` is the share of
    rows that may miss it before the stage fails. A ``column_list`` of ``["*"]`` means all columns
    of the frame. A rule whose columns the frame lacks does not
    apply; only columns with ``required=False`` can be lacking.
    """

    name: str
    expect: str
    args: dict[str, Any] = field(default_factory=dict)
    severity: Literal["fail", "quarantine", "blank"] = "fail"
    tolerance: float = 0.0
    blank: str | None = None


@dataclass(frozen=True)
class FeatureFunction:
    """A function marked ``@feature``: takes a frame, returns a Series or a frame of columns."""

    name: str
    module: str
    scope: Scope
    function: Callable[..., Any]

    @property
    def where(self) -> str:
        """The function as messages spell it: ``module.function``."""
        return f"{self.module}.{self.name}"


@dataclass(frozen=True)
class Matrix:
    """The model's view of a frame: one row each, all three with the same RangeIndex and order.

    ``features``: numeric columns as float32 (missing is NaN) and categorical ones as text
    (missing is None). ``label``: float64, NaN where there is none. ``keys``: ``time`` (datetime64,
    or int where the problem knows no time), ``entity`` and ``group`` (text), and ``cluster``, the
    unit of evidence: rows of one cluster are correlated (for daily bars the day).
    """

    features: pd.DataFrame
    label: pd.Series
    keys: pd.DataFrame
    classes: tuple[str, ...] = ()
    """Of a multi-class label: the name of each code in ``label``, which are 0, 1, 2 and so on."""

    @property
    def categorical(self) -> tuple[str, ...]:
        """Names of the categorical features, in the order of the columns."""
        dtypes = self.features.dtypes
        return tuple(str(name) for name in self.features.columns if dtypes[name].kind != "f")


@runtime_checkable
class Problem(Protocol):
    """What a row, a label and a group are."""

    Options: ClassVar[type[Section]]

    kind: str
    options: Section
    primary_metric: str
    """The metric that the gate compares by."""
    guards: Mapping[str, float]
    """Metrics that must not get worse by more than the margin given."""
    horizon: int
    """Days that a label looks ahead: the embargo of a split."""
    unseen: Literal["missing", "refuse"]
    """How a category that training never saw is treated."""
    keeps_other_columns: bool
    """Whether columns of the source beyond :meth:`columns` are kept, under their own names."""
    label_column: str | None
    """The column that holds the label; None where it is made of the others."""
    entity_column: str | None
    time_column: str | None
    group_column: str | None
    cluster_column: str | None
    """Rows with one value here are correlated and are never split; None: those of one time."""

    def columns(self) -> tuple[Column, ...]:
        """Return the columns that sources are mapped to."""

    def feature_columns(self, names: Sequence[str]) -> tuple[Column, ...]:
        """Return those of a frame's columns that are features as they stand, with their kinds.

        Numbers among them that :meth:`columns` does not have are read as numbers, and a cell that
        is none is found by the data tests.
        """

    def expectations(self) -> tuple[Rule, ...]:
        """Return every rule of the problem's own; the not-null rules of critical columns too."""

    def matrix(
        self,
        frame: pd.DataFrame,
        functions: Sequence[FeatureFunction],
        standard: bool | tuple[str, ...],
    ) -> Matrix:
        """Compute features, labels and keys of a clean frame, in its order.

        Args:
            frame: rows in the problem's column names.
            functions: the project's own feature functions.
            standard: the problem's own features: all, none, or these by name.

        Raises:
            UsageError: a feature function is at fault, or ``standard`` names an unknown feature.
            Refused: the frame cannot give labels.
        """

    def heuristic(self, frame: pd.DataFrame, matrix: Matrix) -> dict[str, pd.Series]:
        """Return raw signals of simple predictors by name: float64, NaN where there is none."""

    def describe(self) -> str:
        """Return one sentence on what a row and its label are."""
