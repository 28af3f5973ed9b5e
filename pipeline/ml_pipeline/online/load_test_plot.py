"""The plot of a load test: latencies over time, and their distribution."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ml_pipeline.core import workdir
from ml_pipeline.traffic.open_loop import TimedResponse

NINES = (50, 75, 90, 95, 99, 99.9, 99.99)


def draw(path: Path, answers: Sequence[TimedResponse], *, warmup: float, limit_ms: float) -> Path:
    """Write a PNG: latency over time, and by percentile as far as the number of requests allows.

    Args:
        path: the file, replaced atomically.
        answers: of the whole test; at least one after the warm-up.
        warmup: seconds that are not measured, drawn grey.
        limit_ms: the service level's 99th percentile.
    """
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    due = np.array([answer.due for answer in answers])
    latency = np.array([answer.latency for answer in answers]) * 1000
    counted = due >= warmup
    figure = Figure(figsize=(10, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    left.scatter(due[~counted], latency[~counted], s=3, color="0.7", label="warm-up")
    left.scatter(due[counted], latency[counted], s=3, color="C0", label="measured")
    left.set(xlabel="scheduled, seconds", ylabel="latency, ms", yscale="log")
    shares = [share for share in NINES if (100 - share) / 100 * counted.sum() >= 1]
    values = np.percentile(latency[counted], shares or [50], method="inverted_cdf")
    right.plot(range(len(values)), values, marker="o")
    right.set_xticks(range(len(values)), [f"{share:g}" for share in shares or [50]])
    right.set(xlabel="percentile")
    for axes in (left, right):
        axes.axhline(limit_ms, color="C3", linewidth=1, label="limit of p99")
        axes.grid(visible=True, alpha=0.3)
    left.legend(loc="upper right", fontsize="small")
    with workdir.atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=90, metadata={"Software": None})
    return path
