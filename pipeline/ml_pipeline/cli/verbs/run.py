"""``ml-pipeline run``: the stages of ci, cd or all, one after the other."""

from __future__ import annotations

import json
from dataclasses import field, fields, make_dataclass
from typing import TYPE_CHECKING, Any

from ml_pipeline.cli.verb import Verb, Word
from ml_pipeline.stages.record import Stage
from ml_pipeline.stages.table import RUNS, STAGES

if TYPE_CHECKING:
    from ml_pipeline.cli.call import Call
    from ml_pipeline.stages.runner import Result

RunFlags = make_dataclass(
    "RunFlags",
    [
        (one.name, one.type, field(default=one.default, metadata=one.metadata))
        for stage in STAGES.values()
        for one in fields(stage.flags)
        if one.metadata.get("in_run")
    ],
    frozen=True,
)
"""Those flags of the stages that a run takes; each goes to every stage that has it."""


def run_stages(call: Call[Any]) -> int:
    from ml_pipeline.cli.call import print_json, sigterm_as_interrupt
    from ml_pipeline.cli.verbs.stage import explain_fault, print_closing_lines
    from ml_pipeline.stages.run import run

    session = call.open()
    screen, quiet = call.screen, call.common.json

    def started(stage: Stage, environment: str | None) -> None:
        if not quiet:
            screen.begin(stage.name, environment)

    def ended(_stage: Stage, _environment: str | None, result: Result) -> None:
        if not quiet:
            screen.end(result.report, summary=False)

    with session.exclusive(), call.own_output(), sigterm_as_interrupt():
        done = run(session, call.name, call.flags, started=started, ended=ended)
    last = done.results[-1]
    if quiet:
        print_json([json.loads(result.report.to_json()) for result in done.results])
    else:
        screen.closing((result.report for result in done.results), done.left)
        print_closing_lines(last, screen)
    explain_fault(last)
    return done.exit_code


VERB = Verb(
    name="run",
    summary="run the stages of ci, cd or all",
    run=run_stages,
    flags=RunFlags,
    words=(Word("name", choices=tuple(RUNS)),),
)
