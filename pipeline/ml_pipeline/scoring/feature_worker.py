"""``python -m ml_pipeline.scoring.feature_worker --bundle DIR``: features of raw rows for a server.

It computes what ``ml-pipeline score`` computes, by the code and configuration in the bundle's
``source.tar.gz``, and answers frames on standard input (``ml_pipeline.serving.feature_messages``).
It ends when its input does, which is when its server has.
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

MISFIT = 422
SHOWN = 40
"""Characters of a client's value that an error shows."""
MAX_BITS = 1023
"""Of an integer that a float can hold."""
FAULT = "a fault of the bundle's code; the server's log tells more"

logger = logging.getLogger("ml_pipeline.serving")


@dataclass(frozen=True)
class FeatureCode:
    """A bundle's code, ready to be called."""

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
            RequestError: the body is none of this form, or a row to be predicted misses a data
                test.
            PipelineError: the code does not take these rows.
        """
        import pandas as pd

        if body.startswith(CSV):
            return self._compute_csv(body.removeprefix(CSV), max_rows)
        rows, since = _parse(body, max_rows)
        self._check_columns(rows[0])
        self._check_numbers(rows)
        if since is not None:
            self._time()
        read = as_rows(_frame(rows, self._text()), self.problem, self.project.config.data)
        found = features_of_rows(self.project, self.problem, self.functions, read)
        table = found.table
        for place, tests in found.set_aside.items():
            if since is None or not self._is_before(rows[place], since):
                raise RequestError(MISFIT, f"row {place} {self._missed(tests, rows[place])}")
        chosen = table if since is None else table[table[self._time()] >= pd.Timestamp(since)]
        return self._features(chosen, found.set_aside)

    def _compute_csv(self, content: bytes, max_rows: int) -> ComputedFeatures:
        """Return the features of every row of a CSV file, read as ``score --in`` reads one."""
        path = self.scratch / "rows.csv"
        path.write_bytes(content)
        read = read_file(self.project, path, self.problem)
        _check_count(read.count, max_rows)
        for line in read.unread:
            raise RequestError(MISFIT, f"line {line.line} is no row: {line.reason}")
        found = features_of_rows(self.project, self.problem, self.functions, read)
        for place, tests in found.set_aside.items():
            raise RequestError(MISFIT, f"row {place} {self._missed(tests, form=read.date_format)}")
        return self._features(found.table, found.set_aside)

    def _features(self, chosen: pd.DataFrame, set_aside: Mapping[int, str]) -> ComputedFeatures:
        return ComputedFeatures(
            rows=_values(chosen, self.schema),
            places=[int(place) for place in chosen[SOURCE_ROW]],
            set_aside=sorted(set_aside.items()),
        )

    def _missed(
        self, tests: str, row: Mapping[str, Any] | None = None, form: str | None = None
    ) -> str:
        """Say which data tests a row missed, with what is in their columns if it is known.

        And how a day is written in a request (``form``, if it has one of its own), where that is
        what one of them is about.
        """
        told = f"misses the data test {tests}"
        if row is not None:
            found = [f"'{name}' is {_shown(row[name])}" for name in self._columns_of(tests, row)]
            told += f" ({', '.join(found)})" if found else ""
        is_day = f"{self.problem.time_column}_format" in tests
        return told + (f"; a day is {form or 'YYYY-MM-DD'} here" if is_day else "")

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
        """Refuse rows without columns that problem or model need, and name all of them.

        Where another column of the row may be meant by one, that is said.
        """
        data = self.project.config.data
        grouped = self.problem.group_column if data.groups is not None else None
        given = {self.problem.label_column, grouped, *data.constants}
        columns = self.problem.columns()
        needed = {
            self._source_name(column.name)
            for column in columns
            if column.required and column.name not in given
        }
        if not self.functions:  # with functions, a feature need not be a column
            features = {column.name for column in self.problem.feature_columns(self.schema.names)}
            needed |= {
                self._source_name(name) for name in features.intersection(self.schema.names) - given
            }
        if lacking := sorted(needed - row.keys()):
            others = row.keys() - {self._source_name(column.name) for column in columns} - needed
            told = f"row 0 lacks the column{'s' * (len(lacking) > 1)} {_listed(lacking)}"
            for name in lacking:
                if near := get_close_matches(name, others, n=1, cutoff=0.7):
                    meant = "meant" if len(lacking) == 1 else f"meant for '{name}'"
                    told += f"; is '{near[0]}' {meant}?"
            raise RequestError(MISFIT, told)

    def _check_numbers(self, rows: Sequence[dict[str, Any]]) -> None:
        """Refuse text in numeric columns, which reading a source would take for missing."""
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
                        MISFIT, f"row {place}: '{name}' is text; expected a number or null"
                    )

    def _source_name(self, column: str) -> str:
        """Return what the source, and so a request, calls a column of the problem."""
        return self.project.config.data.columns.get(column, column)

    def _text(self) -> frozenset[str]:
        return text_columns(self.problem, self.project.config.data)

    def _time(self) -> str:
        if self.problem.time_column is None:
            raise RequestError(MISFIT, "'since' is given and the problem has no time")
        return self.problem.time_column

    def _is_before(self, row: Mapping[str, Any], since: date) -> bool:
        """Whether a row is known to be history; one whose day cannot be read is not."""
        value = row.get(self._source_name(self._time()))
        try:
            return date.fromisoformat(str(value)[:10]) < since
        except ValueError:
            return False


def _check_lock(bundle: Bundle, project: Project) -> None:
    found = identity.locked(project)
    here = identity.digest_of(found)
    there = bundle.manifest["identity_parts"].get("lock")
    if here != there:
        differ = "; ".join(_differing(bundle, found)) or f"lock {here[:12]}"
        raise EnvironmentFault(
            f"the packages of this server are not those that the model was trained with: {differ}",
            expected=f"lock {str(there)[:12]}",
            hint="deploy it with an image or environment made from the lock of the model's commit",
        )


def _differing(bundle: Bundle, found: Mapping[str, str]) -> list[str]:
    """Return the packages whose version is another one than in the bundle's bill of materials."""
    path = bundle.path / artefacts.SBOM_FILE
    if not path.is_file():
        return []
    listed = documents.parse_json(path.read_bytes(), path.name).get("components", [])
    trained = {each["name"]: each["version"] for each in listed}
    return [
        f"{name} {version}, trained with {trained[name]}"
        for name, version in sorted(found.items())
        if trained.get(name, version) != version
    ]


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _parse(body: bytes, max_rows: int) -> tuple[list[dict[str, Any]], date | None]:
    values = parse_strict_json(body)
    if not isinstance(values, dict) or not isinstance(values.get("rows"), list):
        raise RequestError(MISFIT, 'expected an object: {"rows": [{"column": value, …}, …]}')
    if unknown := sorted(set(values) - {"rows", "since"}):
        raise RequestError(MISFIT, f"unknown key '{unknown[0]}'; expected 'rows' and 'since'")
    rows = values["rows"]
    if not rows:
        raise RequestError(MISFIT, "'rows' is empty; expected at least one")
    _check_count(len(rows), max_rows)
    for place, row in enumerate(rows):
        if not isinstance(row, dict):
            raise RequestError(MISFIT, f"row {place} is no object of columns and values")
        _check_row(row, place, rows[0])
    return rows, _since(values.get("since"))


def _listed(names: Sequence[str]) -> str:
    *others, last = (f"'{name}'" for name in names)
    return f"{', '.join(others)} and {last}" if others else last


def _check_count(rows: int, limit: int) -> None:
    if rows > limit:
        raise RequestError(413, f"{rows} rows; at most {limit} in one request")


def _check_row(row: dict[str, Any], place: int, first: dict[str, Any]) -> None:
    if row.keys() != first.keys():
        lacking = sorted(first.keys() - row.keys())
        what = f"lacks '{lacking[0]}'" if lacking else f"has '{min(row.keys() - first.keys())}'"
        raise RequestError(
            MISFIT, f"row {place} {what}, unlike row 0; write null where a value is missing"
        )
    for name, value in row.items():
        if not isinstance(value, str | int | float | None):
            raise RequestError(
                MISFIT, f"row {place}: '{name}' is a list or an object; expected one value"
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise RequestError(
                MISFIT, f"row {place}: '{name}' is {value}; expected a finite number or null"
            )
        if isinstance(value, int) and value.bit_length() > MAX_BITS:
            raise RequestError(MISFIT, f"row {place}: '{name}' is beyond the largest float")
        if not _is_unicode(name) or (isinstance(value, str) and not _is_unicode(value)):
            raise RequestError(
                MISFIT, f"row {place}: {name!a} holds half of a surrogate pair, which is no text"
            )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _since(value: object) -> date | None:
    if value is None:
        return None
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        raise RequestError(MISFIT, "'since' is no day; expected YYYY-MM-DD") from None


def _frame(rows: Sequence[dict[str, Any]], text: frozenset[str]) -> pd.DataFrame:
    """Return the rows as a source would give them: text stays text, an id stays exact."""
    import pandas as pd

    return pd.DataFrame(
        {
            name: pd.Series([row[name] for row in rows], dtype=object if name in text else None)
            for name in rows[0]
        }
    )


def _values(table: pd.DataFrame, schema: FeatureSchema) -> list[list[Any]]:
    columns = []
    for feature in schema.features:
        if feature.name not in table.columns:
            raise RequestError(MISFIT, f"the rows give no feature '{feature.name}'")
        column = table[feature.name]
        values = column.astype(object).where(column.notna(), None).tolist()
        numeric = feature.kind == "numeric"
        columns.append([float(v) if numeric and _is_number(v) else v for v in values])
    return [list(row) for row in zip(*columns, strict=True)]


def _is_number(value: object) -> bool:
    return value is not None and not isinstance(value, str)


def answer(code: FeatureCode, body: bytes, max_rows: int) -> ComputedFeatures | Failure:
    """Return the features, or what the client is to be told instead."""
    try:
        return code.compute(body, max_rows)
    except RequestError as error:
        return Failure(error.status, str(error))
    except EnvironmentFault as error:
        return Failure(503, str(error))
    except PipelineError as error:
        return Failure(MISFIT, str(error))
    except Exception:
        logger.exception("fault")
        return Failure(500, FAULT)


def main(arguments: list[str] | None = None) -> int:
    """Answer until standard input ends."""
    import psutil

    parser = argparse.ArgumentParser(prog="python -m ml_pipeline.scoring.feature_worker")
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--max-rows", type=int, required=True)
    parser.add_argument("--max-memory", type=int, required=True)
    given = parser.parse_args(arguments)
    asked, answers = _own_streams()
    with tempfile.TemporaryDirectory(prefix="feature-worker-") as scratch:
        try:
            code = FeatureCode.load(Bundle.open(given.bundle), Path(scratch).resolve())
        except PipelineError as error:
            write_frame(answers, encode(Failure(UNAVAILABLE, f"no raw rows: {error}")))
            return error.exit_code
        write_frame(answers, encode(Ready()))
        while (body := read_frame(asked)) is not None:
            write_frame(answers, encode(answer(code, body, given.max_rows)))
            if psutil.Process().memory_info().rss > given.max_memory:
                logger.warning(
                    "the feature worker holds over %d MB and ends", given.max_memory >> 20
                )
                return 0
    return 0


def _own_streams() -> tuple[Any, Any]:
    """Return the pipes to the server; what the bundle's code prints goes to standard error."""
    asked, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return asked, answers


if __name__ == "__main__":
    sys.exit(main())
