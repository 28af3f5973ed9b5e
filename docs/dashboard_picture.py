"""Draws the panels of templates/grafana/dashboard.json from a Prometheus, without a Grafana.

Each panel's own queries are sent to Prometheus, with the variables of the dashboard filled in, as
Grafana does. For the picture of docs/how-to/prometheus.md, and to see that every panel has data.

    python docs/dashboard_picture.py http://127.0.0.1:9090 nepse-direction production 30m out.png
"""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any

import httpx
import matplotlib as mpl
import matplotlib.dates
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

DASHBOARD = Path(__file__).resolve().parents[1] / "templates/grafana/dashboard.json"
COLUMNS, ROW_INCHES, WIDTH_INCHES, DPI = 24, 0.24, 11.0, 90
TITLE_ROWS, AXIS_ROWS, MARGIN = 1.4, 1.2, 0.055
"""Rows of a panel above and below its axes, and the share of the width left of them."""
SCRAPE_SECONDS = 15
POINTS = 240
SECONDS = {"m": 60, "h": 3600, "d": 86400}

Series = dict[str, Any]


def main(url: str, model: str, environment: str, span: str, out: str) -> None:
    seconds = int(span[:-1]) * SECONDS[span[-1]]
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    query = querying(url, model, environment, seconds)
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = Figure((WIDTH_INCHES, rows * ROW_INCHES))
    with mpl.rc_context({"font.size": 7, "axes.titlesize": 8, "axes.spines.top": False}):
        for panel in panels:
            place = panel["gridPos"]
            left, top = place["x"] / COLUMNS + MARGIN, 1 - (place["y"] + TITLE_ROWS) / rows
            width, height = place["w"] / COLUMNS, (place["h"] - TITLE_ROWS - AXIS_ROWS) / rows
            axes = figure.add_axes((left, top - height, width - 1.3 * MARGIN, height))
            axes.set_title(panel["title"], loc="left", fontweight="bold")
            DRAWN[panel["type"]](axes, panel, [query(panel, each) for each in panel["targets"]])
            if panel["type"] != "stat":
                axes.set_xlim(*dates([time.time() - seconds, time.time()]))
        figure.savefig(out, dpi=DPI)


def querying(
    url: str, model: str, environment: str, seconds: int
) -> Callable[[Series, Series], list[Series]]:
    """Return a function that sends a query of a panel, over the last ``seconds``."""
    end = time.time()
    step = max(SCRAPE_SECONDS, seconds // POINTS)
    variables = {
        "model": model,
        "environment": environment,
        "instance": ".*",
        "__rate_interval": f"{4 * SCRAPE_SECONDS + step}s",
        "__range": f"{seconds}s",
    }

    def query(panel: Series, target: Series) -> list[Series]:
        expression = re.sub(r"\$(\w+)", lambda found: variables[found[1]], target["expr"])
        answer = httpx.get(
            f"{url}/api/v1/query_range",
            params={"query": expression, "start": end - seconds, "end": end, "step": step},
            timeout=30,
        ).json()
        if answer["status"] != "success":
            raise SystemExit(f"{panel['title']}: {answer['error']}")
        found: list[Series] = answer["data"]["result"]
        for series in found:
            labels = series["metric"]
            series["name"] = re.sub(
                r"{{(\w+)}}", lambda label, labels=labels: labels[label[1]], target["legendFormat"]
            )
        return found

    return query


def shown(value: float, unit: str) -> str:
    """Return a value with its unit, as Grafana shows it."""
    if unit == "percentunit":
        return f"{100 * value:.3g} %"
    if unit == "s":
        for size, name in ((86400 * 365, "years"), (86400, "days"), (3600, "h"), (60, "min")):
            if value >= size:
                return f"{value / size:.3g} {name}"
        return f"{value:.3g} s" if value >= 1 or not value else f"{1000 * value:.3g} ms"
    return f"{value:,.0f}" if value == round(value) else f"{value:.3g}"


def draw_stat(axes: Axes, panel: Series, results: Sequence[list[Series]]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    decimals, unit = defaults.get("decimals", 6), defaults["unit"]
    by_name = panel["options"]["textMode"] == "name"
    texts = [
        each["name"] if by_name else shown(round(float(each["values"][-1][1]), decimals), unit)
        for each in results[0]
    ]
    axes.text(0.5, 0.5, ", ".join(texts) or "no data", ha="center", va="center", fontsize=13)
    axes.set_axis_off()


def draw_lines(axes: Axes, panel: Series, results: Sequence[list[Series]]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    every = [each for found in results for each in found]
    lines = [np.array(each["values"], dtype=float).T for each in every]
    names = [each["name"] for each in every]
    if defaults["custom"].get("stacking") and lines:
        times = np.unique(np.concatenate([line[0] for line in lines]))
        heights = np.zeros((len(lines), len(times)))
        for row, line in enumerate(lines):
            heights[row, np.searchsorted(times, line[0])] = line[1]
        axes.stackplot(dates(times), heights, labels=names, alpha=0.6)
    else:
        for line, name in zip(map(with_gaps, lines), names, strict=True):
            axes.plot(dates(line[0]), line[1], label=name, linewidth=1)
    axes.set_ylim(0, axes.get_ylim()[1] * 1.1)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value, defaults["unit"])))
    time_axis(axes)
    if names:
        axes.legend(loc="upper left", ncols=2, frameon=False, fontsize=6)
    else:
        axes.text(0.5, 0.5, "none", ha="center", transform=axes.transAxes)


def with_gaps(line: Any) -> Any:
    """Return times and values with NaN where a series has no value for longer than its step."""
    steps = np.diff(line[0])
    after = np.flatnonzero(steps > 1.5 * steps.min(initial=math.inf)) + 1
    return np.insert(line, after, [[math.nan]] * 2, axis=1) if len(after) else line


def draw_heatmap(axes: Axes, _: Series, results: Sequence[list[Series]]) -> None:
    found = sorted(results[0], key=lambda each: float(each["metric"]["le"]))
    bounds = [float(each["metric"]["le"]) for each in found]
    cumulative = np.array([[float(value) for _, value in each["values"]] for each in found])
    counts = np.diff(cumulative, axis=0, prepend=0)
    finite = [bound for bound in bounds if math.isfinite(bound)]
    width = finite[-1] - finite[-2]
    edges = [finite[0] - width, *finite, finite[-1] + width][: len(bounds) + 1]
    times = [when for when, _ in found[0]["values"]]
    step = times[1] - times[0]
    axes.pcolormesh(
        dates([*(when - step / 2 for when in times), times[-1] + step / 2]),
        edges,
        np.ma.masked_less_equal(counts, 0),
        cmap="Blues",
    )
    time_axis(axes)


def dates(times: Any) -> Any:
    return np.array(times) / SECONDS["d"]  # matplotlib's dates are days since the epoch


def time_axis(axes: Axes) -> None:
    axes.xaxis.set_major_formatter(matplotlib.dates.DateFormatter("%H:%M", tz=UTC))
    axes.spines["right"].set_visible(False)


DRAWN = {"stat": draw_stat, "timeseries": draw_lines, "heatmap": draw_heatmap}

if __name__ == "__main__":
    main(*sys.argv[1:])
