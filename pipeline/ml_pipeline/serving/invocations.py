"""``POST /invocations`` as MLflow's scoring server takes and answers it.

Source: MLflow 3.17, ``mlflow/pyfunc/scoring_server``. As there, NaN and what pandas reads from a
CSV as missing is missing, and other keys of the object are ignored, ``params`` among them. Unlike
there, a row has a value for each column and no other, a column is one of the model's and is given
once, and a row lacks only what is optional: what MLflow fills with NaN or leaves out is a wrong
prediction where a name is misspelt or a cell is too many.
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
from ml_pipeline.serving.named_rows import Named
from ml_pipeline.serving.predict_formats import Body, Rows, careful_json, printable
from ml_pipeline.serving.requests import RequestError
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
"""Cells of a CSV that ``pandas.read_csv`` takes as missing."""
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
"""A cell of a CSV that is a number: Python alone would take 1_000 for one."""
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


class Invocations:
    """The four JSON forms and CSV; the answer is ``{"predictions": [...]}``, one a row."""

    schema_error = 400

    def __init__(self, schema: FeatureSchema, task: Task = BINARY) -> None:
        self._schema = schema
        self._answer = task.invocation
        self._named = Named(schema)
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
        """Return a request's rows as a frame for the feature worker; None where they have no names.

        Raises:
            RequestError: the body is none of the forms.
        """
        if headers.get(b"content-type", b"").strip().lower().startswith(b"text/csv"):
            return CSV + bytes(body)
        values = careful_json(body)
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
        found = {
            "rows": [dict(zip(row, _without_nan([*row.values()]), strict=True)) for row in rows]
        }
        try:
            return _encode(found)
        except ValueError:  # half of a surrogate pair, which the worker refuses
            return json.dumps(found).encode()

    def answer(self, predictions: Sequence[Value], many: bool) -> bytes:  # noqa: ARG002
        return _encode({"predictions": [*map(self._answer, predictions)]})

    def error(self, status: int, message: str) -> bytes:
        told = {"error_code": CODES.get(status, "BAD_REQUEST"), "message": printable(message)}
        return _encode(told)

    def _json(self, body: Body) -> Rows:
        try:
            values, careful = _decode(body), False
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            values, careful = careful_json(body), True
        if not careful and body.count(b":") != _keys(values):
            careful_json(body)  # a key may be given twice
        given = [name for name in FORMS if isinstance(values, dict) and name in values]
        if len(given) != 1:
            raise _bad(f"expected an object with one of {', '.join(FORMS)}")
        rows = self._rows(given[0], values[given[0]])
        return [_without_nan(row) for row in rows] if careful else rows

    def _rows(self, form: str, data: Any) -> Rows:
        if form == "dataframe_split":
            return self._split(data)
        if isinstance(data, dict) and form in ("inputs", "instances"):
            return self._columns(data)
        if not isinstance(data, list):
            raise _bad(f"{form!r} is no list of rows")
        if data and all(isinstance(each, dict) for each in data):
            return [self._named.row(record, number) for number, record in enumerate(data)]
        if form == "dataframe_records" and data:
            raise _bad("'dataframe_records' is no list of objects")
        if not all(isinstance(each, list) for each in data):
            raise _bad(f"{form!r} holds something else than rows")
        return self._filled(data)

    def _split(self, data: Any) -> Rows:
        rows = data.get("data") if isinstance(data, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
            raise _bad("'dataframe_split' is no object with 'data', a list of rows")
        if "columns" not in data:
            return self._filled(rows)
        columns = data["columns"]
        if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
            raise _bad("'columns' is no list of names")
        for number, row in enumerate(rows):
            _check_length(row, columns, f"row {number}")
        return _arranged(rows, self._places(columns))

    def _places(self, columns: Sequence[str]) -> list[int | None] | None:
        """Return where the model's features are among the columns; None if at the same places.

        Raises:
            RequestError: a column is given twice.
            FeatureError: a column is none of the model's, or a required one is missing.
        """
        if tuple(columns) == self._schema.names:
            return None
        where = {name: place for place, name in enumerate(columns)}
        if len(where) != len(columns):
            twice = next(name for place, name in enumerate(columns) if where[name] != place)
            raise _bad(f"column '{twice[:SHOWN]}' stands twice")
        self._named.check(where, "the line of columns")
        return [where.get(name) for name in self._schema.names]

    def _filled(self, rows: Rows) -> Rows:
        """Return rows by position with None for the optional features that they end before.

        Raises:
            RequestError: rows by position need the contract, which these forms cannot give.
        """
        if self._schema.needs_contract:
            raise _bad("the rows have no names, and the order of the features has changed")
        width, least = len(self._schema.features), self._schema.required
        if least == width:
            return rows
        return [
            [*row, *[None] * (width - len(row))] if least <= len(row) < width else row
            for row in rows
        ]

    def _columns(self, data: dict[str, Any]) -> Rows:
        self._named.check(data, "the object of columns")
        if not all(isinstance(values, list) for values in data.values()):
            raise _bad("a column is no list of values")
        lengths = {len(values) for values in data.values()}
        if len(lengths) > 1:
            raise _bad(f"the columns are of different lengths: {min(lengths)} to {max(lengths)}")
        missing = [None] * max(lengths, default=0)
        columns = [data.get(name, missing) for name in self._schema.names]
        return [list(row) for row in zip(*columns, strict=True)]

    def _csv(self, body: Body) -> Rows:
        lines: list[tuple[int, list[str]]] = []
        try:
            reader = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
            lines = [(reader.line_num, cells) for cells in reader if cells]
        except (UnicodeDecodeError, csv.Error) as error:
            told = str(error) if isinstance(error, csv.Error) else "it is not UTF-8"
            raise _bad(f"the body is no CSV: {told}") from None
        if not lines:
            raise _bad("the CSV is empty; expected a line with the names of the columns")
        columns = [name.strip() for name in lines[0][1]]
        for number, (line, cells) in enumerate(lines[1:]):
            _check_length(cells, columns, f"row {number} (line {line})")
        rows = _arranged([cells for _, cells in lines[1:]], self._places(columns))
        return [[_cell(*pair) for pair in zip(row, self._texts, strict=True)] for row in rows]


SHOWN = 40
"""Characters of a client's name that an error shows."""


def _keys(values: Any) -> int:
    """Return how many keys the object has, down to those of its records or columns."""
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
        raise _bad(f"{where} has {len(row)} values for {len(columns)} columns")


def _arranged(rows: list[list[Any]], places: Sequence[int | None] | None) -> Rows:
    if places is None:
        return rows
    return [[None if place is None else row[place] for place in places] for row in rows]


def _cell(text: str | None, categories: frozenset[str] | None) -> float | str | None:
    """Return a cell's value; ``categories`` are those of a text, None for a number."""
    if text is None:
        return None
    if categories is not None:
        return None if text.strip() in MISSING and text not in categories else text
    plain = text.strip()
    if plain in MISSING:
        return None
    return float(plain) if NUMBER.fullmatch(plain) else text  # text: the schema names the place


def _without_nan(row: list[Any]) -> list[Any]:
    return [None if isinstance(v, float) and math.isnan(v) else v for v in row]


def _bad(message: str) -> RequestError:
    return RequestError(400, message)
