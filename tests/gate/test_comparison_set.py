"""Goals, margins and guards: what passes, and how often it does when it should not."""

import numpy as np
import pytest
from ml_pipeline.config import GateSection
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.report import Verdict, judge
from ml_pipeline.gate.comparison_set import ComparisonRules, headline, run_comparisons
from ml_pipeline.gate.decision import goal_for

RECIPE = {"data": "d1", "config": "c", "source": "s", "lock": "l", "seed": "7"}


def compare(world, rules, challenger, other, goal="superior"):
    return run_comparisons(
        world[0], challenger, other, against="the champion", goal=goal, rules=rules
    )


def with_noise(truth, amount, seed):
    noise = np.random.default_rng(seed).normal(0, amount, len(truth))
    return np.clip(truth + noise, 0.01, 0.99)


class TestGoal:
    def test_the_same_recipe_on_newer_data_may_be_as_good(self):
        assert goal_for("auto", RECIPE | {"data": "d2"}, RECIPE) == "non_inferior"
        newer = RECIPE | {"data": "d2", "contract": "c2", "accepts": "a2", "change": "2026-05-12"}
        assert goal_for("auto", newer, RECIPE) == "non_inferior"
        assert goal_for("auto", newer, RECIPE, same_features=False) == "superior"

    @pytest.mark.parametrize("part", ["config", "source", "lock", "seed"])
    def test_another_recipe_has_to_be_better(self, part):
        assert goal_for("auto", RECIPE | {part: "other"}, RECIPE) == "superior"

    def test_limits_by_flags_are_part_of_the_recipe(self):
        assert goal_for("auto", RECIPE | {"limits": "x"}, RECIPE) == "superior"

    def test_a_champion_of_unknown_recipe_has_to_be_beaten(self):
        assert goal_for("auto", {}, {}) == "superior"

    def test_a_heuristic_has_to_be_beaten_whatever_is_wanted(self):
        assert goal_for("non_inferior", RECIPE, None) == "superior"

    def test_what_is_configured_holds(self):
        assert goal_for("superior", RECIPE, RECIPE) == "superior"


class TestUndecided:
    """An interval around the threshold says three things that call for different next steps."""

    def why(self, world, rules, challenger, other, **rule):
        check = compare(world, rules(**rule), challenger, other).checks[0]
        assert check.verdict is Verdict.INCONCLUSIVE
        return check.why

    def test_equal_models_are_called_equal(self, world, rules):
        w = world()
        assert self.why(w, rules, w[1], w[1]) == (
            "equal: the challenger and the champion have the same value on each of 60 days"
        )

    def test_what_looks_worse_is_not_called_a_lack_of_power(self, world, rules):
        w = world()
        worse = next(
            each
            for amount in (0.02, 0.04, 0.06, 0.08)
            if compare(w, rules(), each := with_noise(w[1], amount, 1), w[1]).primary.test.effect
            < 0
            and compare(w, rules(), each, w[1]).checks[0].verdict is Verdict.INCONCLUSIVE
        )
        assert self.why(w, rules, worse, w[1]).startswith("looks worse than the champion, not ")

    def test_a_gain_that_the_rows_cannot_prove_is_a_lack_of_power(self, world, rules):
        w = world()
        better = next(
            each
            for amount in (0.02, 0.04, 0.06, 0.08)
            if compare(w, rules(), w[1], each := with_noise(w[1], amount, 1)).primary.test.effect
            > 0
            and compare(w, rules(), w[1], each).checks[0].verdict is Verdict.INCONCLUSIVE
        )
        assert self.why(w, rules, w[1], better).startswith("no power: the smallest effect")

    def test_less_than_the_margin_is_said(self, world, rules):
        w = world()
        other = with_noise(w[1], 0.06, 1)
        effect = compare(w, rules(), w[1], other).primary.test.effect
        assert effect > 0
        reason = self.why(w, rules, w[1], other, margin=effect * 1.01)
        assert reason.startswith("looks no better than asked for")


class TestSuperior:
    def test_a_better_model_passes(self, world, rules):
        w = world()
        found = compare(w, rules(), w[1], np.full_like(w[1], 0.5))
        assert judge(found.checks) is Verdict.PASS
        assert found.primary.test.effect > 0
        assert found.primary.challenger < found.primary.other

    def test_a_worse_model_fails(self, world, rules):
        w = world()
        found = compare(w, rules(), np.full_like(w[1], 0.5), w[1])
        assert judge(found.checks) is Verdict.FAIL
        assert "worse than the champion" in found.checks[0].why

    def test_the_same_model_is_not_better(self, world, rules):
        w = world()
        assert judge(compare(w, rules(), w[1], w[1]).checks) is Verdict.INCONCLUSIVE

    def test_more_is_better_for_within_day_auc(self, world, rules):
        w = world()
        found = compare(w, rules(metric="within_day_auc"), w[1], np.full_like(w[1], 0.5))
        assert judge(found.checks) is Verdict.PASS
        assert found.primary.challenger > 0.6

    def test_equal_models_rarely_pass(self, world, rules):
        """Two models of the same quality: the challenger passes in about 5 % of the worlds."""
        passed = 0
        for seed in range(300):
            w = world(days=60, entities=10, seed=seed)
            one, other = with_noise(w[1], 0.1, seed), with_noise(w[1], 0.1, seed + 9000)
            passed += judge(compare(w, rules(), one, other).checks) is Verdict.PASS
        assert passed / 300 < 0.09


class TestNonInferior:
    def test_the_same_model_is_no_worse(self, world, rules):
        w = world()
        assert judge(compare(w, rules(), w[1], w[1], "non_inferior").checks) is Verdict.PASS

    def test_a_little_noise_is_no_worse_within_the_margin(self, world, rules):
        w = world(days=120)
        found = compare(w, rules(), with_noise(w[1], 0.01, 1), w[1], "non_inferior")
        assert judge(found.checks) is Verdict.PASS

    def test_worse_by_more_than_the_margin_fails(self, world, rules):
        w = world(days=120)
        found = compare(w, rules(), with_noise(w[1], 0.25, 1), w[1], "non_inferior")
        assert judge(found.checks) is Verdict.FAIL


class TestGuards:
    def test_a_guard_stops_what_the_primary_metric_passes(self, world, rules):
        """Ranks improve while probabilities become nonsense."""
        w = world()
        overconfident = np.where(w[1] > 0.5, 0.9999 + w[1] / 1e5, w[1] / 1e5)
        found = compare(
            w,
            rules(metric="within_day_auc", guards={"log_loss": 0.01}),
            overconfident,
            np.full_like(w[1], 0.5),
        )
        primary, guard = found.checks
        assert primary.verdict is Verdict.PASS
        assert (guard.verdict, guard.required) == (Verdict.FAIL, True)
        assert judge(found.checks) is Verdict.FAIL

    def test_the_guards_of_ml_yaml_replace_the_problems(self):
        section = GateSection(guards={"brier_score": {"margin": 0.01}})
        assert ComparisonRules.of(section, "log_loss", {"accuracy": 0.1}).guards == {
            "brier_score": 0.01
        }
        assert ComparisonRules.of(GateSection(), "log_loss", {"accuracy": 0.1}).guards == {
            "accuracy": 0.1
        }

    def test_the_primary_metric_is_not_guarded_twice(self):
        assert ComparisonRules.of(GateSection(), "log_loss", {"log_loss": 0.1}).guards == {}


class TestNames:
    def test_an_unknown_metric_names_the_nearest(self):
        with pytest.raises(UsageError, match=r"gate.metric: unknown metric.*'log_loss'"):
            ComparisonRules.of(GateSection(metric="logloss"), "log_loss", {})

    def test_a_metric_without_daily_values_is_refused(self):
        with pytest.raises(UsageError, match="no value for a single day"):
            ComparisonRules.of(GateSection(metric="auc"), "log_loss", {})

    def test_within_day_auc_without_days_is_not_compared(self, world, rules):
        sample, truth = world()
        rows = type(sample)(sample.labels, np.arange(2400), tuple(map(str, range(2400))), "row")
        found = compare((rows, truth), rules(metric="within_day_auc"), truth, truth)
        assert "needs dated rows" in found.primary.why


def test_the_headline_says_effect_interval_and_p_value(world, rules):
    w = world()
    found = compare(w, rules(), w[1], np.full_like(w[1], 0.5))
    line = headline(found.checks, found.primary, "superior")
    assert line.startswith("may be promoted: log loss 0.6")
    assert "p " in line
    assert "n 60 days (superior)" in line


def test_the_headline_of_a_refusal_names_the_first_obstacle(world, rules):
    w = world()
    found = compare(w, rules(), np.full_like(w[1], 0.5), w[1])
    assert headline(found.checks, found.primary, "superior").startswith(
        "refused: log loss against the champion: the challenger is worse"
    )
