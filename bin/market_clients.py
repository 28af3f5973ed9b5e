"""Clients of the example's server: every evening one asks about all shares of that day."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

from simulated_clock import SimulatedClock

if TYPE_CHECKING:
    import httpx
    import pandas as pd
    from ml_pipeline.config import Project


EVENING = time(15)


class MarketClients:
    """The features of each trading day of a project's data source, and requests with them.

    The servers' clock is set to the day, so that a request has the date of its rows.
    """

    def __init__(self, project: Project, clock: SimulatedClock) -> None:
        from ml_pipeline.data.sources import date_columns, read_source, text_columns
        from ml_pipeline.features.decorator import load_modules
        from ml_pipeline.problems.compute_features import features_of_rows
        from ml_pipeline.problems.loader import load_problem

        problem = load_problem(project.config.problem, project.root)
        functions = load_modules(project.root, project.config.features.modules)
        data = project.config.data
        source = read_source(
            data.source, project, text_columns(problem, data), date_columns(problem, data)
        )
        computed = features_of_rows(project, problem, functions, source)
        self._clock = clock
        self._names = list(computed.names)
        self._days = [*computed.table.groupby(problem.time_column, sort=True)]

    def date(self, number: int) -> date:
        """Return the date of a trading day, counted from 1."""
        day: datetime = self._days[number - 1][0]
        return day.date()

    def send(self, url: str, first: int, last: int) -> int:
        """Send a request for each trading day from the first to the last, counted from 1.

        Returns:
            The number of rows that were answered.

        Raises:
            httpx.HTTPError: a request was not answered, or refused.
        """
        import httpx

        with httpx.Client(base_url=url, timeout=30) as client:
            return sum(self._ask(client, *each) for each in self._days[first - 1 : last])

    def _ask(self, client: httpx.Client, day: datetime, shares: pd.DataFrame) -> int:
        self._clock.set(datetime.combine(day, EVENING, UTC))
        values = shares[self._names].astype(object)
        rows: list[dict[str, Any]] = values.where(values.notna(), None).to_dict("records")
        answers = client.post("/predict", json={"rows": rows}).raise_for_status().json()
        return len(answers)
