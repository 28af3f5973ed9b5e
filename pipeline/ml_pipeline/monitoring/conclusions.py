"""What follows from a look at production: nothing, an investigation, a retraining or a rollback."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Conclusion(StrEnum):
    """What a look at production suggests; nothing is changed by it."""

    FINE = "fine"
    INCONCLUSIVE = "inconclusive"
    INVESTIGATE = "investigate"
    RETRAIN = "retrain"
    ROLL_BACK = "roll back"

    @property
    def raises_alarm(self) -> bool:
        return self not in (Conclusion.FINE, Conclusion.INCONCLUSIVE)


ORDER = tuple(Conclusion)
"""From the least to the most urgent."""


@dataclass(frozen=True)
class Finding:
    """Something that a look found, and what it suggests."""

    name: str
    """Identifies the alarm in all looks: ``drift of volume_z``."""
    conclusion: Conclusion
    text: str
    """What differs, in the feature's or the metric's units, and since when."""


@dataclass(frozen=True)
class Suggestion:
    """The conclusion of a look, with its reasons."""

    conclusion: Conclusion
    reason: str
    """One line for a person."""
    cause: str = ""
    """Why a retraining is suggested; empty if it is not."""


def conclude(findings: Sequence[Finding], quiet: str) -> Suggestion:
    """Return the most urgent conclusion, and all findings that lead to it.

    Args:
        findings: Of this look, those of open alarms included.
        quiet: The reason if there is no finding.
    """
    urgent = max((ORDER.index(each.conclusion) for each in findings), default=0)
    conclusion = ORDER[urgent]
    if conclusion is Conclusion.FINE:
        return Suggestion(conclusion, quiet)
    leading = [each.text for each in findings if each.conclusion is conclusion]
    others = len(findings) - len(leading)
    cause = "; ".join(leading[:3])
    if len(leading) > 3:
        cause += f"; and {len(leading) - 3} more"
    reason = cause + (f" ({others} less urgent)" if others else "")
    return Suggestion(conclusion, reason, cause if conclusion is Conclusion.RETRAIN else "")
