"""``ml-pipeline status``: environments, versions and approvals; of production its history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ml_pipeline.cli.verb import ENVIRONMENT, Verb
from ml_pipeline.core import errors
from ml_pipeline.core.errors import EnvironmentFault, UsageError
from ml_pipeline.stages.record import NoFlags

if TYPE_CHECKING:
    from ml_pipeline.cli.call import Call
    from ml_pipeline.cli.console import Screen
    from ml_pipeline.monitoring.performance_history import PerformanceLine

SHOWN_LINES = 24
"""Lines about performance in production that are printed: the newest ones."""


def status(call: Call[NoFlags]) -> int:
    from ml_pipeline.approval import policy_files
    from ml_pipeline.cli.call import print_json
    from ml_pipeline.cli.main import print_error
    from ml_pipeline.monitoring import performance_history
    from ml_pipeline.promotion import status as promotion
    from ml_pipeline.promotion.environment import PRODUCTION
    from ml_pipeline.registry.registry import Registry

    session = call.open()
    session.home.check_owner()
    lines: Sequence[PerformanceLine] = ()
    if name := call.environment:
        session.check_environment(name)
        if name != PRODUCTION:
            raise UsageError(f"{name} has no history", expected=PRODUCTION)
        lines = performance_history.read_production(session.home)
        rows = performance_history.with_performance(promotion.history(session.home), lines)
    else:
        rows = promotion.status(session.project, session.home, session.policy)
    if not session.home.root.is_dir():
        print_error(
            f"home {session.home.root} is not there: nothing was deployed from it, or ML_HOME errs"
        )
    if call.common.json:
        print_json(rows)
    elif not rows:
        call.screen.line("nothing was promoted yet")
    else:
        _print_rows(rows, promotion.registry_fault(rows), call.screen)
        _print_performance(lines, call.screen)
        if not name:
            call.screen.line()
            call.screen.line(f"policy: {policy_files.describe(session.policies)}")
            if command := Registry.of(session.project, session.home).ui_command():
                call.screen.line(f"runs, parameters and metrics: {command}")
    unknown = [
        f"{row['environment']}: {row['open']}"
        for row in rows
        if row.get("state") == promotion.UNKNOWN
    ]
    if unknown:
        raise EnvironmentFault("; ".join(unknown))
    return errors.PASS


def _print_rows(rows: Sequence[Mapping[str, Any]], fault: str | None, screen: Screen) -> None:
    """Print the rows as a table; a fault of the registry stands once, under it."""
    from ml_pipeline.promotion.status import UNKNOWN

    header = tuple(
        key
        for key in rows[0]
        if key != "details" and (key != "cause" or any(row["cause"] for row in rows))
    )
    shown = ({**row, "alias": UNKNOWN} if fault and row["alias"] == fault else row for row in rows)
    screen.rows(
        header,
        (tuple("-" if row[key] is None else str(row[key]) for key in header) for row in shown),
    )
    if fault:
        screen.line()
        screen.line(f"aliases: {fault}")
    for row in rows:
        if row.get("details"):
            screen.line()
            screen.line(f"{row['environment']}: {row['open']}")
        for detail in row.get("details", ()):
            screen.line(f"    {detail}")


def _print_performance(lines: Sequence[PerformanceLine], screen: Screen) -> None:
    """Print the newest lines about performance in production as a table."""
    if not lines:
        return
    shown = [line.row() for line in lines[-SHOWN_LINES:]]
    screen.line()
    screen.line("performance in production:")
    screen.rows(
        tuple(shown[0]),
        (
            tuple("-" if value in (None, "") else str(value) for value in row.values())
            for row in shown
        ),
    )
    if len(lines) > SHOWN_LINES:
        screen.line(f"{len(lines) - SHOWN_LINES:,} earlier lines: --json shows them")


VERB = Verb(
    name="status",
    summary="show environments, versions and who approved them; of production its history",
    run=status,
    words=(ENVIRONMENT,),
)
