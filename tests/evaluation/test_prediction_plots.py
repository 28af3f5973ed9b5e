"""The picture of the stage evaluate: what each plot draws, and that it is the same each time."""

import struct
import typing

import numpy as np
import pytest
from matplotlib.figure import Figure
from ml_pipeline.evaluation import prediction_plots
from ml_pipeline.evaluation.holdout import Sample
from ml_pipeline.tasks.base import PlotKind
from ml_pipeline.tasks.binary_classification import BINARY
from ml_pipeline.tasks.multiclass_classification import MulticlassClassification
from ml_pipeline.tasks.regression import Regression

ROWS = 400
CLASSES = ("_small", "$x$ and $y", "a class with a very long name", "大")
"""Texts that matplotlib would hide, parse as mathematics, or lacks the glyphs of."""


def sample_of(task, labels):
    names = tuple(map(str, range(ROWS)))
    return Sample(labels=labels, codes=np.arange(ROWS), names=names, unit="row", task=task)


@pytest.fixture(params=["binary", "multiclass", "regression"])
def evaluated(request):
    """A sample and predictions that fit it, of each task."""
    rng = np.random.default_rng(1)
    if request.param == "binary":
        predictions = rng.random(ROWS)
        return sample_of(BINARY, (rng.random(ROWS) < predictions).astype(float)), predictions
    if request.param == "multiclass":
        predictions = rng.dirichlet([1.0] * len(CLASSES), ROWS)
        labels = np.array([rng.choice(len(CLASSES), p=row) for row in predictions], dtype=float)
        return sample_of(MulticlassClassification(CLASSES), labels), predictions
    labels = rng.normal(50, 10, ROWS)
    return sample_of(Regression(), labels), labels + rng.normal(0, 5, ROWS)


def drawn(kind, sample, predictions):
    axes = Figure().subplots()
    prediction_plots.PLOTS[kind](axes, sample, predictions)
    return axes


def test_the_picture_has_a_panel_for_each_plot_of_the_task(evaluated, tmp_path):
    sample, predictions = evaluated
    first, second = (
        prediction_plots.draw(tmp_path / name, sample, predictions).read_bytes()
        for name in ("first.png", "second.png")
    )
    assert first == second
    assert first.startswith(b"\x89PNG")
    assert struct.unpack(">I", first[16:20]) == (450 * len(sample.task.plots),)


def test_every_kind_of_plot_is_drawn():
    assert {*prediction_plots.PLOTS} == {*typing.get_args(PlotKind)}


def test_calibration_compares_predicted_probabilities_with_observed_shares():
    predictions = np.repeat([0.2, 0.8], ROWS // 2)
    labels = np.zeros(ROWS)
    labels[: ROWS // 20] = 1  # a tenth of those with 0.2
    labels[ROWS // 2 :] = 1
    curve = drawn("calibration", sample_of(BINARY, labels), predictions).lines[-1]
    assert curve.get_xdata() == pytest.approx([0.2] * 5 + [0.8] * 5)
    assert np.mean(curve.get_ydata()[:5]) == pytest.approx(0.1)
    assert curve.get_ydata()[5:] == pytest.approx([1.0] * 5)


def test_confusion_matrix_counts_rows_by_label_and_predicted_class():
    labels = np.repeat([0.0, 1.0], [100, 300])
    predictions = np.tile([0.7, 0.2, 0.1], (ROWS, 1))
    predictions[350:] = [0.2, 0.7, 0.1]
    sample = sample_of(MulticlassClassification(("a", "b", "c")), labels)
    axes = drawn("confusion_matrix", sample, predictions)
    counts = [int(text.get_text()) for text in axes.texts]
    assert counts == [100, 0, 0, 250, 50, 0, 0, 0, 0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]


def test_classes_have_their_own_names_in_the_legend():
    rng = np.random.default_rng(2)
    sample = sample_of(MulticlassClassification(CLASSES), rng.integers(0, 4, ROWS).astype(float))
    axes = drawn("calibration", sample, rng.dirichlet([1.0] * 4, ROWS))
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        "class _small",
        "class $x$ and $y",
        "class a class with a very…",
        "class 大",
    ]


def test_roc_of_a_perfect_ranking_reaches_the_corner():
    labels = np.repeat([0.0, 1.0], ROWS // 2)
    curve = drawn("roc", sample_of(BINARY, labels), np.linspace(0, 1, ROWS)).lines[-1]
    assert [0.0, 1.0] in curve.get_xydata().tolist()


def test_labels_of_one_class_have_no_roc():
    axes = drawn("roc", sample_of(BINARY, np.ones(ROWS)), np.linspace(0, 1, ROWS))
    assert len(axes.lines) == 1


def test_residuals_are_label_less_prediction():
    labels = np.linspace(0, 10, ROWS)
    axes = drawn("residuals", sample_of(Regression(), labels), labels + 2)
    drawn_residuals = np.asarray(axes.collections[0].get_offsets())[:, 1]
    assert drawn_residuals == pytest.approx(np.full(ROWS, -2.0))


def test_many_rows_are_thinned_out(monkeypatch):
    monkeypatch.setattr(prediction_plots, "MOST_POINTS", 50)
    labels = np.linspace(0, 10, ROWS)
    axes = drawn("predicted_against_actual", sample_of(Regression(), labels), labels)
    assert len(axes.collections[0].get_offsets()) == 50
