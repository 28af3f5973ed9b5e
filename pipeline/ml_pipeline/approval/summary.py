"""The approver's summary at the terminal: challenger, champion and the gate's checks."""

from __future__ import annotations

from collections.abc import Sequence

from ml_pipeline.approval.subject import ApprovalFacts
from ml_pipeline.core.report import Check
from ml_pipeline.registry.versions import Version

CUTOFF = "cutoff."


def summarise(facts: ApprovalFacts, earlier: Sequence[str] = ()) -> str:
    """Return the summary as lines, with the earlier decisions against versions."""
    champion = facts.champion
    against = "none: compared with the best heuristic" if champion is None else _version(champion)
    broken = facts.broken_contract
    lines = [
        *([f"CLIENTS BREAK: {broken}", ""] if broken else []),
        f"model       {facts.challenger.name}",
        f"challenger  {_version(facts.challenger)}",
        f"champion    {against}",
        *([f"cause       {facts.cause}"] if facts.cause else []),
        f"gate        {facts.gate.summary}",
        *(f"earlier     {line}" for line in earlier if line not in facts.gate.summary),
        "",
        *(_check(check) for check in facts.gate.checks),
    ]
    return "\n".join(lines)


def _version(version: Version) -> str:
    parts = [f"version {version.number}", f"bundle {version.digest[:12]}"]
    last = version.tags.get(f"{CUTOFF}train_end")
    if last:
        parts.append(f"trained to {last}")
    commit = version.tags.get("git.commit")
    if commit:
        parts.append(f"commit {commit[:12]}")
    return ", ".join(parts)


def _check(check: Check) -> str:
    advisory = "" if check.required else " (advisory)"
    line = f"  {check.verdict:<13} {check.name}{advisory}"
    if check.observed is not None:
        line += f": {check.observed}"
    if check.expected:
        line += f"; expected {check.expected}"
    return line
