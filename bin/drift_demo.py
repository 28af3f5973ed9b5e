"""The demonstration of monitoring: deliver, drift, retrain with the cause, deliver again.

A step that an earlier run in this home has done is left out, so a run continues where the one
before stopped.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from market_clients import MarketClients
from ml_pipeline.core.home import Home
from ml_pipeline.monitoring.conclusions import Conclusion
from ml_pipeline.monitoring.state import LastConclusion, last_conclusion
from ml_pipeline.promotion.production_history import read_history
from simulated_clock import SimulatedClock

if TYPE_CHECKING:
    from demo import Demo

PRODUCTION = "production"
TRAINED, VOLATILE, RETRAINED, ENDED = 900, 961, 1400, 1460
"""Trading days: the newest one of the first model's data, the first one of the volatile regime, the
newest one of the second model's data, and the last one of the demonstration."""
PASS, REFUSED = 0, 1
DAYS, REGIME = "data.source.days", "data.source.volatile_from"


def settings() -> dict[str, str]:
    return {DAYS: str(TRAINED), REGIME: str(VOLATILE), "data.ci": "null"}


class DriftDemo:
    """The steps, in the home of a demonstration."""

    def __init__(self, demo: Demo, approval: Sequence[str]) -> None:
        self._demo = demo
        self._approval = approval
        self._clock = SimulatedClock(demo.homes / "clock")
        demo.own |= self._clock.variables

    def run(self) -> int:
        """Return the exit code of the step that stops the demonstration, or that of success."""
        if not self._promotions:
            title(1, f"deliver a first version, trained on {TRAINED} trading days")
            if code := self._command("run", "cd", *self._approval):
                return code
        elif PRODUCTION not in self._demo.running():
            self._command("reconcile", PRODUCTION)
        if self._promotions == 1 and self._last is None:
            title(2, "clients send requests, and the market is as in training")
            if not self._look(TRAINED + 1, VOLATILE - 1, Conclusion.FINE):
                return REFUSED
        if self._promotions == 1 and self._concluded(Conclusion.FINE):
            title(3, "the market becomes volatile: moves are twice as wide")
            if not self._look(VOLATILE, RETRAINED, Conclusion.RETRAIN):
                return REFUSED
        if self._promotions == 1 and self._concluded(Conclusion.RETRAIN):
            title(4, f"train and deliver again, on {RETRAINED:,} trading days and with the cause")
            self._demo.set(DAYS, str(RETRAINED))
            cause = "" if self._last is None else self._last.cause
            if code := self._command("run", "cd", "--cause", cause, *self._approval):
                return code
        if self._promotions > 1 and self._concluded(Conclusion.RETRAIN):
            title(5, "the new version is compared with its own training data")
            if not self._look(RETRAINED + 1, ENDED, Conclusion.FINE):
                return REFUSED
        return PASS if self._concluded(Conclusion.FINE) else REFUSED

    @property
    def _promotions(self) -> int:
        return len(read_history(Home(self._demo.home)))

    @property
    def _last(self) -> LastConclusion | None:
        return last_conclusion(Home(self._demo.home), PRODUCTION)

    def _concluded(self, conclusion: Conclusion) -> bool:
        return self._last is not None and self._last.conclusion is conclusion

    @cached_property
    def _clients(self) -> MarketClients:
        return MarketClients(self._demo.project({DAYS: str(ENDED)}), self._clock)

    def _look(self, first: int, last: int, expected: Conclusion) -> bool:
        """Send the requests of trading days, and look at production.

        Returns:
            Whether the conclusion is as expected; if not, it is printed.
        """
        rows = self._clients.send(self._demo.running()[PRODUCTION], first, last)
        days = f"{self._clients.date(first)} to {self._clients.date(last)}"
        print(f"{last - first + 1} trading days, {days}: a request each, {rows:,} rows")
        self._command("monitor", PRODUCTION)
        events = self._demo.report("monitor-production")["metrics"]["events"]
        for kind in ("opened", "resolved"):
            names = [event["name"] for event in events if event["event"] == kind]
            if names:
                print(f"alarms {kind}: {len(names)}, the first is '{names[0]}'")
        if self._concluded(expected):
            return True
        found = "nothing" if self._last is None else str(self._last.conclusion)
        print(f"\nmonitor concluded '{found}'; the demonstration expects '{expected}' here")
        return False

    def _command(self, *arguments: str) -> int:
        print(f"$ {shlex.join(['ml-pipeline', *arguments])}")
        return self._demo.run(*arguments)


def title(step: int, text: str) -> None:
    print(f"\n=== {step} of 5: {text}\n")
