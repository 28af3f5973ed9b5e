"""``ml-pipeline features``: a model's inputs from raw rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ml_pipeline.cli.verb import Verb
from ml_pipeline.core import errors
from ml_pipeline.core.errors import UsageError
from ml_pipeline.stages.record import flag_set, path_flag

if TYPE_CHECKING:
    from ml_pipeline.cli.call import Call


@flag_set
class FeaturesFlags:
    in_: str | None = path_flag("raw rows: .csv, .csv.gz or .parquet")
    out: str | None = path_flag("result")


def features(call: Call[FeaturesFlags]) -> int:
    from ml_pipeline.problems.compute_features import compute_features

    flags = call.flags
    if not flags.in_:
        raise UsageError("features needs --in", expected="a file")
    if not flags.out:
        raise UsageError("features needs --out", expected="a file")
    session = call.open()
    with call.own_output():
        computed = compute_features(
            session.project, Path(flags.in_), Path(flags.out), session.progress
        )
    call.show(computed.to_json(), [computed.summary])
    return errors.PASS


VERB = Verb(
    name="features",
    summary="turn raw rows into the model's inputs",
    run=features,
    flags=FeaturesFlags,
)
