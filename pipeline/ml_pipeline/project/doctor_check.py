"""A check of ``ml-pipeline doctor``."""

from __future__ import annotations

from ml_pipeline.core.report import Check, Verdict


def check(
    name: str,
    passed: bool,
    observed: object,
    expected: str,
    why: str = "",
    *,
    required: bool = True,
) -> Check:
    """Return the check; ``why`` (the fault and its fix) is used only if it did not pass."""
    return Check(
        name=name,
        verdict=Verdict.PASS if passed else Verdict.FAIL,
        required=required,
        observed=observed,
        expected=expected,
        why="" if passed else why,
    )
