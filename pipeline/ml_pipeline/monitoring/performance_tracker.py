"""Follows the performance of versions in production: what one look adds to it, and its verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.config import Project
from ml_pipeline.core.errors import PipelineError, Refused
from ml_pipeline.core.home import Home
from ml_pipeline.gate.expected_performance import ExpectedPerformance
from ml_pipeline.monitoring import performance as measure
from ml_pipeline.monitoring.drift_judgement import Judgement, Terms
from ml_pipeline.monitoring.labelled_rows import LabelledRows, labelled_digests, read_labelled
from ml_pipeline.monitoring.labels import DAY, KEPT_DAYS, PendingRows
from ml_pipeline.monitoring.performance import Performance
from ml_pipeline.monitoring.performance_history import (
    Figures,
    PerformanceLine,
    write_performance,
)
from ml_pipeline.monitoring.performance_judgement import (
    Realised,
    judge_estimated,
    judge_realised,
    judge_without_labels,
)
from ml_pipeline.monitoring.replaced_versions import ReplacedVersions
from ml_pipeline.promotion.production_history import Entry
from ml_pipeline.targets.released_bundles import FOLDER as RELEASED

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ml_pipeline.monitoring.served_rows import ServedRows
    from ml_pipeline.problem import Problem
    from ml_pipeline.tasks.base import Task

    Floats = NDArray[np.float64]

MAX_ESTIMATED_ROWS = 1_000_000
"""The newest rows of a look that performance is estimated for."""

ExpectedOf = Callable[[str], ExpectedPerformance | None]
"""From the digest of a bundle to what its gate record expects; None where it has no such entry."""


@dataclass
class PerformanceTracker:
    """One look: rows are added in the order of the log, then they are judged.

    Attributes:
        folder: of the environment.
        look: the last look that counts; 0 for none.
        project: whose section ``monitor`` says where labels come from.
        bundle: of the version that serves.
        version: its number.
        metric: that of the expected performance; without one the gate's primary metric.
        home: with the released bundles.
        expected_of: returns a version's expected performance; raises PipelineError where the
            record cannot be read.
        replaced: versions that are scored on the same rows.
        numbers: of versions, by digest.
        pending: the rows that wait for labels; None without ``monitor.labels``.
    """

    folder: Path
    look: int
    project: Project
    bundle: Bundle
    version: int | None
    metric: str
    home: Home
    expected_of: ExpectedOf
    replaced: ReplacedVersions
    numbers: Mapping[str, int]
    pending: PendingRows | None
    _predictions: list[Floats] = field(default_factory=list)
    _times: list[Floats] = field(default_factory=list)

    @classmethod
    def open(
        cls,
        folder: Path,
        look: int,
        project: Project,
        problem: Problem,
        bundle: Bundle,
        version: int | None,
        home: Home,
        history: Iterable[Entry],
        expected_of: ExpectedOf,
    ) -> PerformanceTracker:
        """Open the folder of an environment; what a killed look left there is removed.

        Raises:
            UsageError: ``monitor.labels`` is wrong.
        """
        section = project.config.monitor
        changes, task = [*history], bundle.task
        metric = project.config.gate.metric or problem.primary_metric
        return cls(
            folder=folder,
            look=look,
            project=project,
            bundle=bundle,
            version=version,
            metric=metric if metric in task.metrics else task.primary_metric,
            home=home,
            expected_of=expected_of,
            replaced=ReplacedVersions.of(home, changes, bundle.digest, task),
            numbers={change.bundle: change.version for change in changes},
            pending=PendingRows(folder, look, section.labels, problem, section.group_by)
            if section.labels is not None
            else None,
        )

    def add(self, rows: ServedRows) -> None:
        """Add rows of any version."""
        others = None
        if rows.digest == self.bundle.digest:
            self._collect(rows)
            others = self.replaced.predict(rows) if self.pending is not None else None
        if self.pending is not None:
            self.pending.add(rows, others)

    def judge(self, now: datetime, terms: Terms) -> Judgement:
        """Join the labels that have come, judge, and write the files of this look.

        Raises:
            EnvironmentFault: labels or files of the folder cannot be read or written.
            UsageError: the source of labels lacks a column.
        """
        expected, why_unknown = self._expected(self.bundle.digest)
        task = self.bundle.task
        if expected is not None and expected.metric in task.metrics:
            self.metric = expected.metric
        estimate = self._estimate(expected)
        judged = [judge_estimated(estimate, task, expected, terms.min_rows)]
        realised: Performance | None = None
        line = self._line(now, self.bundle.digest, self.version, expected)
        if estimate.value is not None:
            line = line.model_copy(update={"estimated": estimate.to_json()})
        further: list[PerformanceLine] = []
        if self.pending is None:
            judged.append(judge_without_labels())
        else:
            join = self.pending.join(self.project, task, now)
            judged.append(
                Judgement(
                    [join.check(self.pending.section.delay_days)],
                    metrics={"labels": join.to_json()},
                )
            )
            rows = self._labelled(self.bundle.digest, task)
            facts = Realised(
                rows,
                task,
                self.metric,
                expected,
                why_unknown,
                self.replaced.numbers,
                self.replaced.why,
            )
            judgement, realised = judge_realised(facts, join, terms)
            judged.append(judgement)
            came = labelled_digests(self.folder, self.look + 1)
            if self.bundle.digest in came:
                line = self._with_realised(line, rows, task, realised, expected)
                further += self._lines_of_replaced(now, rows)
            further += self._lines_of_earlier(now, came - {self.bundle.digest})
        has_figures = line.realised is not None or line.estimated is not None
        lines = [*([line] if has_figures else []), *further]
        write_performance(self.folder, self.look, lines)
        figures = {
            "metric": self.metric,
            "expected": None if expected is None else expected.to_json(),
            "estimated": estimate.to_json(),
            "realised": None if realised is None else realised.to_json(),
            "versions": [one.row() for one in lines],
        }
        metrics: dict[str, Any] = {"performance": figures}
        for one in judged:
            metrics |= one.metrics
        return Judgement(
            [check for one in judged for check in one.checks],
            [finding for one in judged for finding in one.findings],
            metrics,
            [name for one in judged for name in one.undecided],
        )

    def remove_old(self, now: datetime) -> None:
        """Remove the files that this look replaced; call it once ``state.json`` names the look."""
        if self.pending is not None:
            self.pending.remove_old(now)

    # --- figures ---------------------------------------------------------------------------

    def _expected(self, digest: str) -> tuple[ExpectedPerformance | None, str]:
        """Return the expected performance, or None and why it cannot be read."""
        try:
            return self.expected_of(digest), ""
        except PipelineError as error:
            return None, f"the expected performance cannot be read: {error}"

    def _collect(self, rows: ServedRows) -> None:
        self._predictions.append(rows.predictions)
        self._times.append(rows.times)
        while sum(map(len, self._times[1:])) >= MAX_ESTIMATED_ROWS:
            del self._predictions[0], self._times[0]

    def _estimate(self, expected: ExpectedPerformance | None) -> Performance:
        import numpy as np

        if not self._times:
            return Performance(self.metric, why="no row came since the last look")
        days = np.floor(np.concatenate(self._times) / DAY).astype(np.int64)
        predictions = np.concatenate(self._predictions)
        valid = ~self.bundle.task.invalid(predictions)
        return measure.estimated(
            predictions[valid], days[valid], self.bundle.task, self.metric, expected
        )

    def _labelled(self, digest: str, task: Task) -> LabelledRows:
        """Return the labelled rows of the longest window that ends with the newest one."""
        rows = read_labelled(self.folder, self.look + 1, digest, task)
        return rows.since(int(rows.days.max()) - KEPT_DAYS + 1) if len(rows) else rows

    # --- lines of the history --------------------------------------------------------------

    def _line(
        self,
        now: datetime,
        digest: str,
        version: int | None,
        expected: ExpectedPerformance | None,
    ) -> PerformanceLine:
        return PerformanceLine(
            look=self.look + 1,
            at=now,
            version=version,
            digest=digest,
            metric=self.metric,
            served=True,
            expected=None if expected is None else _main(expected.to_json()),
        )

    def _with_realised(
        self,
        line: PerformanceLine,
        rows: LabelledRows,
        task: Task,
        realised: Performance,
        expected: ExpectedPerformance | None,
    ) -> PerformanceLine:
        """Return a line with what came, beside what was estimated for the same rows."""
        estimate = measure.estimated(rows.predictions, rows.days, task, line.metric, expected)
        return line.model_copy(
            update={
                "realised": realised.to_json(),
                "estimated_of_labelled": None if estimate.value is None else estimate.to_json(),
                "as_expected": measure.is_as_expected(
                    task.metrics[line.metric], realised, expected
                ),
                "why": realised.why,
            }
        )

    def _lines_of_replaced(self, now: datetime, rows: LabelledRows) -> list[PerformanceLine]:
        """Return how replaced versions would have done on the rows of the one that serves."""
        import numpy as np

        found = []
        for digest, number in self.replaced.numbers.items():
            line = self._line(now, digest, number, None).model_copy(
                update={"served": False, "compared_with": self.version}
            )
            if digest not in rows.others or not np.isfinite(rows.others[digest]).any():
                why = self.replaced.why.get(digest, "it was not scored on these rows")
                found.append(line.model_copy(update={"why": f"not compared: {why}"}))
                continue
            other, mine, test = measure.against_other(rows, self.bundle.task, self.metric, digest)
            difference = None if test is None else _finite(asdict(test))
            found.append(
                line.model_copy(
                    update={
                        "realised": other.to_json(),
                        "of_served": mine.to_json(),
                        "difference": difference,
                        "why": other.why,
                    }
                )
            )
        return found

    def _lines_of_earlier(self, now: datetime, digests: Iterable[str]) -> list[PerformanceLine]:
        """Return how versions did that were replaced before the labels of their rows came."""
        found = []
        for digest in sorted(digests):
            expected, _ = self._expected(digest)
            line = self._line(now, digest, self.numbers.get(digest), expected)
            try:
                task = Bundle.open(self.home / RELEASED / digest).task
            except Refused as error:
                why = f"its bundle is no longer in the home: {error}"
                found.append(line.model_copy(update={"why": why}))
                continue
            metric = expected.metric if expected is not None else self.metric
            if metric not in task.metrics:
                why = f"a {task.title} has no {metric}"
                found.append(line.model_copy(update={"why": why}))
                continue
            rows = self._labelled(digest, task)
            realised = measure.realised(rows, task, metric, expected)
            line = line.model_copy(update={"metric": metric})
            found.append(self._with_realised(line, rows, task, realised, expected))
        return found


def _main(figures: Figures) -> Figures:
    """Return the figures of the metric, without those of groups."""
    return {name: value for name, value in figures.items() if name != "groups"}


def _finite(figures: Figures) -> Figures:
    from math import isfinite

    return {
        name: value if not isinstance(value, float) or isfinite(value) else None
        for name, value in figures.items()
    }
