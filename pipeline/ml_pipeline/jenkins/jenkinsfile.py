"""``ml-pipeline jenkinsfile run``: the command of pytest-jenkinsfile, with a home for stages."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ml_pipeline.core.errors import EnvironmentFault, PipelineError, UsageError
from ml_pipeline.jenkins import distributions

LIBRARY = "ML_PIPELINE_LIBRARY"
"""The environment variable that names the checkout of the library."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the harness's ``run``.

    Raises:
        UsageError: pytest-jenkinsfile is not installed.
    """
    distributions.require("pytest_jenkinsfile")
    from pytest_jenkinsfile import run_command

    run_command.add_arguments(parser)


def run(options: Mapping[str, Any], write: Callable[[str], None]) -> int:
    """Run the script and return the exit code; stages keep what outlives the build in a home.

    Raises:
        UsageError: an argument is wrong, or the script needs what the harness lacks.
        EnvironmentFault: the engine cannot be fetched or started.
        PipelineError: the harness itself failed.
    """
    distributions.require("pytest_jenkinsfile")
    from pytest_jenkinsfile import EngineError, HarnessError, run_command

    home = Path(os.environ.get("ML_HOME") or options["file"].resolve().parent / ".ml")
    chosen = {**options, "library": options["library"] or _library()}
    try:
        code = run_command.run(chosen, write, env={"ML_HOME": str(home.absolute())})
    except EngineError as error:
        raise EnvironmentFault(str(error)) from None
    except HarnessError as error:
        kind = UsageError if error.exit_code == UsageError.exit_code else PipelineError
        raise kind(str(error)) from None
    if not options["json"]:
        for line in _servers(home):
            write(line)
    return code


def _library() -> Path | None:
    named = os.environ.get(LIBRARY)
    if named and not Path(named).is_dir():
        raise UsageError(f"{LIBRARY}={named} is not a folder", expected="a checkout with vars/")
    return Path(named) if named else None


def _servers(home: Path) -> list[str]:
    if not any((home / "servers").glob("*")) and not any(home.glob("*/servers")):
        return []
    line = f"Servers, registry and keys are in {home}: with ML_HOME={home} 'ml-pipeline status'"
    return [f"{line} shows what serves, and 'ml-pipeline stop' ends it"]
