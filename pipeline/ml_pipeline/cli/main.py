"""The program: one call of a verb, and the exit code of whatever it raises."""

from __future__ import annotations

import atexit
import contextlib
import gc
import sys
from collections.abc import Sequence
from pathlib import Path

from ml_pipeline.cli.parser import parse
from ml_pipeline.cli.verb import Verb
from ml_pipeline.core import errors
from ml_pipeline.core.errors import EnvironmentFault, PipelineError
from ml_pipeline.core.output_streams import lost_output, steady_output


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code.

    Without ``argv`` this is the program: the interpreter ends after it, and then does not search
    what the imported packages leave for garbage, which takes up to a second.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if argv is not None:
        return _exit_code(arguments)
    atexit.register(gc.freeze)
    steady_output()
    code = _exit_code(arguments)
    if lost := lost_output():
        print_error(f"{_prefix(arguments)}: cannot write the output: {lost}")
        return code or EnvironmentFault.exit_code
    return code


def print_error(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def print_fault(error: BaseException) -> None:
    """Print the traceback of a fault of the program, without secrets."""
    import traceback

    print_error(errors.masked("".join(traceback.format_exception(error))))
    print_error("this is a fault of ml-pipeline; please report it with the lines above")


def _exit_code(arguments: Sequence[str]) -> int:
    """Run one verb and return its exit code; an exception becomes a line and a code."""
    try:
        options = parse(arguments)
        verb: Verb = options.pop("verb")
        from ml_pipeline.cli.call import Call

        return verb.run(Call.of(verb, options))
    except PipelineError as error:
        print_error(f"{_prefix(arguments)}: {error}")
        _write_beside_args(arguments, str(error))
        return error.exit_code
    except KeyboardInterrupt:
        print_error(f"{_prefix(arguments)}: interrupted{_left_behind(arguments)}")
        return errors.INTERRUPTED
    except Exception as error:  # noqa: BLE001  the one place where a fault of the program ends
        print_fault(error)
        return errors.PROGRAM_FAULT


def _write_beside_args(arguments: Sequence[str], text: str) -> None:
    """Write an error that is in no report beside the ``--args`` file, for the calling program.

    ``train.json`` gets ``train.error``.
    """
    if "--args" not in arguments[:-1]:
        return
    file = Path(arguments[list(arguments).index("--args") + 1])
    with contextlib.suppress(OSError, ValueError):
        file.with_suffix(".error").write_text(text + "\n")


def _prefix(arguments: Sequence[str]) -> str:
    verb = arguments[0] if arguments and not arguments[0].startswith("-") else ""
    return f"ml-pipeline {verb}".strip()


def _left_behind(arguments: Sequence[str]) -> str:
    """Return what an interrupted verb leaves, where that is more than nothing."""
    from ml_pipeline.stages.plugins import all_stages

    name = arguments[0] if arguments else ""
    if name == "run":
        return "; the stages that had ended are kept, and 'ml-pipeline status' shows what is served"
    stages = all_stages()
    return f"; {stages[name].when_interrupted}" if name in stages else ""
