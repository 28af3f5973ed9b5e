"""``ml-pipeline doctor``: whether this machine can run the project."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_pipeline.cli.verb import Verb
from ml_pipeline.core import errors
from ml_pipeline.core.errors import EnvironmentFault, UsageError
from ml_pipeline.stages.record import NoFlags

if TYPE_CHECKING:
    from ml_pipeline.cli.call import Call


def doctor(call: Call[NoFlags]) -> int:
    from ml_pipeline.cli.call import print_json
    from ml_pipeline.cli.console import verdict_of
    from ml_pipeline.core.report import Verdict, judge
    from ml_pipeline.project.doctor import PROJECT_CHECKS, examine

    session = call.open()
    checks = examine(session.project, session.home, session.policies)
    if call.common.json:
        print_json([check.model_dump() for check in checks])
    else:
        call.screen.rows_with_notes(
            ("check", "verdict", "observed"),
            (((c.name, verdict_of(c), str(c.observed)), c.why) for c in checks),
        )
    failed = {check.name for check in checks if judge([check]) is Verdict.FAIL}
    if failed & PROJECT_CHECKS:
        return UsageError.exit_code
    return EnvironmentFault.exit_code if failed else errors.PASS


VERB = Verb(name="doctor", summary="check that this machine can run the project", run=doctor)
