from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_pipeline.approval import policy
from ml_pipeline.approval.policy import Policy, tighten
from ml_pipeline.config import PolicySection
from ml_pipeline.core.errors import UsageError

NAMES = st.lists(st.sampled_from(["Asha", "Bina", "Chet"]), unique=True).map(tuple)


def test_without_a_policy_file_any_person_may_approve() -> None:
    built_in = policy.load(None, PolicySection())
    assert built_in == Policy()
    assert not built_in.automatic
    assert built_in.may_approve("anyone")


def test_an_address_in_two_spellings_has_one_name(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text("identities: {A@Ex.org: Asha, a@ex.org: Bina}\n")
    with pytest.raises(UsageError, match="is listed twice, in different spellings, with two names"):
        policy.load(path, PolicySection())


def test_a_file_sets_the_minimum(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("approvers: [Asha]\nfour_eyes: true\nidentities: {A@Ex.org: Asha}\n")
    result = policy.load(path, PolicySection())
    assert (result.approvers, result.four_eyes) == (("Asha",), True)
    assert result.identities == {"a@ex.org": "Asha"}
    assert not result.may_approve("asha")


class TestTheProjectMayTighten:
    def test_every_key(self) -> None:
        base = Policy(approvers=("Asha", "Bina"), automatic=True, require=("verify-staging",))
        section = PolicySection(
            approvers=("Asha",), four_eyes=True, allow_yes=False, require=("shadow-staging",)
        )
        assert tighten(base, section) == Policy(
            approvers=("Asha",),
            four_eyes=True,
            allow_yes=False,
            automatic=False,
            require=("verify-staging", "shadow-staging"),
        )

    def test_automatic_needs_both(self) -> None:
        allowed = Policy(automatic=True)
        assert tighten(allowed, PolicySection(automatic=True)).automatic
        assert not tighten(allowed, PolicySection()).automatic

    @pytest.mark.parametrize(
        ("base", "section", "key"),
        [
            (Policy(approvers=("Asha",)), PolicySection(approvers=("Asha", "Bina")), "approvers"),
            (Policy(approvers=("Asha",)), PolicySection(approvers=()), "approvers"),
            (Policy(four_eyes=True), PolicySection(four_eyes=False), "four_eyes"),
            (Policy(allow_yes=False), PolicySection(allow_yes=True), "allow_yes"),
            (Policy(), PolicySection(automatic=True), "automatic"),
        ],
    )
    def test_loosening_is_refused(self, base: Policy, section: PolicySection, key: str) -> None:
        with pytest.raises(UsageError, match=rf"policy\.{key} in ml\.yaml would loosen"):
            tighten(base, section)

    @given(
        base=st.builds(
            Policy,
            approvers=NAMES,
            four_eyes=st.booleans(),
            automatic=st.booleans(),
            allow_yes=st.booleans(),
            require=NAMES,
        ),
        section=st.builds(
            PolicySection,
            approvers=st.none() | NAMES,
            four_eyes=st.none() | st.booleans(),
            automatic=st.booleans(),
            allow_yes=st.none() | st.booleans(),
            require=NAMES,
        ),
    )
    def test_never_allows_what_the_minimum_forbids(
        self, base: Policy, section: PolicySection
    ) -> None:
        try:
            result = tighten(base, section)
        except UsageError:
            return
        assert all(
            base.may_approve(name) for name in ("Asha", "Bina", "Zoe") if result.may_approve(name)
        )
        assert result.four_eyes >= base.four_eyes
        assert result.automatic <= base.automatic
        assert result.allow_yes <= base.allow_yes
        assert set(result.require) >= set(base.require)


STRICT = Policy(
    approvers=("Asha", "Bina"),
    four_eyes=True,
    identities={"asha@ex.org": "Asha", "bina@ex.org": "Bina"},
    allow_yes=False,
    require=("lint",),
    gate={
        "goal": "superior",
        "metric": "log_loss",
        "alpha": 0.05,
        "margin": 0.01,
        "non_inferior_margin": 0.005,
        "min_days": 60,
        "max_feature_auc": 0.98,
        "guards": {"auc": 0.01},
    },
    keys=("a" * 64, "b" * 64),
)
LENIENT = Policy(automatic=True)


class TestAFurtherFileMayOnlyTighten:
    def test_unset_keys_keep_their_value(self) -> None:
        assert policy.stricter(STRICT, Policy(), "x") == STRICT
        assert policy.stricter(LENIENT, Policy(), "x") == LENIENT

    def test_over_the_built_in_minimum_it_applies_unchanged(self) -> None:
        assert policy.stricter(Policy(), STRICT, "x") == STRICT

    @pytest.mark.parametrize(
        ("key", "loose", "tight", "result"),
        [
            ("approvers", [], ["Bina", "Zoe"], ("Bina",)),
            ("four_eyes", False, True, True),
            ("identities", {}, {"asha@ex.org": "Asha"}, {"asha@ex.org": "Asha"}),
            ("automatic", True, False, False),
            ("allow_yes", True, False, False),
            ("require", [], ["test"], ("lint", "test")),
            ("keys", [], ["b" * 64], ("b" * 64,)),
        ],
    )
    def test_every_key(self, key: str, loose: object, tight: object, result: object) -> None:
        base = STRICT if key != "automatic" else LENIENT
        assert policy.stricter(base, Policy(**{key: loose}), "x") == base
        assert getattr(policy.stricter(base, Policy(**{key: tight}), "x"), key) == result

    @pytest.mark.parametrize(("one", "other"), [(True, False), (False, True), (False, False)])
    def test_a_breaking_contract_is_forbidden_by_either_side(self, one: bool, other: bool) -> None:
        files = (Policy(gate={"allow_breaking_contract": each}) for each in (one, other))
        assert not policy.stricter(*files, "x").gate.allow_breaking_contract

    def test_every_key_has_a_tightening_rule(self) -> None:
        """A new key of the policy, or of its gate section, needs a rule for the stricter value."""
        assert set(Policy.model_fields) == {
            "approvers",
            "four_eyes",
            "identities",
            "automatic",
            "allow_yes",
            "require",
            "gate",
            "keys",
        }
        assert set(type(STRICT.gate).model_fields) == {
            "goal",
            "metric",
            "alpha",
            "margin",
            "non_inferior_margin",
            "min_days",
            "max_feature_auc",
            "guards",
            "allow_breaking_contract",
            "checks",
        }

    @pytest.mark.parametrize(
        ("key", "loose", "tight"),
        [
            ("goal", "auto", "superior"),
            ("alpha", 0.2, 0.01),
            ("margin", 0.0, 0.02),
            ("non_inferior_margin", 0.1, 0.001),
            ("min_days", 5, 90),
            ("max_feature_auc", 1.0, 0.9),
        ],
    )
    def test_every_limit_of_the_gate(self, key: str, loose: object, tight: object) -> None:
        assert policy.stricter(STRICT, Policy(gate={key: loose}), "x") == STRICT
        result = policy.stricter(STRICT, Policy(gate={key: tight}), "x")
        assert getattr(result.gate, key) == tight

    def test_guards_are_merged_with_the_smaller_margin(self) -> None:
        other = Policy(gate={"guards": {"auc": 0.5, "accuracy": 0.1}})
        assert policy.stricter(STRICT, other, "x").gate.guards == {"auc": 0.01, "accuracy": 0.1}

    @pytest.mark.parametrize(
        ("other", "message"),
        [
            ({"approvers": ["Zoe"]}, "none of its 'approvers' is one of Asha, Bina"),
            ({"identities": {"zoe@ex.org": "Bina"}}, "identities names 'zoe@ex.org'"),
            ({"identities": {"asha@ex.org": "Bina"}}, "identities names 'asha@ex.org'"),
            ({"keys": ["c" * 64]}, "keys names 'cccc"),
            ({"keys": ["-----BEGIN PUBLIC KEY-----\nMCow\n"]}, "keys names '-----BEGIN"),
            ({"gate": {"metric": "auc"}}, "gate.metric names 'auc'"),
        ],
    )
    def test_looser_values_are_refused(self, other: dict[str, object], message: str) -> None:
        with pytest.raises(UsageError, match=re.escape(message)):
            policy.stricter(STRICT, Policy(**other), "loose.yaml")

    def test_a_key_of_its_own_is_refused_where_those_of_the_home_count(self) -> None:
        own = Policy(keys=("-----BEGIN PUBLIC KEY-----\nMCow\n",))
        with pytest.raises(UsageError, match="keys names"):
            policy.stricter(Policy(approvers=("Asha",)), own, "loose.yaml")

    def test_files_are_merged_and_the_digest_covers_all(self, tmp_path: Path) -> None:
        first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
        first.write_text("four_eyes: true\nallow_yes: false\n")
        second.write_text("four_eyes: false\nallow_yes: true\nautomatic: true\nrequire: [lint]\n")
        result = policy.minimum((first, second))
        assert result == Policy(four_eyes=True, allow_yes=False, require=("lint",))
        assert result.digest != policy.minimum(first).digest

    @given(a=st.booleans(), b=st.booleans(), c=st.booleans(), d=st.booleans())
    def test_never_allows_what_one_of_them_forbids(
        self, a: bool, b: bool, c: bool, d: bool
    ) -> None:
        one = Policy(automatic=a, allow_yes=b)
        other = Policy(automatic=c, allow_yes=d)
        result = policy.stricter(one, other, "x")
        assert (result.automatic, result.allow_yes) == (a and c, b and d)


class TestDigest:
    def test_is_of_the_rules_not_of_their_order(self) -> None:
        assert Policy(approvers=("a", "b")).digest == Policy(approvers=("b", "a")).digest

    @pytest.mark.parametrize(
        "other",
        [
            {"approvers": ("a",)},
            {"four_eyes": True},
            {"identities": {"a@b": "a"}},
            {"automatic": True},
            {"allow_yes": False},
            {"require": ("a",)},
            {"keys": ("a",)},
        ],
    )
    def test_changes_with_every_rule(self, other: dict[str, object]) -> None:
        assert Policy().digest != Policy(**other).digest


class TestInvalidPolicyFile:
    def test_with_a_key_twice_names_the_line(self, tmp_path: Path) -> None:
        path = tmp_path / "policy.yaml"
        path.write_text("four_eyes: true\nallow_yes: false\nfour_eyes: false\n")
        with pytest.raises(UsageError, match="'four_eyes' occurs twice, again in line 3"):
            policy.minimum(path)

    def test_that_is_missing(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="cannot read the policy"):
            policy.minimum(tmp_path / "none.yaml")

    @pytest.mark.parametrize("text", ["", "- a\n", "a: [", "\x00"])
    def test_that_holds_no_keys(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "policy.yaml"
        path.write_text(text)
        with pytest.raises(UsageError, match="the policy"):
            policy.minimum(path)

    def test_with_an_unknown_key_names_the_nearest(self, tmp_path: Path) -> None:
        path = tmp_path / "policy.yaml"
        path.write_text("four_eye: true\n")
        with pytest.raises(UsageError, match="did you mean 'four_eyes'"):
            policy.minimum(path)
