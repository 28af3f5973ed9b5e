"""``POST /invocations`` as MLflow's scoring server takes and answers it.

Source: MLflow 3.17, ``mlflow/pyfunc/scoring_server``. As there, NaN and what pandas reads from a
CSV as missing is missing, columns that the model does not take are left out, other keys of the
object are ignored, ``params`` of a model that takes none among them.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline.serving.forms import Body, Rows, printable
from pipeline.serving.requests import RequestError

if TYPE_CHECKING:
    from pipeline.features.schema import FeatureSchema

FORMS = ("dataframe_split", "dataframe_records", "inputs", "instances")
MISSING = frozenset(
    {
        *("", "NA", "N/A", "n/a", "<NA>", "#NA", "#N/A", "#N/A N/A", "NULL", "null", "None"),
        *("NaN", "nan", "-NaN", "-nan", "1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN"),
    }
)
"""Cells of a CSV that ``pandas.read_csv`` takes as missing."""
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
    """The four JSON forms and CSV; the answer is ``{"predictions": [p, ...]}``, one a row."""

    misfit = 400

    def __init__(self, schema: FeatureSchema) -> None:
        self._schema = schema

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

    def answer(self, probabilities: Sequence[float], many: bool) -> bytes:  # noqa: ARG002
        return _encode({"predictions": probabilities})

    def error(self, status: int, message: str) -> bytes:
        told = {"error_code": CODES.get(status, "BAD_REQUEST"), "message": printable(message)}
        return _encode(told)

    def _json(self, body: Body) -> Rows:
        try:
            values, careful = _decode(body), False
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            values, careful = _python_json(body), True
        given = [name for name in FORMS if isinstance(values, dict) and name in values]
        if len(given) != 1:
            raise _bad(f"expected an object with one of {', '.join(FORMS)}")
        rows = self._rows(given[0], values[given[0]])
        return [_without_nan(row) for row in rows] if careful else rows

    def _rows(self, form: str, data: Any) -> Rows:
        if form == "dataframe_split":
            return self._split(data)
        if isinstance(data, dict) and form == "inputs":
            return self._columns(data)
        if isinstance(data, dict) and form == "instances":
            return self._columns(data)
        if not isinstance(data, list):
            raise _bad(f"{form!r} is no list of rows")
        if data and all(isinstance(each, dict) for each in data):
            return self._records(data)
        if form == "dataframe_records" and data:
            raise _bad("'dataframe_records' is no list of objects")
        if not all(isinstance(each, list) for each in data):
            raise _bad(f"{form!r} holds something else than rows")
        return data

    def _split(self, data: Any) -> Rows:
        rows = data.get("data") if isinstance(data, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
            raise _bad("'dataframe_split' is no object with 'data', a list of rows")
        if "columns" not in data:
            return rows
        columns = data["columns"]
        if not isinstance(columns, list):
            raise _bad("'columns' is no list")
        return self._arranged(columns, rows)

    def _arranged(self, columns: list[Any], rows: list[list[Any]]) -> Rows:
        """Return the rows with the model's columns in its order."""
        if tuple(columns) == self._schema.names:
            return rows
        self._check_columns(columns)
        places = [columns.index(name) for name in self._schema.names]
        for number, row in enumerate(rows):
            if len(row) != len(columns):
                raise _bad(f"row {number} has {len(row)} values for {len(columns)} columns")
        return [[row[place] for place in places] for row in rows]

    def _check_columns(self, columns: Sequence[Any]) -> None:
        for name in self._schema.names:
            if name not in columns:
                raise _bad(f"no column '{name}'; the model takes {', '.join(self._schema.names)}")
            if columns.count(name) > 1:
                raise _bad(f"column '{name}' stands twice")

    def _columns(self, data: dict[str, Any]) -> Rows:
        self._check_columns(list(data))
        columns = [data[name] for name in self._schema.names]
        if not all(isinstance(values, list) for values in columns):
            raise _bad("a column is no list of values")
        if len({len(values) for values in columns}) > 1:
            raise _bad("the columns are of different lengths")
        return [list(row) for row in zip(*columns, strict=True)]

    def _records(self, data: list[dict[str, Any]]) -> Rows:
        self._check_columns(list(dict.fromkeys(name for record in data for name in record)))
        return [[record.get(name) for name in self._schema.names] for record in data]

    def _csv(self, body: Body) -> Rows:
        try:
            lines = list(csv.reader(io.StringIO(body.decode(), newline=""), strict=True))
        except (UnicodeDecodeError, csv.Error) as error:
            told = str(error) if isinstance(error, csv.Error) else "it is not UTF-8"
            raise _bad(f"the body is no CSV: {told}") from None
        lines = [line for line in lines if line]
        if not lines:
            raise _bad("the CSV is empty; expected a line with the names of the columns")
        rows = self._arranged([name.strip() for name in lines[0]], lines[1:])
        numeric = [feature.kind == "numeric" for feature in self._schema.features]
        return [[_cell(*pair) for pair in zip(row, numeric, strict=False)] for row in rows]


def _cell(text: str, numeric: bool) -> float | str | None:
    if text.strip() in MISSING:
        return None
    if not numeric:
        return text
    try:
        return float(text)
    except ValueError:
        return text  # the schema refuses it and names the place


def _without_nan(row: list[Any]) -> list[Any]:
    return [None if isinstance(v, float) and math.isnan(v) else v for v in row]


def _python_json(body: Body) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        told = str(error) if isinstance(error, json.JSONDecodeError) else "unreadable"
        raise _bad(f"the body is not JSON: {told}") from None


def _bad(message: str) -> RequestError:
    return RequestError(400, message)
