"""The administrators' minimum for the gate can be tightened by ml.yaml, never loosened."""

from __future__ import annotations

from typing import Any

import pytest
from ml_pipeline.config import GateMinimums, GateSection, Guard
from ml_pipeline.core.errors import UsageError
from ml_pipeline.gate.comparison_set import ComparisonRules
from ml_pipeline.gate.policy_minimums import require

MINIMUM = GateMinimums(
    goal="auto",
    metric="within_day_auc",
    alpha=0.05,
    margin=0.001,
    non_inferior_margin=0.005,
    min_days=60,
    guards={"log_loss": 0.01},
)
STRICT: dict[str, Any] = {
    "margin": 0.001,
    "min_days": 60,
    "guards": {"log_loss": Guard(margin=0.01)},
}


def check(minimum: GateMinimums, **section: Any) -> None:
    asked = GateSection(**section)
    require(minimum, asked, ComparisonRules.of(asked, "within_day_auc", {"log_loss": 0.01}))


def test_without_a_minimum_the_project_decides() -> None:
    check(GateMinimums(), alpha=0.4, guards={}, goal="non_inferior", min_days=5)


def test_the_minimum_itself_and_anything_stricter_pass() -> None:
    check(MINIMUM, **STRICT)
    stricter = {"goal": "superior", "alpha": 0.01, "margin": 0.1, "non_inferior_margin": 0.001}
    check(MINIMUM, **{**STRICT, **stricter, "guards": {"log_loss": Guard(margin=0.0)}})


@pytest.mark.parametrize(
    ("looser", "key"),
    [
        ({"goal": "non_inferior"}, "gate.goal"),
        ({"metric": "auc"}, "gate.metric"),
        ({"alpha": 0.1}, "gate.alpha"),
        ({"margin": 0.0}, "gate.margin"),
        ({"non_inferior_margin": 0.01}, "gate.non_inferior_margin"),
        ({"min_days": 20}, "gate.min_days"),
        ({"guards": {}}, "gate.guards.log_loss is missing"),
        ({"guards": {"log_loss": Guard(margin=0.5)}}, "gate.guards.log_loss.margin"),
    ],
)
def test_anything_looser_is_refused_and_named(looser: dict[str, Any], key: str) -> None:
    with pytest.raises(UsageError, match=key):
        check(MINIMUM, **{**STRICT, **looser})


def test_a_metric_that_is_primary_needs_no_guard() -> None:
    check(GateMinimums(guards={"log_loss": 0.01}), metric="log_loss", guards={})
