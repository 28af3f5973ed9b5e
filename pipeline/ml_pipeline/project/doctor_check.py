"""A check of ``ml-pipeline doctor``."""

from __future__ import annotations

from ml_pipeline.core.report import Check, Verdict


def check(
    name: str, good: bool, observed: object, expected: str, why: str = "", *, required: bool = True
) -> Check:
    """Return the check; ``why``, with what to do, counts only where it is not ``good``."""
    return Check(
        name=name,
        verdict=Verdict.PASS if good else Verdict.FAIL,
        required=required,
        observed=observed,
        expected=expected,
        why="" if good else why,
    )
