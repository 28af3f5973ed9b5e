"""``ml-pipeline STAGE``: run one stage and print its report."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from ml_pipeline.cli.call import Call, sigterm_as_interrupt
from ml_pipeline.cli.console import Screen, look_closer, report_path
from ml_pipeline.cli.main import print_fault
from ml_pipeline.core import errors
from ml_pipeline.core.errors import WaitingForPerson
from ml_pipeline.stages.record import Stage
from ml_pipeline.stages.runner import Result, execute


def run_stage(stage: Stage, call: Call[Any]) -> int:
    session = call.open()
    environment = call.required_environment(session) if stage.environment else None
    context = session.context(stage, environment, call.flags)
    lock = session.exclusive() if stage.exclusive else contextlib.nullcontext()
    with lock, call.own_output(), sigterm_as_interrupt():
        call.screen.begin(stage.name, context.environment)
        result = execute(context)
    call.screen.clear()
    if call.common.json:
        sys.stdout.write(result.report.to_json())
    else:
        call.screen.end(result.report)
        print_closing_lines(result, call.screen)
    explain_fault(result)
    return result.exit_code


def print_closing_lines(result: Result, screen: Screen) -> None:
    """Print the next step for the user, unless the stage passed."""
    if result.exit_code == errors.PASS:
        return
    screen.line()
    if result.exit_code == WaitingForPerson.exit_code:
        screen.line(f"waiting: {result.report.summary}")
        return
    screen.line(f"look closer: {look_closer(result.report)}    ({report_path(result.report)})")


def explain_fault(result: Result) -> None:
    if result.exit_code == errors.PROGRAM_FAULT and result.error is not None:
        print_fault(result.error)
