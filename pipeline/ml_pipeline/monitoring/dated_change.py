"""The day of the change that a window of training days begins with: ``since: change``."""

from __future__ import annotations

from datetime import date

from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.home import Home
from ml_pipeline.monitoring.state import MonitorFolder, last_conclusion


def dated_change(home: Home, environment: str, version: int, former: str | None) -> date | None:
    """Return the first day of the earliest drift that the last look saw, else the champion's.

    So a model that was trained since a change keeps that day, until another change is seen.

    Args:
        home: Holds the state of monitoring.
        environment: The one that is monitored.
        version: The champion; what was seen of another version says nothing about it.
        former: The day that the champion's training knew; None where it knew none.

    Raises:
        EnvironmentFault: the state is broken.
    """
    seen = last_conclusion(home, environment)
    day = seen.drift_since if seen is not None and seen.version == version else ""
    try:
        return date.fromisoformat(day or former or "") if day or former else None
    except ValueError:
        raise EnvironmentFault(
            f"{MonitorFolder.of(home, environment).root}: the drift since {day or former!r}",
            expected="a day, YYYY-MM-DD",
            hint=f"run 'ml-pipeline monitor {environment}' again",
        ) from None
