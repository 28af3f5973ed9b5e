"""``ml-pipeline plan``: whether to train, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_pipeline.cli.verb import Verb
from ml_pipeline.core import errors
from ml_pipeline.stages.record import NoFlags

if TYPE_CHECKING:
    from ml_pipeline.cli.call import Call

CHANGED = {True: "yes", False: "no", None: "-"}


def plan(call: Call[NoFlags]) -> int:
    from ml_pipeline.cli.call import print_json
    from ml_pipeline.project.retraining_plan import make_plan

    session = call.open()
    session.home.check_owner()
    with call.own_output():
        made = make_plan(session.project, session.home, session.policy, call.screen.progress)
    call.screen.clear()
    if call.common.json:
        print_json(made.to_json())
    else:
        call.screen.line(made.headline)
        call.screen.rows(
            ("reason", "changed", "detail"),
            ((one.name, CHANGED[one.changed], one.detail) for one in made.reasons),
        )
        if made.cost:
            call.screen.rows(
                ("cost", "value"), ((name, f"{value:g}") for name, value in made.cost.items())
            )
    return errors.PASS


VERB = Verb(
    name="plan",
    summary="say whether to train, and why: what changed since the version in production",
    run=plan,
)
