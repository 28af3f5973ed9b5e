"""The metrics of a multi-class classifier.

``labels`` are 0 .. k - 1 [n], ``probabilities`` those of each class [n, k]. The class of a row is
the one of the largest probability.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ml_pipeline.tasks.metrics import Metric, by_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from ml_pipeline.statistics.resampling import Statistic

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]


def log_losses(labels: Floats, probabilities: Floats) -> Floats:
    """Return the negative log likelihood a row in nats; probabilities are clipped at 2.2e-16."""
    import numpy as np

    rows = np.arange(len(labels))
    own = np.clip(probabilities[rows, labels.astype(np.int64)], np.finfo(np.float64).eps, 1.0)
    losses: Floats = -np.log(own)
    return losses


def brier_scores(labels: Floats, probabilities: Floats) -> Floats:
    """Return the squared distance of probabilities and label a row (Brier, 1950), 0 to 2."""
    import numpy as np

    one_hot = labels[:, None] == np.arange(probabilities.shape[1])
    scores: Floats = ((probabilities - one_hot) ** 2).sum(axis=1)
    return scores


def hits(labels: Floats, probabilities: Floats) -> Floats:
    """Return 1 where the row's class is the label, else 0."""
    found: Floats = (probabilities.argmax(axis=1) == labels).astype("float64")
    return found


def balanced_accuracy(labels: Floats, probabilities: Floats) -> float:
    """Return the mean recall of the classes that occur."""
    import numpy as np

    codes = np.zeros(len(labels), dtype=np.int64)
    return float(_resampled_balanced_accuracy(labels, probabilities, codes, 1)(np.ones((1, 1)))[0])


def _resampled_balanced_accuracy(
    labels: Floats, probabilities: Floats, codes: Integers, clusters: int
) -> Statistic:
    import numpy as np

    classes = probabilities.shape[1]
    cells = codes * classes + labels.astype(np.int64)
    size = clusters * classes
    right = np.bincount(cells, weights=hits(labels, probabilities), minlength=size)
    rows = np.bincount(cells, minlength=size).astype(np.float64)
    right, rows = right.reshape(clusters, classes), rows.reshape(clusters, classes)

    def statistic(counts: Floats) -> Floats:
        below = counts @ rows
        with np.errstate(divide="ignore", invalid="ignore"):
            recalls = np.where(below > 0, (counts @ right) / below, np.nan)
        found: Floats = np.nanmean(recalls, axis=1)
        return found

    return statistic


def _share(
    number: int, of_predicted: bool, labels: Floats, probabilities: Floats
) -> tuple[Floats, Floats]:
    """Return, a row, whether it is a hit of the class, and whether it counts."""
    import numpy as np

    chosen = probabilities.argmax(axis=1) == number
    actual = labels == number
    counted = chosen if of_predicted else actual
    return (chosen & actual).astype(np.float64), counted.astype(np.float64)


def _whole_share(number: int, of_predicted: bool, labels: Floats, probabilities: Floats) -> float:
    import numpy as np

    right, counted = _share(number, of_predicted, labels, probabilities)
    return float(right.sum() / counted.sum()) if counted.any() else float(np.nan)


def _resampled_share(
    number: int,
    of_predicted: bool,
    labels: Floats,
    probabilities: Floats,
    codes: Integers,
    clusters: int,
) -> Statistic:
    import numpy as np

    from ml_pipeline.statistics.resampling import ratio_of_sums

    right, counted = _share(number, of_predicted, labels, probabilities)
    return ratio_of_sums(
        np.bincount(codes, weights=right, minlength=clusters).astype(np.float64),
        np.bincount(codes, weights=counted, minlength=clusters).astype(np.float64),
    )


METRICS: Mapping[str, Metric] = by_name(
    Metric("log_loss", "log loss", higher_is_better=False, row_loss=log_losses),
    Metric("brier_score", "Brier score", higher_is_better=False, row_loss=brier_scores),
    Metric("accuracy", "accuracy", higher_is_better=True, row_loss=hits),
    Metric(
        "balanced_accuracy",
        "balanced accuracy",
        higher_is_better=True,
        daily=False,
        whole=balanced_accuracy,
        resampled=_resampled_balanced_accuracy,
    ),
)


def class_metrics(classes: Sequence[str]) -> Mapping[str, Metric]:
    """Return precision and recall of each class, ``precision_CLASS`` and ``recall_CLASS``.

    Precision is the share of rows of the class among those that were given it, recall the share of
    rows that were given the class among those of it.
    """
    return by_name(
        *(
            Metric(
                f"{kind}_{name}",
                f"{kind} of {name}",
                higher_is_better=True,
                daily=False,
                whole=partial(_whole_share, number, of_predicted),
                resampled=partial(_resampled_share, number, of_predicted),
            )
            for kind, of_predicted in (("precision", True), ("recall", False))
            for number, name in enumerate(classes)
        )
    )
