"""Runs a project's feature functions on the blocks of their scope, and checks what they return."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ml_pipeline.core.errors import UsageError
from ml_pipeline.problem import FeatureFunction, Scope

if TYPE_CHECKING:
    import pandas as pd

Integers = npt.NDArray[np.int64]
Blocks = Mapping[Scope, Sequence[Integers]]
"""For each scope that the problem has: the places of the rows of each call, in the call's order."""

RESERVED = "__"
"""Prefix of the key columns in the working folder: no feature's name may begin with it."""


def compute(
    frame: pd.DataFrame,
    functions: Iterable[FeatureFunction],
    blocks: Blocks,
    standard: Mapping[str, pd.Series],
) -> dict[str, pd.Series]:
    """Return the columns of every function, each of the frame's length and order.

    Functions of scope ``day`` run last: beside the frame's columns they see the standard features
    and those of the other functions, so that they can rank them within the day.

    Args:
        frame: what functions see, with a RangeIndex.
        functions: the project's marked functions.
        blocks: the rows of each call, by scope.
        standard: the problem's own features, whose names are taken.

    Raises:
        UsageError: a function has a scope that the problem lacks, raises, returns something of
            another length, index or kind, takes a name that is taken, or looks at rows that it
            may not know: an ``entity`` function at later bars, a ``row`` function at other rows.
    """
    import pandas as pd

    chosen = list(functions)
    for function in chosen:
        if function.scope not in blocks:
            raise UsageError(
                f"{function.where} has scope '{function.scope}'",
                expected=f"one that this problem has: {', '.join(blocks)}",
            )
    columns: dict[str, pd.Series] = {}
    early = [function for function in chosen if function.scope != "day"]
    ordered = {scope: _Ordered(frame, blocks[scope]) for scope in {f.scope for f in early}}
    for function in early:
        _add(columns, function, ordered[function.scope], standard)
    of_day = [function for function in chosen if function.scope == "day"]
    if of_day:
        others = {name: values for name, values in standard.items() if name not in frame}
        seen = pd.concat([frame, pd.DataFrame(others | columns, index=frame.index)], axis=1)
        days = _Ordered(seen, blocks["day"])
        for function in of_day:
            _add(columns, function, days, standard)
    return columns


class _Ordered:
    """A frame with the rows of each call next to each other: a call's part is a cheap slice.

    Parts are copy-on-write, as everything in pandas 3: what a function changes stays its own.
    """

    def __init__(self, frame: pd.DataFrame, places: Sequence[Integers]) -> None:
        self.order = np.concatenate([*places, np.empty(0, dtype=np.int64)])
        self.rows = frame.iloc[self.order].reset_index(drop=True)
        ends = np.cumsum([len(rows) for rows in places]).tolist()
        self.parts = [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def _add(
    columns: dict[str, pd.Series],
    function: FeatureFunction,
    data: _Ordered,
    standard: Mapping[str, pd.Series],
) -> None:
    _check_sight(function, data)
    for name, values in _assemble(function, data).items():
        if name in data.rows or name in standard or name in columns:
            raise UsageError(
                f"{function.where} returns a feature '{name}'",
                expected="a name that no column and no other feature has",
            )
        columns[name] = values


def _assemble(function: FeatureFunction, data: _Ordered) -> dict[str, pd.Series]:
    """Call the function on every part and put the results back into the frame's order."""
    size = data.order.size
    columns: dict[str, npt.NDArray[np.object_ | np.float64]] = {}
    for part in data.parts:
        block = _call(function, data.rows.iloc[part])
        if columns and block.keys() != columns.keys():
            raise UsageError(
                f"{function.where} returns columns {', '.join(block)} on one part of the data",
                expected=f"{', '.join(columns)}, as on the others",
            )
        for name, values in block.items():
            column = columns.setdefault(name, np.full(size, np.nan))
            if values.dtype == np.object_ and column.dtype != np.object_:
                column = columns[name] = column.astype(np.object_)
            column[data.order[part]] = values
    return {name: _typed(function, name, values) for name, values in columns.items()}


def _typed(function: FeatureFunction, name: str, values: Any) -> pd.Series:
    import pandas as pd

    if values.dtype == np.float64:
        return pd.Series(values.astype(np.float32), name=name)
    present = ~pd.isna(values)
    if not all(isinstance(value, str) for value in values[present]):
        raise UsageError(
            f"{function.where} returns both numbers and text in '{name}'",
            expected="numbers, or text, or a missing value",
        )
    return pd.Series(np.where(present, values, None), name=name, dtype=object)


def _call(function: FeatureFunction, block: pd.DataFrame) -> dict[str, Any]:
    """Call the function and return its columns as float64 or object arrays."""
    import pandas as pd

    try:
        result = function.function(block)
    except (Exception, SystemExit) as error:
        message = f"{type(error).__name__}: {error}"
        raise UsageError(f"feature {function.where} raised {message}") from error
    if isinstance(result, np.ndarray) and result.ndim == 1:
        if result.size != len(block):
            raise _wrong(function, f"{result.size} values for {len(block)} rows")
        result = pd.Series(result, index=block.index)
    if not isinstance(result, pd.Series | pd.DataFrame):
        raise _wrong(function, f"a {type(result).__name__}")
    if len(result) != len(block):
        raise _wrong(function, f"{len(result)} values for {len(block)} rows")
    if not result.index.equals(block.index):
        raise _wrong(function, "another index than that of its rows")
    if isinstance(result, pd.Series):
        named = result.name is not None and result.name not in block.columns
        results = [(result.name if named else function.name, result)]
    else:
        if result.columns.empty or not result.columns.is_unique:
            found = "no column" if result.columns.empty else "two columns of one name"
            raise _wrong(function, found)
        results = list(result.items())
    return {_name(function, name): _plain(function, str(name), values) for name, values in results}


def _name(function: FeatureFunction, name: object) -> str:
    if not isinstance(name, str) or not name or name.startswith(RESERVED):
        raise UsageError(
            f"{function.where} returns a feature named {name!r}",
            expected=f"a text that does not begin with '{RESERVED}'",
        )
    return name


def _plain(function: FeatureFunction, name: str, values: pd.Series) -> Any:
    import pandas as pd

    if pd.api.types.is_numeric_dtype(values.dtype) and values.dtype.kind != "c":
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        with np.errstate(over="ignore"):
            infinite = np.isinf(numbers.astype(np.float32))
        if infinite.any():
            raise UsageError(
                f"{function.where} returns an infinite value in '{name}'",
                expected="finite numbers; NaN where there is none",
            )
        return numbers
    if values.isna().all():
        return np.full(len(values), np.nan)
    if values.dtype == object or isinstance(values.dtype, pd.StringDtype | pd.CategoricalDtype):
        return values.astype(object).to_numpy()
    raise _wrong(function, f"'{name}' of type {values.dtype}")


def _wrong(function: FeatureFunction, observed: str) -> UsageError:
    return UsageError(
        f"{function.where} returns {observed}",
        expected="a Series or a DataFrame of numbers or text, of its rows' length and index",
    )


def _check_sight(function: FeatureFunction, data: _Ordered) -> None:
    """Call the function on fewer rows: what it says of those may not change."""
    if function.scope == "day" or not data.parts:
        return
    longest = max(data.parts, key=lambda part: part.stop - part.start)
    rows = data.rows.iloc[longest]
    whole = _call(function, rows)
    for count in sorted({len(rows) // 2, len(rows) - 1} - {0}):
        for name, values in _call(function, rows.iloc[:count]).items():
            if name in whole and not _same(values, whole[name][:count]):
                what = "later bars" if function.scope == "entity" else "other rows"
                raise UsageError(
                    f"{function.where}: '{name}' changes when {what} are taken away",
                    expected=f"a feature that does not depend on {what}",
                    hint="this is a leak: what is not known at prediction time",
                )


def _same(left: Any, right: Any) -> bool:
    if left.dtype == np.float64 and right.dtype == np.float64:
        return bool(np.allclose(left, right, rtol=1e-6, atol=1e-12, equal_nan=True))
    return all(
        one == other or (one != one and other != other) or (one is None and other is None)  # noqa: PLR0124
        for one, other in zip(left, right, strict=True)
    )
