"""Whether boosting stopped by itself: the advisory check of every estimator that boosts."""

from __future__ import annotations

from ml_pipeline.core.report import Check, Verdict


def check(best_round: int, rounds: int, limit: int) -> Check:
    """Return the check: inconclusive where ``train.max_epochs`` ended boosting.

    Args:
        best_round: The round with the lowest validation loss.
        rounds: Rounds that were boosted.
        limit: ``train.max_epochs``.
    """
    stopped = rounds < limit
    return Check(
        name="early stopping",
        verdict=Verdict.PASS if stopped else Verdict.INCONCLUSIVE,
        required=False,
        observed=f"round {best_round} of {rounds} is the best",
        expected=f"to stop before round {limit}",
        why="" if stopped else "boosting ended at train.max_epochs: more rounds might gain",
    )
