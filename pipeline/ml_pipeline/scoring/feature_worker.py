"""``python -m ml_pipeline.scoring.feature_worker --bundle DIR``: features of raw rows for a server.

It computes what ``ml-pipeline score`` computes, with the code and configuration in the bundle's
``source.tar.gz``, and replies to frames on standard input
(``ml_pipeline.serving.feature_messages``). It ends at the end of its input, when the server ends.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline import config
from ml_pipeline.bundle import identity, source
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.config import Project
from ml_pipeline.core import artefacts, documents
from ml_pipeline.core.errors import EnvironmentFault, PipelineError
from ml_pipeline.data import expectation_suite
from ml_pipeline.data.rules import row_tests
from ml_pipeline.data.sources import as_rows, text_columns
from ml_pipeline.features.decorator import load_modules
from ml_pipeline.problems.compute_features import SOURCE_ROW, features_of_rows, read_file
from ml_pipeline.problems.loader import load_problem
from ml_pipeline.serving.feature_messages import (
    CSV,
    ComputedFeatures,
    Failure,
    Ready,
    encode,
    read_frame,
    write_frame,
)
from ml_pipeline.serving.feature_worker_process import UNAVAILABLE
from ml_pipeline.serving.predict_formats import parse_strict_json
from ml_pipeline.serving.request_checks import RequestError

if TYPE_CHECKING:
    import pandas as pd

    from ml_pipeline.features.schema import FeatureSchema
    from ml_pipeline.problem import FeatureFunction, Problem

SCHEMA_ERROR = 422
MAX_VALUE_SHOWN = 40
"""Characters of a value from the request that an error shows."""
MAX_BITS = 1023
"""Bits of the largest integer that a float can represent."""
INTERNAL_ERROR = "an error in the bundle's code; see the server's log"

logger = logging.getLogger("ml_pipeline.serving")


@dataclass(frozen=True)
class FeatureCode:
    """The imported feature code of a bundle."""

    project: Project
    problem: Problem
    functions: Sequence[FeatureFunction]
    schema: FeatureSchema
    scratch: Path

    @classmethod
    def load(cls, bundle: Bundle, folder: Path) -> FeatureCode:
        """Unpack the bundle's code into ``folder``/code and import it.

        Raises:
            PipelineError: the archive, its configuration or a module cannot be used, or the
                packages here are not those of the lock that the model was trained with.
        """
        root = folder / "code"
        try:
            source.unpack(bundle.path / artefacts.SOURCE_FILE, root)
        except (tarfile.TarError, OSError) as error:
            raise EnvironmentFault(f"source.tar.gz cannot be used: {error}") from None
        project = config.load(root, environment={})
        _check_lock(bundle, project)
        problem = load_problem(project.config.problem, project.root)
        functions = load_modules(project.root, project.config.features.modules)
        expectation_suite.prepare()
        return cls(project, problem, functions, bundle.schema, folder)

    def compute(self, body: bytes, max_rows: int) -> ComputedFeatures:
        """Return the features of a request's rows.

        Raises:
            RequestError: the body has another format, or a row to be predicted fails a data test.
            PipelineError: the code does not accept these rows.
        """
        import pandas as pd

        if body.startswith(CSV):
            return self._compute_csv(body.removeprefix(CSV), max_rows)
        rows, since = _parse(body, max_rows)
        self._check_columns(rows[0])
        self._check_numbers(rows)
        if since is not None:
            self._time_column()
        read = as_rows(_frame(rows, self._text_columns()), self.problem, self.project.config.data)
        result = features_of_rows(self.project, self.problem, self.functions, read)
        table = result.table
        for place, tests in result.set_aside.items():
            if since is None or not self._is_before(rows[place], since):
                raise RequestError(
                    SCHEMA_ERROR, f"row {place} {self._describe_failed_tests(tests, rows[place])}"
                )
        chosen = (
            table if since is None else table[table[self._time_column()] >= pd.Timestamp(since)]
        )
        return self._features(chosen, result.set_aside)

    def _compute_csv(self, content: bytes, max_rows: int) -> ComputedFeatures:
        """Return the features of every row of a CSV file, read as by ``score --in``."""
        path = self.scratch / "rows.csv"
        path.write_bytes(content)
        read = read_file(self.project, path, self.problem)
        _check_count(read.count, max_rows)
        for line in read.unread:
            raise RequestError(SCHEMA_ERROR, f"line {line.line} is no row: {line.reason}")
        result = features_of_rows(self.project, self.problem, self.functions, read)
        for place, tests in result.set_aside.items():
            raise RequestError(
                SCHEMA_ERROR,
                f"row {place} {self._describe_failed_tests(tests, form=read.date_format)}",
            )
        return self._features(result.table, result.set_aside)

    def _features(self, chosen: pd.DataFrame, set_aside: Mapping[int, str]) -> ComputedFeatures:
        return ComputedFeatures(
            rows=_feature_rows(chosen, self.schema),
            places=[int(place) for place in chosen[SOURCE_ROW]],
            set_aside=sorted(set_aside.items()),
        )

    def _describe_failed_tests(
        self, tests: str, row: Mapping[str, Any] | None = None, form: str | None = None
    ) -> str:
        """Describe the data tests that a row failed, with the values of their columns if known.

        If one of them is about the format of the day, the expected format is added: ``form``, or
        ISO.
        """
        message = f"misses the data test {tests}"
        if row is not None:
            values = [f"'{name}' is {_shorten(row[name])}" for name in self._columns_of(tests, row)]
            message += f" ({', '.join(values)})" if values else ""
        is_day = f"{self.problem.time_column}_format" in tests
        return message + (f"; a day is {form or 'YYYY-MM-DD'} here" if is_day else "")

    def _columns_of(self, tests: str, row: Mapping[str, Any]) -> list[str]:
        """Return the columns of a request that data tests are about."""
        data = self.project.config.data
        names = {source: name for name, source in data.columns.items()}
        present = [*(names.get(name, name) for name in row), *data.constants]
        missed = tests.split("; ")
        about = [
            self._source_name(name)
            for test in row_tests(self.problem, data, present, date.max)
            if test.name in missed
            for name in test.columns
        ]
        return [name for name in dict.fromkeys(about) if name in row]

    def _check_columns(self, row: Mapping[str, Any]) -> None:
        """Check that no column that problem or model require is missing.

        The error names all missing columns, and similar columns of the row.
        """
        data = self.project.config.data
        grouped = self.problem.group_column if data.groups is not None else None
        provided = {self.problem.label_column, grouped, *data.constants}
        columns = self.problem.columns()
        needed = {
            self._source_name(column.name)
            for column in columns
            if column.required and column.name not in provided
        }
        if not self.functions:  # with functions, a feature need not be a column
            features = {column.name for column in self.problem.feature_columns(self.schema.names)}
            needed |= {
                self._source_name(name)
                for name in features.intersection(self.schema.names) - provided
            }
        if missing := sorted(needed - row.keys()):
            others = row.keys() - {self._source_name(column.name) for column in columns} - needed
            message = f"row 0 lacks the column{'s' * (len(missing) > 1)} {_join_names(missing)}"
            for name in missing:
                if near := get_close_matches(name, others, n=1, cutoff=0.7):
                    meant = "meant" if len(missing) == 1 else f"meant for '{name}'"
                    message += f"; is '{near[0]}' {meant}?"
            raise RequestError(SCHEMA_ERROR, message)

    def _check_numbers(self, rows: Sequence[dict[str, Any]]) -> None:
        """Check that numeric columns have no text, which sources would read as missing."""
        features = self.problem.feature_columns([*rows[0]])
        numeric = [
            self._source_name(column.name)
            for column in (*self.problem.columns(), *features)
            if column.kind in ("number", "integer") and column.name != self.problem.label_column
        ]
        for place, row in enumerate(rows):
            for name in numeric:
                if isinstance(row.get(name), str):
                    raise RequestError(
                        SCHEMA_ERROR, f"row {place}: '{name}' is text; expected a number or null"
                    )

    def _source_name(self, column: str) -> str:
        """Return the name of a problem's column in the source, and so in a request."""
        return self.project.config.data.columns.get(column, column)

    def _text_columns(self) -> frozenset[str]:
        return text_columns(self.problem, self.project.config.data)

    def _time_column(self) -> str:
        if self.problem.time_column is None:
            raise RequestError(SCHEMA_ERROR, "'since' is given and the problem has no time")
        return self.problem.time_column

    def _is_before(self, row: Mapping[str, Any], since: date) -> bool:
        """Whether a row is of an earlier day; False if its day cannot be parsed."""
        value = row.get(self._source_name(self._time_column()))
        try:
            return date.fromisoformat(str(value)[:10]) < since
        except ValueError:
            return False


def _check_lock(bundle: Bundle, project: Project) -> None:
    packages = identity.locked(project)
    installed_lock = identity.digest_of(packages)
    bundle_lock = bundle.manifest["identity_parts"].get("lock")
    if installed_lock != bundle_lock:
        differences = "; ".join(_differing(bundle, packages)) or f"lock {installed_lock[:12]}"
        raise EnvironmentFault(
            "the packages of this server are not those that the model was trained with: "
            f"{differences}",
            expected=f"lock {str(bundle_lock)[:12]}",
            hint="deploy it with an image or environment made from the lock of the model's commit",
        )


def _differing(bundle: Bundle, packages: Mapping[str, str]) -> list[str]:
    """Return the packages whose version differs from the bundle's bill of materials."""
    path = bundle.path / artefacts.SBOM_FILE
    if not path.is_file():
        return []
    listed = documents.parse_json(path.read_bytes(), path.name).get("components", [])
    trained = {each["name"]: each["version"] for each in listed}
    return [
        f"{name} {version}, trained with {trained[name]}"
        for name, version in sorted(packages.items())
        if trained.get(name, version) != version
    ]


def _shorten(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_VALUE_SHOWN else f"{text[:MAX_VALUE_SHOWN]}…"


def _parse(body: bytes, max_rows: int) -> tuple[list[dict[str, Any]], date | None]:
    values = parse_strict_json(body)
    if not isinstance(values, dict) or not isinstance(values.get("rows"), list):
        raise RequestError(SCHEMA_ERROR, 'expected an object: {"rows": [{"column": value, …}, …]}')
    if unknown := sorted(set(values) - {"rows", "since"}):
        raise RequestError(SCHEMA_ERROR, f"unknown key '{unknown[0]}'; expected 'rows' and 'since'")
    rows = values["rows"]
    if not rows:
        raise RequestError(SCHEMA_ERROR, "'rows' is empty; expected at least one")
    _check_count(len(rows), max_rows)
    for place, row in enumerate(rows):
        if not isinstance(row, dict):
            raise RequestError(SCHEMA_ERROR, f"row {place} is no object of columns and values")
        _check_row(row, place, rows[0])
    return rows, _parse_since(values.get("since"))


def _join_names(names: Sequence[str]) -> str:
    *others, last = (f"'{name}'" for name in names)
    return f"{', '.join(others)} and {last}" if others else last


def _check_count(rows: int, limit: int) -> None:
    if rows > limit:
        raise RequestError(413, f"{rows} rows; at most {limit} in one request")


def _check_row(row: dict[str, Any], place: int, first: dict[str, Any]) -> None:
    if row.keys() != first.keys():
        missing = sorted(first.keys() - row.keys())
        what = f"lacks '{missing[0]}'" if missing else f"has '{min(row.keys() - first.keys())}'"
        raise RequestError(
            SCHEMA_ERROR, f"row {place} {what}, unlike row 0; write null where a value is missing"
        )
    for name, value in row.items():
        if not isinstance(value, str | int | float | None):
            raise RequestError(
                SCHEMA_ERROR, f"row {place}: '{name}' is a list or an object; expected one value"
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise RequestError(
                SCHEMA_ERROR, f"row {place}: '{name}' is {value}; expected a finite number or null"
            )
        if isinstance(value, int) and value.bit_length() > MAX_BITS:
            raise RequestError(SCHEMA_ERROR, f"row {place}: '{name}' is beyond the largest float")
        if not _is_unicode(name) or (isinstance(value, str) and not _is_unicode(value)):
            raise RequestError(
                SCHEMA_ERROR,
                f"row {place}: {name!a} holds half of a surrogate pair, which is no text",
            )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _parse_since(value: object) -> date | None:
    if value is None:
        return None
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise RequestError(SCHEMA_ERROR, "'since' is no day; expected YYYY-MM-DD") from None


def _frame(rows: Sequence[dict[str, Any]], text: frozenset[str]) -> pd.DataFrame:
    """Return the rows as a source would return them: text and ids unchanged."""
    import pandas as pd

    return pd.DataFrame(
        {
            name: pd.Series([row[name] for row in rows], dtype=object if name in text else None)
            for name in rows[0]
        }
    )


def _feature_rows(table: pd.DataFrame, schema: FeatureSchema) -> list[list[Any]]:
    columns = []
    for feature in schema.features:
        if feature.name not in table.columns:
            raise RequestError(SCHEMA_ERROR, f"the rows give no feature '{feature.name}'")
        column = table[feature.name]
        values = column.astype(object).where(column.notna(), None).tolist()
        numeric = feature.kind == "numeric"
        columns.append([float(v) if numeric and _is_number(v) else v for v in values])
    return [list(row) for row in zip(*columns, strict=True)]


def _is_number(value: object) -> bool:
    return value is not None and not isinstance(value, str)


def reply(code: FeatureCode, body: bytes, max_rows: int) -> ComputedFeatures | Failure:
    """Return the features, or the failure for the client."""
    try:
        return code.compute(body, max_rows)
    except RequestError as error:
        return Failure(error.status, str(error))
    except EnvironmentFault as error:
        return Failure(503, str(error))
    except PipelineError as error:
        return Failure(SCHEMA_ERROR, str(error))
    except Exception:
        logger.exception("fault")
        return Failure(500, INTERNAL_ERROR)


def main(arguments: list[str] | None = None) -> int:
    """Reply to requests until standard input ends."""
    import psutil

    parser = argparse.ArgumentParser(prog="python -m ml_pipeline.scoring.feature_worker")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--max-rows", type=int, required=True)
    parser.add_argument("--max-memory", type=int, required=True)
    options = parser.parse_args(arguments)
    requests, replies = _take_over_streams()
    with tempfile.TemporaryDirectory(prefix="feature-worker-") as scratch:
        try:
            code = FeatureCode.load(Bundle.open(options.bundle), Path(scratch).resolve())
        except PipelineError as error:
            write_frame(replies, encode(Failure(UNAVAILABLE, f"no raw rows: {error}")))
            return error.exit_code
        write_frame(replies, encode(Ready()))
        while (body := read_frame(requests)) is not None:
            write_frame(replies, encode(reply(code, body, options.max_rows)))
            if psutil.Process().memory_info().rss > options.max_memory:
                logger.warning(
                    "the feature worker holds over %d MB and ends", options.max_memory >> 20
                )
                return 0
    return 0


def _take_over_streams() -> tuple[Any, Any]:
    """Return the pipes to the server, and redirect output of the bundle's code to stderr."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null_device = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null_device, 0)
    os.close(null_device)
    os.dup2(2, 1)
    return requests, replies


if __name__ == "__main__":
    sys.exit(main())
