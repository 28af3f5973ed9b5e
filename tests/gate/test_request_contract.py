"""What the gate says of a challenger that the champion's clients cannot ask as before."""

from dataclasses import replace

import pytest
from ml_pipeline.config import GateMinimums, GateSection
from ml_pipeline.core.errors import Refused, UsageError
from ml_pipeline.features.schema import Feature, FeatureSchema
from ml_pipeline.gate import policy_minimums
from ml_pipeline.gate.checks.request_contract import judge_contract
from ml_pipeline.gate.comparison_set import ComparisonRules

AGE, PLAN = Feature("age", "numeric"), Feature("plan", "categorical", ("free", "pro"))
NEW = Feature("income", "numeric")


def manifest(*features):
    return {"features": FeatureSchema(features).to_json()}


CHAMPION = manifest(AGE, PLAN)


@pytest.mark.parametrize(
    ("challenger", "allowed", "verdict", "observed"),
    [
        (manifest(AGE, PLAN), False, "pass", "compatible"),
        (manifest(AGE, PLAN, replace(NEW, optional=True)), False, "pass", "extended: feature"),
        (manifest(AGE, PLAN, NEW), False, "fail", "breaking: feature 'income' is new and requ"),
        (manifest(AGE, PLAN, NEW), True, "pass", "breaking: feature 'income' is new and required"),
        (manifest(PLAN), False, "fail", "breaking: feature 'age' is gone"),
        (manifest(PLAN, AGE), False, "fail", "breaking: the order changes"),
    ],
)
def test_only_what_is_breaking_and_not_allowed_fails(challenger, allowed, verdict, observed):
    found = judge_contract(challenger, CHAMPION, allowed=allowed)
    assert (found.check.name, found.check.verdict) == ("request contract", verdict)
    assert found.check.required
    assert found.check.observed.startswith(observed)
    assert found.breaks == observed.startswith("breaking")
    first = found.headline("may be promoted: better")
    assert first.startswith("clients break, breaking: ") == (allowed and found.breaks)
    assert first.endswith("may be promoted: better")


def test_each_refusal_says_what_to_do():
    new = judge_contract(manifest(AGE, PLAN, NEW), CHAMPION, allowed=False)
    assert "set gate.allow_breaking_contract: true once they are informed" in new.check.why
    assert """'features: {optional: ["income"]}' in ml.yaml lets requests leave it""" in (
        new.check.why
    )
    gone = judge_contract(manifest(PLAN, NEW), CHAMPION, allowed=False)
    assert "keep what clients send, or set gate.allow" in gone.check.why
    assert "optional:" not in gone.check.why
    order = judge_contract(manifest(PLAN, AGE), CHAMPION, allowed=False)
    assert "run 'ml-pipeline train' again" in order.check.why


def test_without_a_champion_it_is_the_first():
    found = judge_contract(CHAMPION, None, allowed=False)
    assert (found.check.verdict, found.breaks) == ("pass", False)
    assert found.to_json()["change"] is None
    assert found.digest[:12] in found.check.observed


def test_a_manifest_without_features_is_no_contract():
    with pytest.raises(Refused, match="champion's manifest: features"):
        judge_contract(CHAMPION, {"features": {"schema": 9}}, allowed=True)


def test_the_policy_may_forbid_it():
    section = GateSection(allow_breaking_contract=True)
    rules = ComparisonRules.of(section, "log_loss", {})
    policy_minimums.require(GateMinimums(), section, rules)
    forbidding = GateMinimums(allow_breaking_contract=False)
    policy_minimums.require(forbidding, GateSection(), rules)
    with pytest.raises(UsageError, match=r"gate.allow_breaking_contract is true; expected false"):
        policy_minimums.require(forbidding, section, rules)
