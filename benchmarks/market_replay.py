"""Replay years of daily bars through the monitor's judgement of features, a look a week.

A model is trained at the start of each year on the three years before: its reference are 10,000 of
their rows, spread evenly. The rows of each following week are taken as served, and judged with the
default budget. The features are those of ``examples/nepse``. Writes a plot, and prints the alarms.
The CSV needs the columns date, symbol, open, high, low, close and volume.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from ml_pipeline.config import loading
from ml_pipeline.config.monitor import MonitorSection
from ml_pipeline.features.decorator import load_modules
from ml_pipeline.monitoring.drift_judgement import SHARES
from ml_pipeline.monitoring.feature_drift import FeatureVerdict, MonitoredFeature, judge_features
from ml_pipeline.problems.loader import load_problem
from ml_pipeline.statistics.alarm_budget import false_alarm_rate
from ml_pipeline.statistics.drift_test import FeatureReference
from ml_pipeline.training.representative_rows import REFERENCE, spread

if TYPE_CHECKING:
    from ml_pipeline.problem import Matrix

EXAMPLE = Path(__file__).resolve().parent.parent / "examples/nepse"
TRAINING_YEARS = 3
LOOK_DAYS = 7
EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Look:
    """What one look found."""

    day: date
    verdicts: list[FeatureVerdict]
    opened: list[FeatureVerdict]

    @property
    def drifted(self) -> int:
        return sum(verdict.drifted for verdict in self.verdicts)


def read_bars(path: Path) -> pd.DataFrame:
    bars = pd.read_csv(path)
    prices = bars[["high", "low", "close"]].astype(float)
    good = (prices > 0).all(axis=1) & (bars["high"] >= bars["low"])
    bars = bars[good & ~bars.duplicated(["date", "symbol"])]
    columns = ["date", "symbol", "open", "high", "low", "close", "volume"]
    return bars[columns].sort_values(["date", "symbol"], ignore_index=True)


def features_of(bars: pd.DataFrame) -> Matrix:
    project = loading.load(EXAMPLE, (), {})
    problem = load_problem(project.config.problem, project.root)
    section = project.config.features
    functions = load_modules(project.root, section.modules)
    return problem.matrix(bars, functions, section.standard)


def replay(matrix: Matrix) -> list[Look]:
    settings = MonitorSection()
    budget = SHARES["features"] * false_alarm_rate(settings.false_alarms_per_year)
    days = (matrix.keys["time"].to_numpy().astype("datetime64[D]")).astype(np.int64)
    features = {
        name: matrix.features[name] for name in matrix.features if name not in matrix.categorical
    }
    first_year = (EPOCH + timedelta(days=int(days.min()))).year
    last = EPOCH + timedelta(days=int(days.max()))
    looks: list[Look] = []
    for year in range(first_year + TRAINING_YEARS, last.year + 1):
        start, end = ((date(y, 1, 1) - EPOCH).days for y in (year, year + 1))
        training = (date(year - TRAINING_YEARS, 1, 1) - EPOCH).days
        learnt = spread(np.flatnonzero((days >= training) & (days < start)), REFERENCE)
        served = np.flatnonzero((days >= start) & (days < end))
        served = served[np.argsort(days[served], kind="stable")]
        references = [
            FeatureReference.numeric(name, values.to_numpy(np.float64)[learnt], days[learnt])
            for name, values in features.items()
        ]
        summaries = [
            reference.summarize(features[reference.name].to_numpy(np.float64)[served], days[served])
            for reference in references
        ]
        first_days = dict.fromkeys(features, start)
        is_open: set[str] = set()
        for today in range(start + LOOK_DAYS - 1, min(end, int(days.max()) + 1), LOOK_DAYS):
            monitored = [
                MonitoredFeature(
                    reference,
                    summary.between(start, today),
                    first_days[reference.name],
                    reference.name in is_open,
                )
                for reference, summary in zip(references, summaries, strict=True)
            ]
            verdicts = judge_features(
                monitored,
                today=today,
                elapsed_days=LOOK_DAYS,
                budget=budget,
                min_rows=settings.min_rows,
            )
            opened = [each for each in verdicts if each.drifted and each.name not in is_open]
            for name in is_open - {each.name for each in verdicts if each.drifted}:
                first_days[name] = today + 1
            is_open = {each.name for each in verdicts if each.drifted}
            looks.append(Look(EPOCH + timedelta(days=today), verdicts, opened))
    return looks


def draw(path: Path, looks: list[Look], bars: pd.DataFrame) -> None:
    """Plot the market and, week by week, the features with an open alarm."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    times = [look.day for look in looks]
    figure = Figure(figsize=(10, 5), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True)
    index = market_index(bars)
    upper.plot(index.index, index.to_numpy(), linewidth=1)
    upper.set(ylabel="median share, 1 at the start", yscale="log")
    upper.yaxis.set_major_formatter("{x:g}")
    upper.yaxis.set_minor_formatter("{x:g}")
    lower.fill_between(times, [look.drifted for look in looks], step="pre", alpha=0.4)
    lower.set(ylabel="features with an open alarm")
    opened = [(look.day, len(look.opened)) for look in looks if look.opened]
    lower.vlines([day for day, _ in opened], 0, [count for _, count in opened], color="C3")
    for axes in (upper, lower):
        axes.grid(visible=True, alpha=0.3)
        axes.set_xlim(times[0], times[-1])
    figure.savefig(path, format="png", dpi=90, metadata={"Software": None})


def market_index(bars: pd.DataFrame) -> pd.Series[Any]:
    """Return the product of the median daily moves, which splits of single shares leave alone."""
    wide = bars.pivot_table(index="date", columns="symbol", values="close")
    moves = np.log(wide.ffill(limit=10)).diff().median(axis=1).fillna(0.0)
    index = np.exp(moves.cumsum())
    return pd.Series(index.to_numpy(), index=pd.to_datetime(index.index))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("csv", type=Path, help="daily bars, may be compressed")
    parser.add_argument("--plot", type=Path, default=Path("market-replay.png"))
    options = parser.parse_args()
    bars = read_bars(options.csv)
    looks = replay(features_of(bars))
    draw(options.plot, looks, bars)
    for look in looks:
        for verdict in look.opened:
            test = verdict.test
            if test is not None:
                sys.stdout.write(
                    f"{look.day} {verdict.name}: {test.kind} {test.effect:+.2f}, "
                    f"{verdict.last_day - verdict.first_day + 1} days, p {test.p_value:.1g}\n"
                )
    by_year = Counter(look.day.year for look in looks for _ in look.opened)
    share = np.mean([look.drifted > 0 for look in looks])
    sys.stdout.write(f"alarms by year: {dict(sorted(by_year.items()))}\n")
    sys.stdout.write(f"{len(looks)} looks, an open alarm in {share:.0%}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
