"""``ml-pipeline score``: a model's predictions for rows of a file or a database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_pipeline.cli.verb import Verb
from ml_pipeline.core import errors
from ml_pipeline.stages.record import flag_set, integer_flag, path_flag, text_flag

if TYPE_CHECKING:
    from ml_pipeline.cli.call import Call


@flag_set
class ScoreFlags:
    in_: str | None = text_flag(
        "a file (.csv, packed or not, .parquet) or sql:QUERY; data.source if left out"
    )
    out: str | None = text_flag("a file (.parquet, .csv) or sql:TABLE")
    environment: str | None = text_flag("score by what it serves; production if left out")
    bundle: str | None = path_flag("score by the bundle in this folder")
    version: int | None = integer_flag("score by this registered version")
    since: str | None = text_flag(
        "write rows from this day on (YYYY-MM-DD); those before are history"
    )


def score(call: Call[ScoreFlags]) -> int:
    from ml_pipeline.cli.call import sigterm_as_interrupt
    from ml_pipeline.scoring import score as scoring

    session = call.open()
    session.home.check_owner()
    request = scoring.ScoreRequest.of(call.options)
    if request.environment is not None:
        session.check_environment(request.environment)
    with call.own_output(), sigterm_as_interrupt():
        result = scoring.score(session.project, session.home, request, session.progress)
    call.screen.clear()
    call.show(result.to_json(), [result.summary])
    return errors.PASS


VERB = Verb(
    name="score",
    summary="write a model's predictions for rows into a file or a database table",
    run=score,
    flags=ScoreFlags,
)
