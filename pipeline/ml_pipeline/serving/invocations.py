"""``POST /invocations``, compatible with MLflow's scoring server.

Source: MLflow 3.17, ``mlflow/pyfunc/scoring_server``. As there, NaN and the CSV cells
that pandas reads as missing are missing values, and other keys of the object, such as ``params``,
are ignored. Unlike there, a row has exactly one value for each column, columns are unique and
known to the model, and only optional features may be missing: MLflow fills or drops the others,
which gives a wrong prediction when a name is misspelt or a row has an extra cell.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ml_pipeline.serving.feature_messages import CSV
from ml_pipeline.serving.named_rows import NamedRows
from ml_pipeline.serving.predict_formats import Body, Rows, parse_strict_json, printable
from ml_pipeline.serving.request_checks import RequestError
from ml_pipeline.tasks.binary_classification import BINARY

if TYPE_CHECKING:
    from ml_pipeline.features.schema import FeatureSchema
    from ml_pipeline.tasks.base import Task, Value

FORMS = ("dataframe_split", "dataframe_records", "inputs", "instances")
MISSING = frozenset(
    {
        *("", "NA", "N/A", "n/a", "<NA>", "#NA", "#N/A", "#N/A N/A", "NULL", "null", "None"),
        *("NaN", "nan", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
    }
)
"""Cells of a CSV that ``pandas.read_csv`` reads as missing."""
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
"""A cell of a CSV that is a number; Python's ``float`` would also accept 1_000."""
CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    413: "BAD_REQUEST",
    415: "BAD_REQUEST",
    429: "REQUEST_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
}

_decode = msgspec.json.decode
_encode = msgspec.json.Encoder().encode


class InvocationsFormat:
    """The four JSON formats and CSV; the response is ``{"predictions": [...]}``, one a row."""

    schema_error = 400

    def __init__(self, schema: FeatureSchema, task: Task = BINARY) -> None:
        self._schema = schema
        self._answer = task.invocation
        self._named_rows = NamedRows(schema)
        self._texts = tuple(
            frozenset(one.categories) if one.kind == "categorical" else None
            for one in schema.features
        )

    def parse(self, body: Body, headers: Mapping[bytes, bytes]) -> tuple[Rows, bool]:
        kind, _, rest = headers.get(b"content-type", b"").partition(b";")
        parameter = rest.strip().lower().replace(b'"', b"")
        if parameter not in (b"", b"charset=utf-8"):
            raise RequestError(415, "the content type has other parameters than charset=utf-8")
        kind = kind.strip().lower()
        if kind == b"application/json":
            return self._json(body), True
        if kind == b"text/csv":
            return self._csv(body), True
        raise RequestError(415, "the content type is neither application/json nor text/csv")

    def raw_rows(self, body: Body, headers: Mapping[bytes, bytes]) -> bytes | None:
        """Return a request's rows as a frame for the feature worker; None if they have no names.

        Raises:
            RequestError: the body has none of the formats.
        """
        if headers.get(b"content-type", b"").strip().lower().startswith(b"text/csv"):
            return CSV + bytes(body)
        values = parse_strict_json(body)
        form = next(name for name in FORMS if name in values)
        data = values[form]
        if form == "dataframe_split" and "columns" in data:
            for number, row in enumerate(data["data"]):
                _check_length(row, data["columns"], f"row {number}")
            rows = [dict(zip(data["columns"], row, strict=True)) for row in data["data"]]
        elif isinstance(data, list) and data and all(isinstance(each, dict) for each in data):
            rows = data
        else:
            return None
        body_json = {
            "rows": [dict(zip(row, _without_nan([*row.values()]), strict=True)) for row in rows]
        }
        try:
            return _encode(body_json)
        except ValueError:  # a lone surrogate, which the worker refuses
            return json.dumps(body_json).encode()

    def answer(self, predictions: Sequence[Value], many: bool) -> bytes:  # noqa: ARG002
        return _encode({"predictions": [*map(self._answer, predictions)]})

    def error(self, status: int, message: str) -> bytes:
        content = {"error_code": CODES.get(status, "BAD_REQUEST"), "message": printable(message)}
        return _encode(content)

    def _json(self, body: Body) -> Rows:
        try:
            values, strict = _decode(body), False
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            values, strict = parse_strict_json(body), True
        if not strict and body.count(b":") != _keys(values):
            parse_strict_json(body)  # a key may be given twice
        present = [name for name in FORMS if isinstance(values, dict) and name in values]
        if len(present) != 1:
            raise _bad_request(f"expected an object with one of {', '.join(FORMS)}")
        rows = self._rows(present[0], values[present[0]])
        return [_without_nan(row) for row in rows] if strict else rows

    def _rows(self, form: str, data: Any) -> Rows:
        if form == "dataframe_split":
            return self._split(data)
        if isinstance(data, dict) and form in ("inputs", "instances"):
            return self._columns(data)
        if not isinstance(data, list):
            raise _bad_request(f"{form!r} is not a list of rows")
        if data and all(isinstance(each, dict) for each in data):
            return [self._named_rows.arrange(record, number) for number, record in enumerate(data)]
        if form == "dataframe_records" and data:
            raise _bad_request("'dataframe_records' is not a list of objects")
        if not all(isinstance(each, list) for each in data):
            raise _bad_request(f"{form!r} has elements that are not rows")
        return self._fill_optional(data)

    def _split(self, data: Any) -> Rows:
        rows = data.get("data") if isinstance(data, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
            raise _bad_request("'dataframe_split' is not an object with 'data', a list of rows")
        if "columns" not in data:
            return self._fill_optional(rows)
        columns = data["columns"]
        if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
            raise _bad_request("'columns' is not a list of names")
        for number, row in enumerate(rows):
            _check_length(row, columns, f"row {number}")
        return _reorder(rows, self._places(columns))

    def _places(self, columns: Sequence[str]) -> list[int | None] | None:
        """Return the index of each model feature among the columns; None if they are the same.

        Raises:
            RequestError: a column is given twice.
            FeatureError: a column is unknown to the model, or a required one is missing.
        """
        if tuple(columns) == self._schema.names:
            return None
        where = {name: place for place, name in enumerate(columns)}
        if len(where) != len(columns):
            twice = next(name for place, name in enumerate(columns) if where[name] != place)
            raise _bad_request(f"column '{twice[:SHOWN]}' is given twice")
        self._named_rows.check(where, "the columns")
        return [where.get(name) for name in self._schema.names]

    def _fill_optional(self, rows: Rows) -> Rows:
        """Return rows by position, padded with None for trailing optional features.

        Raises:
            RequestError: rows by position need the contract, which these formats cannot carry.
        """
        if self._schema.needs_contract:
            raise _bad_request(
                "the rows have no names, and the order of the features has changed; send names"
            )
        width, least = len(self._schema.features), self._schema.required
        if least == width:
            return rows
        return [
            [*row, *[None] * (width - len(row))] if least <= len(row) < width else row
            for row in rows
        ]

    def _columns(self, data: dict[str, Any]) -> Rows:
        self._named_rows.check(data, "the columns")
        if not all(isinstance(values, list) for values in data.values()):
            raise _bad_request("a column is not a list of values")
        lengths = {len(values) for values in data.values()}
        if len(lengths) > 1:
            raise _bad_request(
                f"the columns are of different lengths: {min(lengths)} to {max(lengths)}"
            )
        missing = [None] * max(lengths, default=0)
        columns = [data.get(name, missing) for name in self._schema.names]
        return [list(row) for row in zip(*columns, strict=True)]

    def _csv(self, body: Body) -> Rows:
        lines: list[tuple[int, list[str]]] = []
        try:
            reader = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
            lines = [(reader.line_num, cells) for cells in reader if cells]
        except (UnicodeDecodeError, csv.Error) as error:
            reason = str(error) if isinstance(error, csv.Error) else "it is not UTF-8"
            raise _bad_request(f"the body is not CSV: {reason}") from None
        if not lines:
            raise _bad_request("the CSV is empty; expected a header line")
        columns = [name.strip() for name in lines[0][1]]
        for number, (line, cells) in enumerate(lines[1:]):
            _check_length(cells, columns, f"row {number} (line {line})")
        rows = _reorder([cells for _, cells in lines[1:]], self._places(columns))
        return [[_cell(*pair) for pair in zip(row, self._texts, strict=True)] for row in rows]


SHOWN = 40
"""Characters of a name from the request that an error shows."""


def _keys(values: Any) -> int:
    """Return the number of keys of the object and of its records or columns."""
    if not isinstance(values, dict):
        return 0
    count = len(values)
    for value in values.values():
        if isinstance(value, dict):
            count += len(value)
        elif isinstance(value, list):
            count += sum(len(each) for each in value if type(each) is dict)
    return count


def _check_length(row: Sequence[Any], columns: Sequence[str], where: str) -> None:
    if len(row) != len(columns):
        raise _bad_request(f"{where} has {len(row)} values for {len(columns)} columns")


def _reorder(rows: list[list[Any]], places: Sequence[int | None] | None) -> Rows:
    if places is None:
        return rows
    return [[None if place is None else row[place] for place in places] for row in rows]


def _cell(text: str | None, categories: frozenset[str] | None) -> float | str | None:
    """Return a cell's value; ``categories`` are those of a categorical feature, else None."""
    if text is None:
        return None
    if categories is not None:
        return None if text.strip() in MISSING and text not in categories else text
    plain = text.strip()
    if plain in MISSING:
        return None
    return (
        float(plain) if NUMBER.fullmatch(plain) else text
    )  # the schema refuses the text and names the place


def _without_nan(row: list[Any]) -> list[Any]:
    return [None if isinstance(v, float) and math.isnan(v) else v for v in row]


def _bad_request(message: str) -> RequestError:
    return RequestError(400, message)
