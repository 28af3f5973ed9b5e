"""``ml-pipeline forget``: remove an entity from the prediction logs of the home."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ml_pipeline.cli.verb import Verb
from ml_pipeline.core import errors
from ml_pipeline.stages.record import flag_set, text_flag

if TYPE_CHECKING:
    from ml_pipeline.cli.call import Call

STDIN = "-"


@flag_set
class ForgetFlags:
    entity: str | None = text_flag("the value, such as a customer's id; - reads it from stdin")
    column: str | None = text_flag("the feature that has it; the problem's entity if left out")


def forget(call: Call[ForgetFlags]) -> int:
    from ml_pipeline.monitoring.forget import forget as forget_entity

    flags = call.flags
    value = sys.stdin.readline().strip() if flags.entity == STDIN else flags.entity or ""
    if not value.strip():
        raise errors.UsageError(
            "forget needs the value to remove",
            expected="--entity VALUE, or - and the value on stdin",
        )
    session = call.open()
    session.home.check_owner()
    with call.own_output():
        result = forget_entity(session.project, session.home, value, flags.column, session.progress)
    call.screen.clear()
    call.show(result.to_json(), result.lines())
    return errors.Refused.exit_code if result.incomplete else errors.PASS


VERB = Verb(
    name="forget",
    summary="remove an entity from the prediction logs of the home",
    run=forget,
    flags=ForgetFlags,
)
