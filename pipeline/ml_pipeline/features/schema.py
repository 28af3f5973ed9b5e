"""The model's input features and their encoding as numbers.

Training, the bundle's reader and the server encode with this module, so that categories and
missing values have the same meaning everywhere. It imports neither pandas nor, at the top, numpy.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from ml_pipeline.core.whitespace import BLANKS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    Float32Array = npt.NDArray[np.float32]

Unseen = Literal["missing", "refuse"]
VERSION = 1


class FeatureError(ValueError):
    """A row that cannot be encoded; ``row`` and ``feature`` locate the fault where known.

    ``unseen``: the fault is a category that training did not have.
    """

    def __init__(
        self,
        message: str,
        *,
        row: int | None = None,
        feature: str | None = None,
        unseen: bool = False,
    ) -> None:
        super().__init__(message)
        self.row = row
        self.feature = feature
        self.unseen = unseen


@dataclass(frozen=True)
class Feature:
    """An input: a number, with its range in training, or one of ``categories``.

    A request may omit an ``optional`` feature, which is then missing, as with ``null``. ``missing``
    is the share of the training rows without a value; None if it is not known.
    """

    name: str
    kind: Literal["numeric", "categorical"]
    categories: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    optional: bool = False
    missing: float | None = None


@dataclass(frozen=True)
class FeatureSchema:
    """The features in the model's order, and the handling of categories unseen in training.

    A numeric feature takes one column of the encoded matrix, a categorical one a column for each
    category (one-hot; all zero where the value is missing).

    ``accepts`` holds the digests of earlier contracts that this model is compatible with.
    ``needs_contract``: positional requests must carry the contract's digest, since those for an
    earlier contract would be misread.
    """

    features: tuple[Feature, ...]
    unseen: Unseen = "missing"
    accepts: tuple[str, ...] = ()
    needs_contract: bool = False

    def __post_init__(self) -> None:
        names = [feature.name for feature in self.features]
        if len(set(names)) != len(names):
            raise ValueError(f"duplicate feature names in {names}")

    @classmethod
    def fit(
        cls,
        features: pd.DataFrame,
        categorical: Iterable[str] = (),
        unseen: Unseen = "missing",
        optional: Iterable[str] = (),
    ) -> FeatureSchema:
        """Fit the schema on training rows: categories, ranges of finite values, missing shares.

        Args:
            features: raw feature columns; missing is NaN or None.
            categorical: names of the categorical features.
            unseen: handling of unseen categories: ``missing`` or ``refuse``.
            optional: names of the features that a request may omit.
        """
        import numpy as np

        categorical_names, optional_names = set(categorical), set(optional)
        fitted = []
        for name in features.columns:
            values, optional_one = features[name].dropna(), name in optional_names
            rows = len(features)
            missing = (rows - len(values)) / rows if rows else None
            if name in categorical_names:
                categories = tuple(sorted({str(value) for value in values.unique()}))
                fitted.append(
                    Feature(
                        str(name), "categorical", categories, optional=optional_one, missing=missing
                    )
                )
                continue
            numbers = values.to_numpy(dtype=np.float64)
            numbers = numbers[np.isfinite(numbers)]
            low, high = (
                (float(numbers.min()), float(numbers.max())) if numbers.size else (None, None)
            )
            fitted.append(Feature(str(name), "numeric", (), low, high, optional_one, missing))
        return cls(tuple(fitted), unseen)

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.features)

    @cached_property
    def required(self) -> int:
        """The fewest values of a positional request; later ones may be omitted."""
        return max(
            (place + 1 for place, feature in enumerate(self.features) if not feature.optional),
            default=1,
        )

    @cached_property
    def contract(self) -> str:
        """SHA-256 of the request contract: ``to_json`` without ranges and missing shares."""
        values = self.to_json()
        values.pop("accepts", None)
        for feature in values["features"]:
            feature.pop("minimum", None)
            feature.pop("maximum", None)
            feature.pop("missing", None)
        if all(feature.kind == "numeric" for feature in self.features):
            del values["unseen"]
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def encoded_names(self) -> tuple[str, ...]:
        """Names of the encoded columns: ``name``, or ``name=category``."""
        return tuple(
            name
            for feature in self.features
            for name in (
                (feature.name,)
                if feature.kind == "numeric"
                else (f"{feature.name}={category}" for category in feature.categories)
            )
        )

    @cached_property
    def width(self) -> int:
        """The number of encoded columns."""
        return sum(
            1 if feature.kind == "numeric" else len(feature.categories) for feature in self.features
        )

    @property
    def position_contract(self) -> str | None:
        """The digest that positional requests must carry, or None."""
        return self.contract if self.needs_contract else None

    @cached_property
    def _numeric_only(self) -> bool:
        return all(feature.kind == "numeric" for feature in self.features)

    @cached_property
    def _positions(self) -> tuple[dict[str, int], ...]:
        """For each feature, the index of each category."""
        return tuple(
            {category: place for place, category in enumerate(feature.categories)}
            for feature in self.features
        )

    def to_json(self) -> dict[str, Any]:
        """Return the schema as JSON values, the input of ``from_json``."""
        values: dict[str, Any] = {
            "schema": VERSION,
            "unseen": self.unseen,
            "features": [_feature_json(feature) for feature in self.features],
        }
        values |= {"accepts": list(self.accepts)} if self.accepts else {}
        return values | ({"needs_contract": True} if self.needs_contract else {})

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FeatureSchema:
        """Return the schema of the JSON values of ``to_json``.

        Raises:
            ValueError: a key is missing or wrong, or the version differs.
        """
        if not isinstance(values, Mapping) or values.get("schema") != VERSION:
            raise ValueError(f"not a feature schema of version {VERSION}")
        unseen = values.get("unseen")
        items = values.get("features")
        if unseen not in ("missing", "refuse") or not isinstance(items, list):
            raise ValueError("a feature schema has 'unseen' (missing or refuse) and 'features'")
        accepts = values.get("accepts", [])
        if not isinstance(accepts, list) or not all(isinstance(one, str) for one in accepts):
            raise ValueError("'accepts' is a list of digests")
        needs = values.get("needs_contract", False)
        if not isinstance(needs, bool):
            raise ValueError(f"'needs_contract' is {needs!r}, not true or false")  # noqa: TRY004
        return cls(tuple(_feature(item) for item in items), unseen, tuple(accepts), needs)

    def encode(self, columns: Mapping[str, Any] | pd.DataFrame) -> Float32Array:
        """Encode columns of equal length, such as a frame; columns not in the schema are ignored.

        Args:
            columns: name to values (a sequence, array or Series). None and NaN are missing, and
                so is an optional feature without a column.

        Returns:
            float32 of shape [n, width]; a missing number is NaN, a missing category all zero.

        Raises:
            FeatureError: a column is missing, a numeric column holds text or infinity, or a
                category is unseen and ``unseen`` is ``refuse``.
        """
        import numpy as np

        missing = [
            feature.name
            for feature in self.features
            if feature.name not in columns and not feature.optional
        ]
        if missing:
            raise FeatureError(f"missing features: {', '.join(missing)}", feature=missing[0])
        rows = next((len(columns[name]) for name in self.names if name in columns), 0)
        encoded = np.zeros((rows, self.width), dtype=np.float32)
        start = 0
        for feature, places in zip(self.features, self._positions, strict=True):
            values = columns[feature.name] if feature.name in columns else [None] * rows
            if len(values) != rows:
                raise FeatureError(
                    f"{feature.name} has {len(values)} rows, others {rows}", feature=feature.name
                )
            if feature.kind == "numeric":
                encoded[:, start] = self._numbers(feature, values)
                start += 1
            else:
                self._one_hot(encoded[:, start : start + len(places)], feature, places, values)
                start += len(places)
        return encoded

    def _numbers(self, feature: Feature, values: Any) -> Float32Array:
        import numpy as np

        array = np.asarray(values)
        if array.dtype.kind not in "fiu":
            array = np.asarray(
                [self._number(feature, value, row) for row, value in enumerate(values)], np.float64
            )
        with np.errstate(over="ignore"):
            numbers: Float32Array = array.astype(np.float32)
        infinite = np.isinf(numbers)
        if infinite.any():
            row = int(infinite.argmax())
            raise _fault(feature, row, "is infinite or too large for a float32", "a finite number")
        return numbers

    def _one_hot(
        self, target: Float32Array, feature: Feature, places: Mapping[str, int], values: Any
    ) -> None:
        for row, value in enumerate(values):
            if not _is_missing(value):
                place = self._place(feature, places, value, row)
                if place is not None:
                    target[row, place] = 1.0

    def empty(self, rows: int) -> Float32Array:
        """Return a matrix of zeros for ``rows`` encoded rows."""
        import numpy as np

        return np.zeros((rows, self.width), dtype=np.float32)

    def encode_rows(self, rows: Sequence[Sequence[object]]) -> Float32Array:
        """Encode the rows of a request: values in the schema's order, None where missing.

        Rows of valid numbers are converted by numpy at once; other rows are encoded value by value,
        so that the error names the feature at fault.

        Returns:
            float32 of shape [n, width].

        Raises:
            FeatureError: a row has another number of values; a number is a boolean, text, NaN,
                infinite or beyond float32; a category is not text; a category is unseen and
                ``unseen`` is ``refuse``.
        """
        import numpy as np

        if rows and self._numeric_only and _plain(rows, len(self.features)):
            return np.array(rows, dtype=np.float32)
        encoded = self.empty(len(rows))
        for index, row in enumerate(rows):
            self._encode_row(encoded[index], row, index)
        return encoded

    def encode_into(self, matrix: Float32Array, index: int, row: Sequence[object]) -> None:
        """Encode one row, as ``encode_rows`` does, into row ``index`` of a C-ordered matrix.

        Raises:
            FeatureError: see ``encode_rows``; the matrix is unchanged.
        """
        if self._numeric_only and _all_floats(row, len(self.features)):
            self._packer.pack_into(matrix.data, index * self._packer.size, *row)
        else:
            matrix[index] = self.encode_rows([row])[0]

    @cached_property
    def _packer(self) -> struct.Struct:
        return struct.Struct(f"{self.width}f")

    def _encode_row(self, target: Float32Array, row: Sequence[object], index: int) -> None:
        if not isinstance(row, list | tuple):
            raise FeatureError(f"row {index} is not a list of values", row=index)
        if not self.required <= len(row) <= len(self.features):
            least = "" if self.required == len(self.features) else f"{self.required} to "
            raise FeatureError(
                f"row {index} has {len(row)} values; the model takes {least}{len(self.features)}: "
                f"{', '.join(self.names)}",
                row=index,
            )
        start = 0
        given = (*row, *[None] * (len(self.features) - len(row)))
        for feature, places, value in zip(self.features, self._positions, given, strict=True):
            if feature.kind == "numeric":
                target[start] = self._request_number(feature, value, index)
                start += 1
                continue
            if value is not None:
                place = self._place(feature, places, value, index)
                if place is not None:
                    target[start + place] = 1.0
            start += len(places)

    def _request_number(self, feature: Feature, value: object, row: int) -> float:
        """Return the number of a request: None is missing, NaN is refused."""
        if value is None:
            return math.nan
        number = math.nan if _is_missing(value) else self._number(feature, value, row)
        if not abs(number) <= _LARGEST_FLOAT32:
            raise _fault(feature, row, f"is {number!r}", "a finite number or null")
        return number

    def _number(self, feature: Feature, value: object, row: int) -> float:
        if _is_missing(value):
            return math.nan
        if isinstance(value, bool) or not isinstance(value, int | float):
            scalar = getattr(value, "item", None)
            if scalar is not None and not isinstance(scalar(), bool | str | bytes):
                return float(scalar())
            raise _fault(feature, row, f"is {_shown(value)}", "a number or null")
        try:
            return float(value)
        except OverflowError:
            raise _fault(
                feature, row, "is too large for a float", "a finite number or null"
            ) from None

    def _place(
        self, feature: Feature, places: Mapping[str, int], value: object, row: int
    ) -> int | None:
        if not isinstance(value, str):
            raise _fault(feature, row, f"is {_shown(value)}", "text or null")
        place = places.get(value)
        if place is None:
            plain = value.strip(BLANKS)
            if not plain:
                return None
            place = places.get(plain)
        if place is None and self.unseen == "refuse":
            known = ", ".join(map(repr, feature.categories[:_SHOWN_CATEGORIES]))
            more = len(feature.categories) - _SHOWN_CATEGORIES
            raise _fault(
                feature,
                row,
                f"is {_shown(value)}, which training never saw",
                f"null or one of {known}" + (f" and {more} others" if more > 0 else ""),
                unseen=True,
            )
        return place


_LARGEST_FLOAT32 = 3.4028234663852886e38
_SMALLEST, _LARGEST = -(2**63), 2**63 - 1
_SHOWN_CATEGORIES = 10
_SHOWN_CHARACTERS = 40


def _plain(rows: Sequence[Sequence[object]], count: int) -> bool:
    """Return whether every row is a list of ``count`` values: None, float32 or 64-bit int."""
    for row in rows:
        if _all_floats(row, count):
            continue
        if (type(row) is not list and type(row) is not tuple) or len(row) != count:
            return False
        for value in row:
            kind = type(value)
            if kind is float:
                if not -_LARGEST_FLOAT32 <= value <= _LARGEST_FLOAT32:  # nor is NaN
                    return False
            elif value is not None and (kind is not int or not _SMALLEST <= value <= _LARGEST):
                return False
    return True


def _all_floats(row: Sequence[object], count: int) -> bool:
    """Return whether the row is a list or tuple of ``count`` float32, by built-ins only.

    The Euclidean norm is NaN if a value is, and never below the largest absolute value.
    """
    return (
        (type(row) is list or type(row) is tuple)
        and len(row) == count
        and {*map(type, row)} == {float}
        and math.hypot(*row) <= _LARGEST_FLOAT32
    )


def _is_missing(value: object) -> bool:
    """Return whether the value is None, NaN, or NA or NaT of pandas."""
    if value is None:
        return True
    if isinstance(value, str):
        return False
    if isinstance(value, float):
        return math.isnan(value)
    return type(value).__name__ in ("NAType", "NaTType")


def _fault(
    feature: Feature, row: int, observed: str, expected: str, *, unseen: bool = False
) -> FeatureError:
    return FeatureError(
        f"feature '{feature.name}' of row {row} {observed}; expected {expected}",
        row=row,
        feature=feature.name,
        unseen=unseen,
    )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _feature_json(feature: Feature) -> dict[str, Any]:
    values: dict[str, Any] = {"name": feature.name, "kind": feature.kind}
    if feature.kind == "categorical":
        values["categories"] = list(feature.categories)
    else:
        values |= {"minimum": feature.minimum, "maximum": feature.maximum}
    values |= {} if feature.missing is None else {"missing": feature.missing}
    return values | ({"optional": True} if feature.optional else {})


def _feature(item: Any) -> Feature:
    if not isinstance(item, Mapping) or not isinstance(item.get("name"), str):
        raise ValueError(f"a feature without a name: {item!r}")  # noqa: TRY004 - one error for all
    name, kind, optional = item["name"], item.get("kind"), item.get("optional", False)
    if not isinstance(optional, bool):
        raise ValueError(f"feature '{name}': 'optional' is {optional!r}, not true or false")  # noqa: TRY004
    missing = item.get("missing")
    if missing is not None and not (_is_number(missing) and 0 <= missing <= 1):
        raise ValueError(f"feature '{name}': 'missing' is {missing!r}, not a share from 0 to 1")
    if kind == "categorical":
        categories = item.get("categories")
        if not isinstance(categories, list) or not all(isinstance(c, str) for c in categories):
            raise ValueError(f"feature '{name}': 'categories' is not a list of texts")
        if len(set(categories)) != len(categories):
            raise ValueError(f"feature '{name}': duplicate categories")
        return Feature(name, "categorical", tuple(categories), optional=optional, missing=missing)
    if kind == "numeric":
        limits = item.get("minimum"), item.get("maximum")
        for limit in limits:
            if limit is not None and not _is_number(limit):
                raise ValueError(f"feature '{name}': {limit!r} is not a number")
        low, high = (None if limit is None else float(limit) for limit in limits)
        return Feature(name, "numeric", (), low, high, optional, missing)
    raise ValueError(f"feature '{name}' is of kind {kind!r}, not numeric or categorical")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
