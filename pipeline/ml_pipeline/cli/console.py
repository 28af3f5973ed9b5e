"""Console output: a line per stage, its failed checks, and a closing table."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from ml_pipeline.core.report import Check, StageReport, Verdict, blocking, file_name

STYLES: Mapping[Verdict, str] = {
    Verdict.PASS: "green",
    Verdict.FAIL: "bold red",
    Verdict.ERROR: "bold red",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.SKIPPED: "dim",
}
QUIET_SECONDS = 2.0
LOG_SECONDS = 10.0
NAME_WIDTH = 20


def console_on(stream: TextIO) -> Console:
    """Return a console that writes to a terminal as it is, to a log in long lines."""
    width = None if stream.isatty() else 300
    return Console(file=stream, highlight=False, soft_wrap=True, width=width)


@dataclass
class Screen:
    """The terminal, or a log: colour and the moving progress line only on a terminal."""

    console: Console = field(default_factory=lambda: console_on(sys.stdout))
    _started: float = field(default_factory=time.monotonic)
    _last: float = field(default_factory=time.monotonic)
    _shown: bool = False

    def line(self, text: str = "") -> None:
        self.clear()
        self.console.print(escape(text))

    def begin(self, stage: str, environment: str | None) -> None:
        """Note that a stage starts; on a terminal its name stands there until it ends."""
        self._started = self._last = time.monotonic()
        if self.console.is_terminal:
            self._status(f"{label(stage, environment):<{NAME_WIDTH}}…")

    def progress(self, what: str, share: float) -> None:
        """Show what a stage is doing, once it has taken two seconds."""
        now = time.monotonic()
        if now - self._started < QUIET_SECONDS:
            return
        text = f"{what} {share:.0%}" if share > 0 else what
        if self.console.is_terminal:
            if now - self._last >= 0.1:
                self._last = now
                self._status(f"  {text}")
        elif now - self._last >= LOG_SECONDS:
            self._last = now
            self.console.print(escape(f"  … {text}"))

    def end(self, report: StageReport, *, summary: bool = True) -> None:
        """Print the stage's line, and below it each check that blocks it."""
        self.clear()
        name = label(report.stage, report.environment)
        name = escape(f"{name:<{NAME_WIDTH - 1}} ")
        text = f"  {escape(report.summary)}" if summary else ""
        self.console.print(
            f"{name}[{STYLES[report.verdict]}]{report.verdict:<13}[/]"
            f"[dim]{report.seconds:6.1f} s[/]{text}"
        )
        for check in blocking(report.checks):
            if check.name != report.stage:  # what stopped the stage itself is its summary
                self.trouble(check)

    def trouble(self, check: Check) -> None:
        self.console.print(f"    [{STYLES[check.verdict]}]{escape(check.name)}[/]: {check.verdict}")
        for name, value in (
            ("expected", check.expected),
            ("observed", check.observed),
            ("why", check.why),
        ):
            if value not in ("", None):
                self.console.print(escape(f"      {name:<8}  {value}"))

    def closing(
        self, reports: Iterable[StageReport], left: Iterable[tuple[str, str | None]]
    ) -> None:
        """Print the table of stages, including those that were not reached."""
        table = Table(box=None, pad_edge=False, show_edge=False, header_style="bold")
        table.add_column("stage")
        table.add_column("verdict")
        table.add_column("time", justify="right")
        table.add_column("what it found")
        for report in reports:
            table.add_row(
                escape(label(report.stage, report.environment)),
                f"[{STYLES[report.verdict]}]{report.verdict}[/]",
                f"{report.seconds:.1f} s",
                escape(report.summary),
            )
        for stage, environment in left:
            table.add_row(escape(label(stage, environment)), "[dim]not run[/]", "", "")
        self.clear()
        self.console.print()
        self._table(table)

    def checks(self, report: StageReport) -> None:
        """Print every check of a report, and its metrics."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("check", "verdict", "observed", "expected", "why"):
            table.add_column(column, overflow="fold")
        for check in report.checks:
            table.add_row(
                escape(check.name),
                f"[{STYLES[check.verdict]}]{verdict_of(check)}[/]",
                escape(_short(check.observed)),
                escape(check.expected),
                escape(check.why),
            )
        self._table(table)
        self._metrics(report.metrics)

    def _metrics(self, metrics: Mapping[str, Any], prefix: str = "") -> None:
        """Print single values as rows and mappings of mappings as tables; no deeper."""
        single = {k: v for k, v in metrics.items() if not isinstance(v, dict)}
        self.rows(("metric", "value"), ((f"{prefix}{k}", _short(v)) for k, v in single.items()))
        for name, value in metrics.items():
            if not isinstance(value, dict):
                continue
            if set(value) == {"header", "rows"}:
                self.rows(tuple(value["header"]), (tuple(row) for row in value["rows"]))
            elif value and all(_is_flat(item) for item in value.values()):
                columns = tuple(next(iter(value.values())))
                rows = ((k, *(_short(v.get(c)) for c in columns)) for k, v in value.items())
                self.rows((f"{prefix}{name}", *columns), rows)
            elif not any(
                isinstance(inner, dict) and not _is_flat(inner) for inner in value.values()
            ):
                self._metrics(value, f"{prefix}{name}.")

    def rows(self, header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
        """Print a plain table; nothing where there are no rows."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in header:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(escape(cell) for cell in row))
        if table.row_count:
            self.console.print()
            self._table(table)

    def rows_with_notes(
        self, header: tuple[str, ...], rows: Iterable[tuple[tuple[str, ...], str]]
    ) -> None:
        """Print a plain table; what is noted of a row stands under it, on a line of its own."""
        noted = list(rows)
        widths = [
            max(map(len, column)) for column in zip(header, *(row for row, _ in noted), strict=True)
        ]
        self.console.print()
        for row, note in [(header, ""), *noted]:
            cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)]
            self.console.print(escape("  ".join(cells).rstrip()))
            if note:
                self.console.print(Padding(escape(note), (0, 0, 0, 4), expand=False))

    def _table(self, table: Table) -> None:
        """Print a table; in a log no line ends in the blanks that fill up its last column."""
        if self.console.is_terminal:
            self.console.print(table)
            return
        with self.console.capture() as captured:
            self.console.print(table)
        lines = [line.rstrip() for line in captured.get().splitlines()]
        self.console.file.write("".join(f"{line}\n" for line in lines))

    def clear(self) -> None:
        if self._shown:
            self.console.file.write("\r\x1b[2K")
            self._shown = False

    def _status(self, text: str) -> None:
        self.clear()
        self.console.file.write(text[: self.console.width - 1])
        self.console.file.flush()
        self._shown = True


def label(stage: str, environment: str | None) -> str:
    return f"{stage} {environment}" if environment else stage


def verdict_of(check: Check) -> str:
    """Return the verdict, marked where it is advisory."""
    return str(check.verdict) if check.required else f"{check.verdict} (advisory)"


def look_closer(report: StageReport) -> str:
    """Return the command that shows all of a report."""
    return f"ml-pipeline show {label(report.stage, report.environment)}"


def report_path(report: StageReport) -> str:
    return f"build/ml/reports/{file_name(report.stage, report.environment)}.json"


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _is_flat(value: Any) -> bool:
    return isinstance(value, dict) and not any(isinstance(item, dict) for item in value.values())
