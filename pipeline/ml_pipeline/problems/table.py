"""Any table with a label of two values, of several, or a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ml_pipeline.config import Section
from ml_pipeline.core.errors import Refused, UsageError, nearest
from ml_pipeline.problem import Column, Matrix, Rule
from ml_pipeline.tasks.binary_classification import BINARY

if TYPE_CHECKING:
    import pandas as pd

    from ml_pipeline.problem import FeatureFunction
    from ml_pipeline.tasks.base import Task

TOLERANCE = 0.01
MOST_CLASSES = 100
"""More values than this are as a rule no classes but keys or numbers."""
UNKNOWN_GROUP = "unknown"
UNGROUPED = "all"


class TableOptions(Section):
    """Options of ``problem`` for ``kind: table``."""

    label: str = Field(description="The column that is predicted.")
    positive: bool | str | int | float = Field(
        1,
        description="Binary labels: the value that means 1; the other one means 0. A bare yes or "
        "true (as YAML reads them) means what says so: yes, true, y, t, on or 1.",
    )
    time: str | None = Field(
        None, description="A date column; the split is by date, without one by a hash of the row."
    )
    entity: str | None = Field(None, description="What a row is about, such as a customer.")
    group: str | None = Field(None, description="The column that fairness is measured by.")
    cluster: str | None = Field(
        None,
        description="Rows with one value here are correlated: the unit of evidence of the gate. "
        "The time if unset; without a time each row by itself.",
    )
    numeric: Literal["auto"] | tuple[str, ...] = Field(
        "auto", description="Numeric features; auto: every column that has no other role."
    )
    categorical: tuple[str, ...] = ()
    unseen: Literal["missing", "refuse"] = Field(
        "missing", description="How a category that training never saw is treated."
    )
    drop: tuple[str, ...] = Field((), description="Columns that are no features.")


class Table:
    """A row is a row of the table; its label is read as the task says.

    Of a binary classification it is 1 where the column is ``positive``, else 0; of a multi-class
    classification the classes are the column's values as text, sorted; of a regression it is the
    number.
    """

    Options: ClassVar[type[Section]] = TableOptions
    kind = "table"
    tasks = (BINARY.name, "multiclass_classification", "regression")
    guards: Mapping[str, float] = {}
    horizon = 0

    def __init__(self, options: TableOptions, task: Task = BINARY) -> None:
        self.options = options
        self.task = task
        self.primary_metric = task.primary_metric
        if "positive" in options.model_fields_set and task.objective.kind != "binary":
            raise UsageError(
                f"problem.positive is set and problem.task is {task.name}",
                expected=f"problem.positive with {BINARY.name} only",
            )
        self.unseen: Literal["missing", "refuse"] = options.unseen
        self.keeps_other_columns = options.numeric == "auto"
        self.label_column = options.label
        self.entity_column = options.entity
        self.time_column = options.time
        self.group_column = options.group
        self.cluster_column = options.cluster
        self._check_roles()

    def columns(self) -> tuple[Column, ...]:
        options = self.options
        numbers = () if options.numeric == "auto" else options.numeric
        words = isinstance(options.positive, str | bool)
        if self.task.objective.kind != "binary":
            words = self.task.objective.kind == "multiclass"
        kind: Literal["text", "number"] = "text" if words else "number"
        found = {options.label: Column(options.label, kind)}
        if options.time is not None:
            found[options.time] = Column(options.time, "date")
        for feature in options.categorical:
            found[feature] = Column(feature, "text", critical=False)
        for feature in numbers:
            found[feature] = Column(feature, "number", critical=False)
        for name in (options.entity, options.group, options.cluster):
            if name is not None:
                found.setdefault(name, Column(name, "text", critical=False))
        if options.entity is not None:
            found[options.entity] = replace(found[options.entity], critical=True)
        return tuple(found.values())

    def feature_columns(self, names: Sequence[str]) -> tuple[Column, ...]:
        options = self.options
        numbers = options.numeric
        if numbers == "auto":
            roles = {options.label, options.time, options.entity, options.group, options.cluster}
            roles |= {*options.drop, *options.categorical}
            numbers = tuple(name for name in names if name not in roles)
        return (
            *(Column(name, "number", required=False, critical=False) for name in numbers),
            *(Column(name, "text", critical=False) for name in options.categorical),
        )

    def expectations(self) -> tuple[Rule, ...]:
        rules = [
            Rule(
                f"{column.name}_present",
                "expect_column_values_to_not_be_null",
                {"column": column.name},
                "quarantine",
                TOLERANCE,
            )
            for column in self.columns()
            if column.critical
        ]
        if self.options.time is not None:
            rules.append(
                Rule(
                    f"{self.options.time}_format",
                    "expect_column_values_to_be_iso_date",
                    {"column": self.options.time},
                    "quarantine",
                    TOLERANCE,
                )
            )
        if self.task.objective.kind == "binary":
            rules.append(
                Rule(
                    f"{self.options.label}_two_values",
                    "expect_column_values_to_be_one_of_two_labels",
                    {"column": self.options.label, "positive": self.options.positive},
                    "quarantine",
                )
            )
        copies: tuple[Literal["quarantine", "fail"], float] = ("quarantine", TOLERANCE)
        if self.options.entity is None:  # two things may well be equal in a few columns
            copies = ("fail", 1.0)
        rules.append(
            Rule("rows_distinct", "expect_rows_to_be_distinct", {"column_list": ["*"]}, *copies)
        )
        return tuple(rules)

    def matrix(
        self,
        frame: pd.DataFrame,
        functions: Sequence[FeatureFunction],
        standard: bool | tuple[str, ...],
    ) -> Matrix:
        """Compute features, labels and keys. The standard features are the frame's own columns.

        A frame without the label column (rows to predict) has no labels.

        Raises:
            UsageError: a feature function is at fault, ``standard`` names an unknown feature, or
                a feature's column is lacking, or a binary label has a third value or is never
                positive.
            Refused: there is no row, a numeric column holds text or an infinite number, or a date
                is missing.
        """
        import pandas as pd

        from ml_pipeline.problems import project_features

        if frame.empty:
            raise Refused("the table has no row", expected="at least one")
        rows = frame.reset_index(drop=True)
        chosen = self._chosen(rows, standard)
        self._check_numbers(rows, chosen)
        columns = {name: self._feature(rows, name) for name in chosen}
        keys = self._keys(rows)
        visible = rows.drop(columns=[self.options.label], errors="ignore")
        columns |= project_features.compute(visible, functions, self._blocks(keys), columns)
        if not columns:
            raise UsageError("the model has no feature", hint="see problem and features in ml.yaml")
        label, classes = self._label(rows)
        features = pd.DataFrame(columns, index=rows.index)
        return Matrix(features=features, label=label, keys=keys, classes=classes)

    def heuristic(
        self,
        frame: pd.DataFrame,  # noqa: ARG002 - the protocol's signature
        matrix: Matrix,  # noqa: ARG002
    ) -> dict[str, pd.Series]:
        """Return none: a table has no rule of thumb beside the base rate."""
        return {}

    def describe(self) -> str:
        if self.task.objective.kind == "regression":
            return f"A row is one row of the table; the label is the number '{self.options.label}'."
        if self.task.objective.kind == "multiclass":
            return (
                f"A row is one row of the table; its class is the value of '{self.options.label}'."
            )
        return (
            f"A row is one row of the table; the label is 1 when '{self.options.label}' is "
            f"{self.options.positive!r}, 0 when it is the other value."
        )

    def _check_roles(self) -> None:
        options = self.options
        numbers = () if options.numeric == "auto" else options.numeric
        twice = {*numbers} & {*options.categorical}
        if twice:
            raise UsageError(
                f"problem: {_names(twice)} is in both numeric and categorical",
                expected="one of them",
            )
        given = {*numbers, *options.categorical}
        for role in ("label", "time"):
            name = getattr(options, role)
            if name in given:
                raise UsageError(f"problem: the {role} '{name}' is also a feature")
        dropped = given & {*options.drop}
        if dropped:
            raise UsageError(f"problem: {_names(dropped)} is both a feature and dropped")

    def _available(self, rows: pd.DataFrame) -> list[str]:
        """Return the features that the frame's columns are, in the frame's order."""
        options = self.options
        numbers = () if options.numeric == "auto" else options.numeric
        named = [*numbers, *options.categorical]
        missing = [name for name in named if name not in rows.columns]
        if missing:
            known = [str(name) for name in rows.columns]
            raise UsageError(
                f"problem: the table has no column '{missing[0]}'", hint=nearest(missing[0], known)
            )
        if options.numeric != "auto":
            return named
        unknown = [name for name in options.drop if name not in rows.columns]
        if unknown and options.label in rows.columns:  # rows to predict need not have them
            known = [str(name) for name in rows.columns]
            raise UsageError(
                f"problem.drop: the table has no column '{unknown[0]}'",
                hint=nearest(unknown[0], known),
            )
        keys = {options.label, options.time, options.entity, options.group, options.cluster}
        left_out = (keys | {*options.drop}) - {*options.categorical}
        return [str(name) for name in rows.columns if name not in left_out]

    def _chosen(self, rows: pd.DataFrame, standard: bool | tuple[str, ...]) -> list[str]:
        if standard is False:
            return []
        known = self._available(rows)
        if standard is True:
            return known
        for name in standard:
            if name not in known:
                raise UsageError(f"features.standard: unknown '{name}'", hint=nearest(name, known))
        return list(dict.fromkeys(standard))

    def _check_numbers(self, rows: pd.DataFrame, names: list[str]) -> None:
        """Raise Refused that names every text column that no option speaks of."""
        import pandas as pd

        text = [
            f"'{name}' ({str(rows[name].dropna().iloc[0])[:40]!r})"
            for name in names
            if name not in self.options.categorical
            and not pd.api.types.is_numeric_dtype(rows[name].dtype)
            and not rows[name].isna().all()
        ]
        if text:
            raise Refused(
                f"no number in column {', '.join(text)}",
                hint="name it in problem.categorical, in problem.drop, or as problem.entity",
            )

    def _feature(self, rows: pd.DataFrame, name: str) -> pd.Series:
        if name in self.options.categorical:
            return _text(rows[name])
        return _number(rows[name])

    def _label(self, rows: pd.DataFrame) -> tuple[pd.Series, tuple[str, ...]]:
        """Return the labels, NaN where there is none, and the names of the classes, if any."""
        import numpy as np
        import pandas as pd

        name = self.options.label
        if name not in rows.columns:
            return pd.Series(np.nan, index=rows.index, name="label"), ()
        if self.task.objective.kind == "regression":
            return self._number_label(rows[name]), ()
        if self.task.objective.kind == "multiclass":
            return self._class_label(rows[name])
        return self._binary_label(rows), ()

    def _number_label(self, values: pd.Series) -> pd.Series:
        import numpy as np

        from ml_pipeline.data.typed_columns import as_numbers

        numbers = as_numbers(values)
        unreadable = values[numbers.isna() & values.notna()]
        if len(unreadable):
            raise UsageError(
                f"label '{values.name}' is no number in {len(unreadable)} rows, such as "
                f"{str(unreadable.iloc[0])[:40]!r}",
                expected="finite numbers, for problem.task: regression",
            )
        return numbers.astype(np.float64).rename("label")

    def _class_label(self, values: pd.Series) -> tuple[pd.Series, tuple[str, ...]]:
        import numpy as np
        import pandas as pd

        from ml_pipeline.data.labels import comparable_labels

        words = comparable_labels(values, "")
        classes = sorted({str(word) for word in words.dropna().unique()})
        if len(classes) > MOST_CLASSES:
            raise UsageError(
                f"label '{values.name}' has {len(classes):,} values",
                expected=f"at most {MOST_CLASSES} classes",
                hint="set problem.task to regression where it is a number",
            )
        codes = words.map({name: float(code) for code, name in enumerate(classes)})
        return pd.Series(codes, dtype=np.float64).rename("label"), tuple(classes)

    def _binary_label(self, rows: pd.DataFrame) -> pd.Series:
        import numpy as np
        import pandas as pd

        from ml_pipeline.data.labels import comparable_labels, comparable_positive, shown_labels

        options = self.options
        result = pd.Series(np.nan, index=rows.index, name="label")
        values = comparable_labels(rows[options.label], options.positive)
        known = values.notna()
        count = int(values[known].nunique())
        positive = (values[known] == comparable_positive(options.positive)).astype(np.float64)
        if known.any() and not positive.any():
            positive_value = options.positive
            never = (
                str(positive_value).lower()
                if isinstance(positive_value, bool)
                else repr(positive_value)
            )
            raise UsageError(
                f"problem.positive: label '{options.label}' is never {never}: it is "
                f"{shown_labels(rows[options.label])}",
                expected="a value that the label has",
                hint="set problem.positive to the value that means 1"
                + (
                    ", in quotes where YAML reads it as true or false"
                    if isinstance(options.positive, bool)
                    else ""
                ),
            )
        if count > 2:
            raise UsageError(
                f"label '{options.label}' has {count} values: {shown_labels(rows[options.label])}",
                expected="two",
                hint="make a column with two values, or let validate-data set the other rows aside",
            )
        result[known] = positive
        return result

    def _keys(self, rows: pd.DataFrame) -> pd.DataFrame:
        import numpy as np
        import pandas as pd

        options = self.options
        own = pd.Series(np.arange(len(rows)), index=rows.index)
        cluster = own
        if options.cluster is not None:
            self._need(rows, options.cluster)
            codes, _ = pd.factorize(_text(rows[options.cluster]), sort=True)
            unknown = codes < 0  # rows of no known cluster stand each by itself
            codes = np.where(unknown, codes.max(initial=-1) + np.cumsum(unknown), codes)
            cluster = pd.Series(codes.astype(np.int64), index=rows.index)
        time = cluster
        if options.time is not None:
            self._need(rows, options.time)
            time = _dates(rows[options.time])
            cluster = time if options.cluster is None else cluster
        entity = own.astype(str)
        if options.entity is not None:
            self._need(rows, options.entity)
            entity = _text(rows[options.entity]).fillna("").astype(str)
        group = pd.Series(UNGROUPED, index=rows.index)
        if options.group is not None:
            self._need(rows, options.group)
            group = _text(rows[options.group]).fillna(UNKNOWN_GROUP).astype(str)
        return pd.DataFrame({"time": time, "entity": entity, "group": group, "cluster": cluster})

    def _need(self, rows: pd.DataFrame, name: str) -> None:
        if name not in rows.columns:
            known = [str(column) for column in rows.columns]
            raise UsageError(
                f"problem: the table has no column '{name}'", hint=nearest(name, known)
            )

    def _blocks(self, keys: pd.DataFrame) -> Any:
        """Return the rows of each call by scope; by entity and by day where the table has them."""
        import numpy as np
        import pandas as pd

        blocks = {"row": [np.arange(len(keys))]}
        if self.options.time is not None:
            days, _ = pd.factorize(keys["time"], sort=True)
            blocks["day"] = _grouped(days, np.arange(len(keys)))
            if self.options.entity is not None:
                codes, _ = pd.factorize(keys["entity"], sort=True)
                blocks["entity"] = _grouped(codes, days)
        return blocks


def _grouped(codes: Any, within: Any) -> Any:
    """Return the places of each code's rows, ordered by ``within``."""
    import numpy as np

    order = np.lexsort((within, codes))
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    return np.split(order, starts[1:])


def _number(values: pd.Series) -> pd.Series:
    import numpy as np
    import pandas as pd

    if not pd.api.types.is_numeric_dtype(values.dtype):
        return pd.Series(np.full(len(values), np.nan, np.float32), index=values.index)
    with np.errstate(over="ignore"):
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan).astype(np.float32)
    infinite = np.isinf(numbers)
    if infinite.any():
        raise Refused(
            f"column '{values.name}' is infinite in row {int(infinite.argmax())}",
            expected="a finite number, or a missing value",
        )
    return pd.Series(numbers, index=values.index)


def _text(values: pd.Series) -> pd.Series:
    """Return text or None; whole numbers are written without a decimal point."""
    from ml_pipeline.data.typed_columns import as_text

    text = as_text(values).astype(object)
    return text.where(text.notna(), None)


def _dates(values: pd.Series) -> pd.Series:
    from ml_pipeline.data.typed_columns import as_dates

    dates = as_dates(values)
    if dates.isna().any():
        raise Refused(
            f"row {int(dates.isna().to_numpy().argmax())} has no date in '{values.name}'",
            expected="a day as YYYY-MM-DD",
            hint="validate-data sets such rows aside",
        )
    return dates


def _names(names: set[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))
