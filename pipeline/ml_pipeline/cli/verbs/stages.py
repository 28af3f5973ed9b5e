"""``ml-pipeline stages``: every stage that is installed, those of plug-ins included."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_pipeline.cli.verb import Verb
from ml_pipeline.core import errors
from ml_pipeline.stages.record import NoFlags

if TYPE_CHECKING:
    from ml_pipeline.cli.call import Call


def stages(call: Call[NoFlags]) -> int:
    from ml_pipeline.cli.call import print_json
    from ml_pipeline.stages.facts import facts_of
    from ml_pipeline.stages.plugins import all_stages

    every = all_stages()
    if call.common.json:
        print_json({name: facts_of(stage) for name, stage in every.items()})
    else:
        call.screen.rows(
            ("stage", "phase", "does", "fails when"),
            (
                (
                    f"{name} ENV" if stage.environment else name,
                    stage.phase,
                    stage.summary,
                    stage.fails_when,
                )
                for name, stage in every.items()
            ),
        )
    return errors.PASS


VERB = Verb(
    name="stages",
    summary="show the stages that are installed, those of plug-ins included",
    run=stages,
)
