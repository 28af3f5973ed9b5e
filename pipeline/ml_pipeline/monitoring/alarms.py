"""Alarms: opened when a look finds something, resolved when a later one does not find it any more.

Both are events. Each has an id, so that whoever passes them on can do so once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ml_pipeline.monitoring.conclusions import Conclusion, Finding


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Alarm(_Record):
    """An open alarm."""

    id: str
    name: str
    conclusion: Conclusion
    text: str
    """As the last look found it."""
    opened: datetime
    version: int | None


class AlarmEvent(_Record):
    """An alarm was opened or resolved: a line of ``alarms.jsonl``."""

    id: str
    alarm: str
    """The alarm's id."""
    event: Literal["opened", "resolved"]
    at: datetime
    name: str
    text: str
    conclusion: Conclusion
    version: int | None


@dataclass(frozen=True)
class Alarms:
    """The open alarms by name, and what became of them in this look."""

    open: Mapping[str, Alarm]
    events: Sequence[AlarmEvent] = ()


def update(
    before: Mapping[str, Alarm],
    findings: Sequence[Finding],
    *,
    undecided: Collection[str] = (),
    version: int | None,
    at: datetime,
) -> Alarms:
    """Open an alarm for each new finding, and resolve those that are not found any more.

    An alarm about a version that was replaced is resolved: the new one is compared with its own
    training data.

    Args:
        before: The open alarms.
        findings: Of this look; those that are only inconclusive raise no alarm.
        undecided: Names of alarms that this look could not judge: they stay open.
        version: The version that is looked at.
        at: The time of this look.
    """
    found = {each.name: each for each in findings if each.conclusion.raises_alarm}
    still_open: dict[str, Alarm] = {}
    events: list[AlarmEvent] = []
    for name, alarm in before.items():
        if alarm.version == version and name in found:
            finding = found[name]
            still_open[name] = alarm.model_copy(
                update={"text": finding.text, "conclusion": finding.conclusion}
            )
        elif alarm.version == version and name in undecided:
            still_open[name] = alarm
        else:
            events.append(_event(alarm, "resolved", at))
    for name, finding in found.items():
        if name in still_open:
            continue
        digest = hashlib.sha256(f"{name}\0{version}\0{at.isoformat()}".encode()).hexdigest()
        alarm = Alarm(
            id=digest[:16],
            name=name,
            conclusion=finding.conclusion,
            text=finding.text,
            opened=at,
            version=version,
        )
        still_open[name] = alarm
        events.append(_event(alarm, "opened", at))
    return Alarms(still_open, events)


def _event(alarm: Alarm, event: Literal["opened", "resolved"], at: datetime) -> AlarmEvent:
    return AlarmEvent(
        id=f"{alarm.id}-{event}",
        alarm=alarm.id,
        event=event,
        at=at,
        name=alarm.name,
        text=alarm.text,
        conclusion=alarm.conclusion,
        version=alarm.version,
    )
