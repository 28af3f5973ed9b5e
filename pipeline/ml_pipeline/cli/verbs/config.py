"""``ml-pipeline config``: each value of ml.yaml with its origin, or the schema."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ml_pipeline.cli.verb import Verb, Word
from ml_pipeline.core import errors
from ml_pipeline.stages.record import NoFlags

if TYPE_CHECKING:
    from ml_pipeline.cli.call import Call


def config(call: Call[NoFlags]) -> int:
    from ml_pipeline.cli.call import print_json
    from ml_pipeline.project import config_listing

    if call.name == "schema":
        print_json(config_listing.schema())
        return errors.PASS
    session = call.open()
    rows = config_listing.values(session.project)
    if call.common.json:
        print_json({key: {"value": value, "origin": origin} for key, value, origin in rows})
    else:
        call.screen.rows(("key", "value", "from"), ((k, json.dumps(v), o) for k, v, o in rows))
    return errors.PASS


VERB = Verb(
    name="config",
    summary="show each value with its origin, or the JSON Schema of ml.yaml",
    run=config,
    words=(Word("name", choices=("show", "schema")),),
)
