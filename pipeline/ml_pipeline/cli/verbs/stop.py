"""``ml-pipeline stop``: end the server of an environment, or of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_pipeline.cli.verb import ENVIRONMENT, Verb
from ml_pipeline.core import errors
from ml_pipeline.stages.record import NoFlags

if TYPE_CHECKING:
    from ml_pipeline.cli.call import Call


def stop(call: Call[NoFlags]) -> int:
    from ml_pipeline.promotion import watch_state
    from ml_pipeline.promotion.environment import PRODUCTION, mark_stopped
    from ml_pipeline.targets.base import Placement
    from ml_pipeline.targets.loader import load_target

    session = call.open()
    session.home.check_owner()
    environments = session.project.config.environments
    if name := call.environment:
        session.check_environment(name)
        environments = {name: environments[name]}
    stopped = {
        name: load_target(section.target).stop(Placement.of(session.project, name, session.home))
        for name, section in environments.items()
    }
    minutes = session.project.config.watch.minutes
    if PRODUCTION in stopped:
        mark_stopped(session.home)
    if minutes and stopped.get(PRODUCTION):
        watch_state.give_up(session.home, minutes, "it was stopped")
    call.show(
        stopped,
        [
            f"{name}: stopped" if was_up else f"{name}: no server was running"
            for name, was_up in stopped.items()
        ],
    )
    return errors.PASS


VERB = Verb(
    name="stop",
    summary="stop the server of an environment, or all",
    run=stop,
    words=(ENVIRONMENT,),
)
