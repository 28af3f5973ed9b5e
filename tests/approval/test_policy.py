from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.approval import policy
from pipeline.approval.policy import Policy, tighten
from pipeline.config import PolicySection
from pipeline.errors import UsageError

NAMES = st.lists(st.sampled_from(["Asha", "Bina", "Chet"]), unique=True).map(tuple)


def test_without_a_file_a_person_approves_whoever_it_is() -> None:
    built_in = policy.load(None, PolicySection())
    assert built_in == Policy()
    assert not built_in.automatic
    assert built_in.may_approve("anyone")


def test_a_file_sets_the_floor(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("approvers: [Asha]\nfour_eyes: true\nidentities: {A@Ex.org: Asha}\n")
    found = policy.load(path, PolicySection())
    assert (found.approvers, found.four_eyes) == (("Asha",), True)
    assert found.identities == {"a@ex.org": "Asha"}
    assert not found.may_approve("asha")


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
    def test_and_not_loosen(self, base: Policy, section: PolicySection, key: str) -> None:
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
    def test_never_allows_what_the_floor_forbids(
        self, base: Policy, section: PolicySection
    ) -> None:
        try:
            found = tighten(base, section)
        except UsageError:
            return
        assert all(
            base.may_approve(name) for name in ("Asha", "Bina", "Zoe") if found.may_approve(name)
        )
        assert found.four_eyes >= base.four_eyes
        assert found.automatic <= base.automatic
        assert found.allow_yes <= base.allow_yes
        assert set(found.require) >= set(base.require)


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


class TestABadFile:
    def test_that_is_missing(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="cannot read the policy"):
            policy.floor(tmp_path / "none.yaml")

    @pytest.mark.parametrize("text", ["", "- a\n", "a: [", "\x00"])
    def test_that_holds_no_keys(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "policy.yaml"
        path.write_text(text)
        with pytest.raises(UsageError, match="the policy"):
            policy.floor(path)

    def test_with_an_unknown_key_names_the_nearest(self, tmp_path: Path) -> None:
        path = tmp_path / "policy.yaml"
        path.write_text("four_eye: true\n")
        with pytest.raises(UsageError, match="did you mean 'four_eyes'"):
            policy.floor(path)
