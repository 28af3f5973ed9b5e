"""``ml-pipeline jobs``: check the Jenkins jobs in YAML, or bring them to a Jenkins."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ml_pipeline.cli.verb import Verb, Word
from ml_pipeline.stages.record import flag_set, path_flag, switch_flag

if TYPE_CHECKING:
    from ml_pipeline.cli.call import Call


@flag_set
class JobsFlags:
    jobs: str | None = path_flag("the folder with the YAML; jobs if left out")
    golden: str | None = path_flag("check: the folder with the expected XML")
    renew: bool = switch_flag("check: write the golden XML anew")
    yes: bool = switch_flag("update: change without asking")
    delete: bool = switch_flag("update: also delete what the YAML no longer has")


def jobs(call: Call[JobsFlags]) -> int:
    from ml_pipeline.cli.main import print_error
    from ml_pipeline.jenkins import jobs as verb

    flags = call.flags
    folder = Path(flags.jobs or verb.FOLDER)
    golden = Path(flags.golden) if flags.golden else None
    if call.name == "check":
        done = verb.check(folder, golden=golden, renew=flags.renew)
    elif call.name == "diff":
        done = verb.diff(os.environ, folder)
    else:
        done = verb.update(
            os.environ,
            folder,
            say=print_error if call.common.json else call.screen.line,
            yes=flags.yes,
            delete=flags.delete,
            confirm=_confirm if sys.stdin.isatty() else None,
        )
    if call.common.json:
        sys.stdout.write(json.dumps(done.data, indent=2) + "\n")
    else:
        for line in done.lines:
            call.screen.line(line)
    return done.exit_code


def _confirm(question: str) -> bool:
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


VERB = Verb(
    name="jobs",
    summary="check the Jenkins jobs in YAML, show what would change, or change it",
    run=jobs,
    flags=JobsFlags,
    words=(Word("name", choices=("check", "diff", "update")),),
)
