"""``ml-pipeline score``: rows in, a model's predictions out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.config import Project, SqlSource
from ml_pipeline.core.errors import Refused, UsageError
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import Progress
from ml_pipeline.data.source_rows import SourceRows
from ml_pipeline.data.sources import date_columns, read_source, text_columns, to_problem_columns
from ml_pipeline.data.sql import Database
from ml_pipeline.problems.compute_features import SOURCE_ROW, SetAside, left_out, read_file, shown
from ml_pipeline.problems.loader import load_problem
from ml_pipeline.scoring import model, prediction_files, prediction_table
from ml_pipeline.scoring.model import ScoringModel
from ml_pipeline.scoring.predictions import Predictions, key_columns, predict
from ml_pipeline.tasks.loader import load_task

if TYPE_CHECKING:
    import pandas as pd

    from ml_pipeline.problem import Problem

SQL = "sql:"
PRODUCTION = "production"


@dataclass(frozen=True)
class ScoreRequest:
    """The flags of the verb: rows, model and output.

    ``rows`` is a file, ``sql:QUERY``, or None for the project's source; ``out`` a file or
    ``sql:TABLE``. Of ``environment``, ``bundle`` and ``version`` one is set.
    """

    rows: str | None
    out: str
    environment: str | None = None
    bundle: Path | None = None
    version: int | None = None
    since: date | None = None

    @classmethod
    def of(cls, flags: Mapping[str, Any]) -> ScoreRequest:
        """Return the request from the flags.

        Raises:
            UsageError: --out is missing or invalid, more than one model is named, or --since is not
                a date.
        """
        out = flags.get("out")
        if not out:
            raise UsageError("score lacks --out", expected=f"a file or {SQL}TABLE")
        if out.startswith(SQL):
            prediction_table.check_name(out.removeprefix(SQL))
        elif not out.endswith(prediction_files.ENDINGS):
            raise UsageError(
                f"--out {out}",
                expected=f"a file that ends with {' or '.join(prediction_files.ENDINGS)}, or "
                f"{SQL}TABLE",
            )
        named = [name for name in ("environment", "bundle", "version") if flags.get(name)]
        if len(named) > 1:
            raise UsageError(f"--{named[0]} and --{named[1]}", expected="one model")
        return cls(
            rows=flags.get("in"),
            out=out,
            environment=flags.get("environment") or (None if named else PRODUCTION),
            bundle=Path(flags["bundle"]) if flags.get("bundle") else None,
            version=flags.get("version"),
            since=_day(flags.get("since")),
        )


@dataclass(frozen=True)
class ScoreResult:
    """The result of scoring: counts and rows without a prediction."""

    rows: int
    written: int
    set_aside: tuple[SetAside, ...]
    model: ScoringModel
    out: str
    blanked: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "written": self.written,
            "unchanged": self.rows - self.written,
            "set_aside": len(self.set_aside),
            "set_aside_rows": [row.to_json() for row in self.set_aside],
            "blanked": dict(self.blanked),
            "model_version": self.model.version,
            "bundle_digest": self.model.bundle.digest,
            "out": self.out,
        }

    @property
    def summary(self) -> str:
        """One line for the terminal."""
        text = (
            f"{self.rows:,} rows scored by {self.model.description}: {self.written:,} written to "
        )
        text += self.out
        if self.written < self.rows:
            text += f", {self.rows - self.written:,} unchanged"
        if self.set_aside:
            text += f"; {len(self.set_aside):,} missed a data test and are left out: "
            text += shown(self.set_aside)
        for name, count in self.blanked.items():
            text += f"; {count:,} cells of {name} count as missing"
        return text


def score(project: Project, home: Home, request: ScoreRequest, progress: Progress) -> ScoreResult:
    """Score the rows and write the predictions.

    Features are computed by the code in the bundle, so they are those of the training, even if the
    project has changed since. Columns are read by the project's current configuration. The label
    column is ignored.

    Raises:
        UsageError: a flag, the configuration, a query or a table is wrong.
        Refused: the bundle does not verify, or there is no row that it can score.
        EnvironmentFault: nothing is served, or registry, database or disk are unavailable.
    """
    problem = load_problem(project.config.problem, project.root)
    key_columns(problem, load_task(project.config.problem.task))
    with _model(project, home, request, progress) as scorer:
        progress("reading the rows", 0.1)
        source, rows = _rows(project, request.rows, problem)
        progress(f"scoring {len(rows):,} rows", 0.3)
        predictions = predict(scorer, rows, problem, datetime.now(UTC), request.since)
        progress("writing the predictions", 0.9)
        written = _write(project, predictions, request.out)
        missed = left_out(source, predictions.set_aside)
        return ScoreResult(
            len(predictions.table), written, missed, scorer, request.out, predictions.blanked
        )


@contextmanager
def _model(
    project: Project, home: Home, request: ScoreRequest, progress: Progress
) -> Iterator[ScoringModel]:
    if request.bundle is not None:
        yield model.model_from_folder(request.bundle)
    elif request.version is not None:
        with model.registered_model(project, home, request.version, progress) as registered:
            yield registered
    else:
        yield model.served_model(project, home, request.environment or PRODUCTION)


def _rows(project: Project, rows: str | None, problem: Problem) -> tuple[SourceRows, pd.DataFrame]:
    """Return the rows as read, and in the problem's columns with an empty label, if any."""
    data = project.config.data
    text, dates = text_columns(problem, data), date_columns(problem, data)
    if rows is None:
        source = read_source(data.source, project, text, dates)
    elif rows.startswith(SQL):
        if not isinstance(data.source, SqlSource):
            raise UsageError("--in sql: and data.source is no database", expected="kind: sql")
        query = rows.removeprefix(SQL)
        configured = data.source.model_copy(update={"query": query})
        source = read_source(configured, project, text, dates)
    else:
        source = read_file(project, Path(rows), problem)
    raw = source.frame
    if raw.empty:
        raise Refused("there is no row to score", expected="at least one")
    label = problem.label_column
    if label is not None:
        raw = raw.assign(**{data.columns.get(label, label): None})
    return source, to_problem_columns(raw, problem, data, project)


def _write(project: Project, predictions: Predictions, out: str) -> int:
    if not out.startswith(SQL):
        return prediction_files.write_file(predictions, Path(out))
    if predictions.key == (SOURCE_ROW,):
        raise UsageError(
            f"--out {out}: the problem has neither time nor entity, so rows have no key",
            hint="set problem.entity, or write a file",
        )
    twice = predictions.table.duplicated(list(predictions.key))
    if twice.any():
        names = predictions.table.loc[twice, list(predictions.key)].iloc[0]
        shown = ", ".join(f"{name} {value}" for name, value in names.items())
        raise Refused(f"two rows have the key {shown}", expected="one row a key")
    return prediction_table.write_table(
        predictions, _database(project), out.removeprefix(SQL), project.root
    )


def _database(project: Project) -> Database:
    section, source = project.config.score, project.config.data.source
    if section.url is not None:
        return Database(section.url, section.password_env, "score")
    if isinstance(source, SqlSource):
        return Database(source.url, source.password_env)
    raise UsageError("--out sql: and no database is configured", hint="set score.url in ml.yaml")


def _day(text: str | None) -> date | None:
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--since {text}", expected="a day as YYYY-MM-DD") from None
