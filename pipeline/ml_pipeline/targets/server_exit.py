"""The error that a server's exit code stands for, whatever target started it."""

from __future__ import annotations

from collections.abc import Mapping

from ml_pipeline.core.errors import EnvironmentFault, PipelineError, Refused, UsageError

ERRORS: Mapping[int, type[PipelineError]] = {
    Refused.exit_code: Refused,
    UsageError.exit_code: UsageError,
}
"""Exit codes that another attempt does not change."""


def is_permanent(code: int | None) -> bool:
    """Return whether a server that ended with this exit code would end so again."""
    return code in ERRORS


def startup_error(
    code: int | None,
    output: str,
    *,
    program: str = "server",
    serves_bundle: bool = True,
    hint: str = "",
) -> PipelineError:
    """Return the error of a program that ended before it was ready.

    Args:
        code: Its exit code; None if unknown.
        output: What it wrote; the last line is the error.
        program: Names it in the message.
        serves_bundle: Whether it is ``ml_pipeline.serving``, whose exit codes are ``ERRORS``.
        hint: What to do next.
    """
    lines = output.strip().splitlines()
    last = lines[-1].removeprefix("error: ") if lines else f"exit code {code}"
    error: type[PipelineError] = EnvironmentFault
    if serves_bundle and code is not None:
        error = ERRORS.get(code, EnvironmentFault)
    return error(f"the {program} did not start: {last}", hint=hint)
