"""The gate's record, attached to the version in the registry; an approval is about its digest."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ml_pipeline.core.report import Check, jsonable, judge

SCHEMA = "ml-pipeline/gate/1"


def record(
    checks: Sequence[Check],
    metrics: Mapping[str, Any],
    *,
    summary: str,
    challenger: str,
    champion: str | None,
    policy: str,
) -> bytes:
    """Return the record as canonical JSON: sorted keys, no white space, no time.

    Args:
        checks: All of the gate's checks, which determine the verdict.
        metrics: The comparison.
        summary: The report's line.
        challenger: Digest of the challenger's bundle.
        champion: Digest of the champion's; None without a champion.
        policy: Digest of the policy in force.
    """
    values = {
        "schema": SCHEMA,
        "verdict": str(judge(checks)),
        "summary": summary,
        "checks": [check.model_dump(mode="json") for check in checks],
        "metrics": jsonable(dict(metrics)),
        "challenger": challenger,
        "champion": champion,
        "policy": policy,
    }
    text = json.dumps(
        values, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()
