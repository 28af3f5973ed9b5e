"""The metrics of a regression: ``predictions`` [n] are in the label's own unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_pipeline.tasks.metrics import Metric, by_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from ml_pipeline.statistics.resampling import Statistic

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]


def absolute_errors(labels: Floats, predictions: Floats) -> Floats:
    """Return |y - x| a row."""
    import numpy as np

    errors: Floats = np.abs(labels - predictions)
    return errors


def squared_errors(labels: Floats, predictions: Floats) -> Floats:
    """Return (y - x)^2 a row."""
    errors: Floats = (labels - predictions) ** 2
    return errors


def rmse(labels: Floats, predictions: Floats) -> float:
    """Return the root of the mean squared error."""
    return float(squared_errors(labels, predictions).mean() ** 0.5)


def r2(labels: Floats, predictions: Floats) -> float:
    """Return 1 - sum of squared errors / sum of squares about the labels' mean; NaN if those are 0.

    The coefficient of determination as scikit-learn defines it.
    """
    import numpy as np

    spread = float(((labels - labels.mean()) ** 2).sum())
    return float(1 - squared_errors(labels, predictions).sum() / spread) if spread else np.nan


def _resampled_rmse(
    labels: Floats, predictions: Floats, codes: Integers, clusters: int
) -> Statistic:
    import numpy as np

    rows = np.bincount(codes, minlength=clusters)
    sums = np.bincount(codes, weights=squared_errors(labels, predictions), minlength=clusters)

    def statistic(counts: Floats) -> Floats:
        found: Floats = np.sqrt((counts @ sums) / (counts @ rows))
        return found

    return statistic


def _resampled_r2(labels: Floats, predictions: Floats, codes: Integers, clusters: int) -> Statistic:
    import numpy as np

    centred = labels - labels.mean()  # the sum of squares would lose digits otherwise
    rows = np.bincount(codes, minlength=clusters)
    errors = np.bincount(codes, weights=squared_errors(labels, predictions), minlength=clusters)
    first = np.bincount(codes, weights=centred, minlength=clusters)
    second = np.bincount(codes, weights=centred**2, minlength=clusters)

    def statistic(counts: Floats) -> Floats:
        spread = counts @ second - (counts @ first) ** 2 / (counts @ rows)
        with np.errstate(divide="ignore", invalid="ignore"):
            found: Floats = np.where(spread > 0, 1 - (counts @ errors) / spread, np.nan)
        return found

    return statistic


def pinball(labels: Floats, predictions: Floats, quantile: float) -> Floats:
    """Return the pinball loss of a quantile's prediction a row (Koenker and Bassett, 1978)."""
    import numpy as np

    error = labels - predictions
    losses: Floats = np.maximum(quantile * error, (quantile - 1) * error)
    return losses


METRICS: Mapping[str, Metric] = by_name(
    Metric("mae", "MAE", higher_is_better=False, row_loss=absolute_errors),
    Metric("mse", "MSE", higher_is_better=False, row_loss=squared_errors),
    Metric(
        "rmse", "RMSE", higher_is_better=False, daily=False, whole=rmse, resampled=_resampled_rmse
    ),
    Metric("r2", "R²", higher_is_better=True, daily=False, whole=r2, resampled=_resampled_r2),
)


def interval_metrics(half_width: float, coverage: float) -> Mapping[str, Metric]:
    """Return the metrics of the interval prediction ± ``half_width``, which aims at ``coverage``.

    ``coverage`` is the share of labels inside; ``pinball`` the mean pinball loss of both ends, at
    the quantiles (1 - coverage) / 2 and (1 + coverage) / 2.
    """

    def inside(labels: Floats, predictions: Floats) -> Floats:
        found: Floats = (absolute_errors(labels, predictions) <= half_width).astype("float64")
        return found

    def ends(labels: Floats, predictions: Floats) -> Floats:
        low = pinball(labels, predictions - half_width, (1 - coverage) / 2)
        high = pinball(labels, predictions + half_width, (1 + coverage) / 2)
        found: Floats = (low + high) / 2
        return found

    return by_name(
        Metric(
            "pinball",
            "pinball loss",
            higher_is_better=False,
            daily=False,
            model_only=True,
            row_loss=ends,
        ),
        Metric(
            "coverage",
            "coverage",
            higher_is_better=True,
            daily=False,
            model_only=True,
            row_loss=inside,
        ),
    )
