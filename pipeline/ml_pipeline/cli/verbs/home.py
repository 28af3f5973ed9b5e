"""``ml-pipeline home``: the home of this project, and its repositories."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_pipeline.cli.verb import Verb, Word
from ml_pipeline.core import errors
from ml_pipeline.stages.record import NoFlags

if TYPE_CHECKING:
    from ml_pipeline.cli.call import Call


def home(call: Call[NoFlags]) -> int:
    from ml_pipeline.core.home import origins_of

    own = call.open().home
    if call.name == "adopt":
        adopted = own.adopt()
        if not call.common.json:
            call.screen.line(f"{adopted} uses home {own.root}")
            return errors.PASS
    known = origins_of(own.root)
    call.show(
        {"home": str(own.root), "repositories": [one.to_json() for one in known]},
        [f"home {own.root} of {own.owner}", *(f"  used by {one}" for one in known)],
    )
    return errors.PASS


VERB = Verb(
    name="home",
    summary="show whose home this project uses, or let this repository use one of its name",
    run=home,
    words=(Word("name", choices=("show", "adopt")),),
)
