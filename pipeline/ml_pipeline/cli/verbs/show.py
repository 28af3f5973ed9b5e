"""``ml-pipeline show``: every check and metric of a report."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ml_pipeline.cli.verb import ENVIRONMENT, Verb, Word
from ml_pipeline.core import errors
from ml_pipeline.core.errors import UsageError
from ml_pipeline.stages.record import NoFlags

if TYPE_CHECKING:
    from ml_pipeline.cli.call import Call


def show(call: Call[NoFlags]) -> int:
    from ml_pipeline.core import report
    from ml_pipeline.stages.plugins import stage_named

    folder = call.open().workdir / "reports"
    stage = str(call.options["stage"])
    reports = {file.stem: file for file in sorted(folder.glob("*.json"))}
    is_file_name = call.environment is None and (stage in reports or _has_environment(stage))
    name = stage if is_file_name else report.file_name(stage_named(stage).name, call.environment)
    if name not in reports:
        raise UsageError(
            f"no report of {name}", expected=f"one of: {', '.join(reports) or 'none yet'}"
        )
    shown = report.read(reports[name])
    if call.common.json:
        sys.stdout.write(shown.to_json())
    else:
        call.screen.end(shown.model_copy(update={"checks": ()}))
        call.screen.checks(shown)
    return errors.PASS


def _has_environment(name: str) -> bool:
    """Return whether a name is one of a stage in an environment, as ``deploy-staging``."""
    from ml_pipeline.stages.plugins import all_stages

    stages = all_stages().values()
    return any(stage.environment and name.startswith(f"{stage.name}-") for stage in stages)


VERB = Verb(
    name="show",
    summary="show every check of a report",
    run=show,
    words=(Word("stage"), ENVIRONMENT),
)
