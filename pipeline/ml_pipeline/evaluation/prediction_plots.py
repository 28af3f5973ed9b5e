"""The picture of a model's predictions for the holdout: the plots that its task declares."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.core import workdir

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from ml_pipeline.evaluation.holdout import Sample
    from ml_pipeline.tasks.base import PlotKind

    Floats = NDArray[np.float64]
    Plot = Callable[[Axes, Sample, Floats], None]

MOST_POINTS = 5000
"""Most rows in a scatter plot; of more, evenly spaced ones are drawn."""
MOST_CURVES = 8
"""Most classes with a calibration curve: the most frequent ones."""
MOST_COUNTS = 12
"""Most classes whose confusion matrix shows its numbers."""
CALIBRATION_BINS = 10
NAME_LENGTH = 20


def draw(path: Path, sample: Sample, predictions: Floats) -> Path:
    """Write a PNG with one panel for each kind in ``plots`` of the task; same input, same bytes.

    Args:
        path: the file, replaced whole.
        sample: the labelled rows of the holdout.
        predictions: the model's, for these rows [n] or [n, k].
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kinds = sample.task.plots
    figure = Figure(figsize=(5 * len(kinds), 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        PLOTS[kind](axes, sample, predictions)
    with workdir.atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph ")  # of class names, drawn as a box
        figure.savefig(temporary, format="png", dpi=90, metadata={"Software": None})
    return path


def _calibration(axes: Axes, sample: Sample, predictions: Floats) -> None:
    """Draw the observed share of a class over its predicted probability, in bins of equal count."""
    import numpy as np

    targets = sample.task.targets(sample.labels)
    curves, labels = [(targets, predictions)], [""]
    if targets.ndim > 1:
        curves = list(zip(targets.T, predictions.T, strict=True))
        labels = [f"class {_name(each)}" for each in _class_names(sample)]
    frequent = sorted(range(len(curves)), key=lambda number: -curves[number][0].sum())
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for number in sorted(frequent[:MOST_CURVES]):
        observed, predicted = curves[number]
        order = np.argsort(predicted, kind="stable")
        bins = np.array_split(order, min(CALIBRATION_BINS, len(order)))
        means = [(predicted[rows].mean(), observed[rows].mean()) for rows in bins]
        axes.plot(*zip(*means, strict=True), marker="o", markersize=4, label=labels[number] or None)
    axes.set(
        title="calibration", xlabel="predicted probability", ylabel="share of rows of the class"
    )
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.grid(visible=True, alpha=0.3)
    if targets.ndim > 1:
        _legend(axes)


def _confusion_matrix(axes: Axes, sample: Sample, predictions: Floats) -> None:
    """Draw how many rows of each class were given each class; shades are shares of a row."""
    import numpy as np

    names = _class_names(sample)
    codes = {name: number for number, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    actual = sample.task.label_of(sample.labels).tolist()
    for one, other in zip(actual, sample.task.class_of(predictions).tolist(), strict=True):
        counts[codes[one], codes[other]] += 1
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(names) <= MOST_COUNTS:
        for (row, column), count in np.ndenumerate(counts):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=color)
        ticks = range(len(names))
        shown = [_name(name) for name in names]
        axes.set_xticks(ticks, shown, rotation=45, ha="right", parse_math=False)
        axes.set_yticks(ticks, shown, parse_math=False)
    axes.set(title="confusion matrix", xlabel="predicted class", ylabel="class of the label")


def _histogram(axes: Axes, sample: Sample, predictions: Floats) -> None:
    """Draw the distribution of the predictions, by label where there are two labels."""
    import numpy as np

    values = sample.task.histogram_values(predictions)
    edges = np.histogram_bin_edges(values, bins=20)
    labels = np.unique(sample.labels)
    if len(labels) == 2:
        for label in labels:
            rows = sample.labels == label
            axes.hist(values[rows], bins=edges.tolist(), alpha=0.6, label=f"label {label:g}")
        _legend(axes)
    else:
        axes.hist(values, bins=edges.tolist())
    axes.set(title="histogram", xlabel="prediction", ylabel="rows")


def _predicted_against_actual(axes: Axes, sample: Sample, predictions: Floats) -> None:
    shown = _evenly_spaced(len(predictions))
    labels, predicted = sample.labels[shown], predictions[shown]
    ends = [min(labels.min(), predicted.min()), max(labels.max(), predicted.max())]
    axes.plot(ends, ends, color="0.7", linewidth=1)
    axes.scatter(predicted, labels, s=8, alpha=0.6)
    axes.set(title="predicted against actual", xlabel="prediction", ylabel="label")
    axes.grid(visible=True, alpha=0.3)


def _residuals(axes: Axes, sample: Sample, predictions: Floats) -> None:
    shown = _evenly_spaced(len(predictions))
    axes.axhline(0, color="0.7", linewidth=1)
    axes.scatter(predictions[shown], (sample.labels - predictions)[shown], s=8, alpha=0.6)
    axes.set(title="residuals", xlabel="prediction", ylabel="label - prediction")
    axes.grid(visible=True, alpha=0.3)


def _roc(axes: Axes, sample: Sample, predictions: Floats) -> None:
    """Draw the ROC curve; of labels of one class there is none."""
    import numpy as np

    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    if len(np.unique(sample.labels)) == 2:
        from sklearn.metrics import roc_curve

        false_positives, true_positives, _ = roc_curve(sample.labels, predictions)
        axes.plot(false_positives, true_positives)
    axes.set(title="ROC", xlabel="false positive rate", ylabel="true positive rate")
    axes.grid(visible=True, alpha=0.3)


PLOTS: Mapping[PlotKind, Plot] = {
    "calibration": _calibration,
    "confusion_matrix": _confusion_matrix,
    "histogram": _histogram,
    "predicted_against_actual": _predicted_against_actual,
    "residuals": _residuals,
    "roc": _roc,
}


def _class_names(sample: Sample) -> list[Any]:
    """Return the classes of the task in the order of its prediction's columns."""
    import numpy as np

    classes = sample.task.objective.outputs
    names: list[Any] = sample.task.label_of(np.arange(classes, dtype=np.float64)).tolist()
    return names


def _name(value: object) -> str:
    text = str(value)
    return text if len(text) <= NAME_LENGTH else f"{text[: NAME_LENGTH - 1]}…"


def _legend(axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    for text in axes.legend(handles, labels, fontsize="small").get_texts():
        text.set_parse_math(False)


def _evenly_spaced(rows: int) -> NDArray[np.int64]:
    import numpy as np

    return np.unique(np.linspace(0, rows - 1, min(rows, MOST_POINTS)).astype(np.int64))
