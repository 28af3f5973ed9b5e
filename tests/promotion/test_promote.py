from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock
from ml_pipeline.approval.policy import Policy
from ml_pipeline.core.errors import EnvironmentFault, Refused, UsageError
from ml_pipeline.core.report import Verdict
from ml_pipeline.promotion import environment as production_room
from ml_pipeline.promotion import production_history
from ml_pipeline.promotion.status import history
from ml_pipeline.registry.records import APPROVAL_RECORD, GATE_RECORD
from ml_pipeline.registry.versions import CHAMPION, Version
from ml_pipeline.targets.base import deploy
from securesystemslib.signer import CryptoSigner

from tests.records import newest_record

Delivery = Any


class TestTheFirstPromotion:
    def test_puts_the_challenger_into_production(self, delivery: Delivery) -> None:
        version = delivery.register("one")
        delivery.gate(version)
        delivery.approve(version)
        done = delivery.promote()
        assert (done.version, done.former, done.changed) == (version, None, True)
        assert delivery.registry.read().champion.number == 1
        assert delivery.target.running.digest == version.digest

    def test_writes_what_is_in_production(self, delivery: Delivery) -> None:
        version = delivery.deliver("one")
        values = yaml.safe_load((delivery.home / "production-model.yaml").read_text())
        assert values["model_name"] == delivery.registry.name
        assert values["model_version"] == 1
        assert values["serving_endpoint"] == "http://here"
        assert values["digests"]["bundle"] == version.digest
        assert values["approved"] == {"by": "Asha", "reason": "better", "method": "prompt"}
        assert values["former"] is None

    def test_starts_the_history(self, delivery: Delivery) -> None:
        version = delivery.deliver("one", cause="drift in volume_z")
        (entry,) = production_history.read_history(delivery.home)
        assert (entry.version, entry.bundle) == (1, version.digest)
        assert (entry.former_version, entry.by) == (None, "Asha")
        (row,) = history(delivery.home)
        assert (row["cause"], row["reason"]) == ("drift in volume_z", "better")

    def test_accepts_the_data(self, delivery: Delivery, tmp_path: Path) -> None:
        profile = tmp_path / "profile.json"
        profile.write_text(json.dumps({"fingerprint": "d" * 64}))
        version = delivery.register("one")
        delivery.gate(version)
        delivery.approve(version)
        delivery.promote(profile)
        assert (delivery.home / "accepted/profile.json").read_bytes() == profile.read_bytes()

    def test_leaves_no_scratch(self, delivery: Delivery) -> None:
        delivery.deliver("one")
        assert not list(delivery.home.root.glob(".fetched-*"))


class TestTheNextPromotion:
    def test_replaces_the_champion_and_names_it(self, delivery: Delivery) -> None:
        one = delivery.deliver("one")
        two = delivery.deliver("two", identity="b", weight=2.0)
        assert delivery.registry.read().champion.number == 2
        assert delivery.target.running.digest == two.digest
        values = yaml.safe_load((delivery.home / "production-model.yaml").read_text())
        assert values["former"] == {"model_version": 1, "bundle": one.digest}
        assert [entry.version for entry in production_history.read_history(delivery.home)] == [1, 2]
        assert production_history.read_history(delivery.home)[1].former_bundle == one.digest


class TestNothingToPromote:
    def test_is_a_pass_that_changes_nothing(self, delivery: Delivery) -> None:
        delivery.deliver("one")
        before = delivery.state()
        done = delivery.promote()
        assert (done.changed, done.started) == (False, False)
        assert delivery.state() == before
        assert delivery.target.started == [1]

    def test_a_champion_whose_server_is_down_starts_again(self, delivery: Delivery) -> None:
        version = delivery.deliver("one")
        delivery.target.running = None
        done = delivery.promote()
        assert (done.changed, done.started) == (False, True)
        assert delivery.target.running.digest == version.digest

    def test_and_is_written_down_where_it_answers_now(self, delivery: Delivery) -> None:
        delivery.deliver("one")
        file = delivery.home / "production-model.yaml"
        before = yaml.safe_load(file.read_text())
        delivery.target.running = None
        delivery.target.url = "http://there"
        delivery.promote()
        assert yaml.safe_load(file.read_text()) == before | {"serving_endpoint": "http://there"}
        assert len(production_history.read_history(delivery.home)) == 1

    def test_the_champion_replaces_what_else_is_served(self, delivery: Delivery) -> None:
        version = delivery.deliver("one")
        other = delivery.register("two", identity="b", weight=2.0)
        bundle = delivery.registry.bundles.download(other, delivery.home / "other")
        deploy(delivery.target, delivery.placement, bundle, 2)
        delivery.registry.aliases.set("challenger", version)
        assert delivery.promote().started
        assert delivery.target.running.digest == version.digest

    def test_a_champion_that_nobody_approved_is_not_started(self, delivery: Delivery) -> None:
        version = delivery.register("one")
        delivery.registry.aliases.set(CHAMPION, version)
        with pytest.raises(EnvironmentFault, match=r"names version 1 .* the history says nothing"):
            delivery.promote()
        assert delivery.target.started == []


@pytest.fixture
def second(delivery: Delivery) -> Version:
    """A challenger that is approved, beside a champion that serves."""
    delivery.deliver("one")
    version = delivery.register("two", identity="b", weight=2.0)
    delivery.gate(version)
    delivery.approve(version)
    return version


def assert_refused_and_unchanged(delivery: Delivery, match: str) -> None:
    before = delivery.state()
    with pytest.raises(Refused, match=match):
        delivery.promote()
    assert delivery.state() == before
    assert delivery.target.started == [1]


class TestIsRefusedBeforeAnythingStarts:
    def test_without_a_challenger(self, delivery: Delivery) -> None:
        with pytest.raises(UsageError, match="has no challenger; run 'ml-pipeline register'"):
            delivery.promote()

    def test_in_place_of_the_version_that_was_shown(self, delivery: Delivery) -> None:
        """A newer challenger, approved since then, is not the one that was decided about."""
        shown = delivery.register("shown")
        newer = delivery.register("newer", identity="b")
        delivery.gate(newer)
        delivery.approve(newer)
        with pytest.raises(Refused, match="expected version 1, the one that was shown"):
            delivery.promote(expected=shown.number)
        assert delivery.target.running is None

    def test_without_a_gate(self, delivery: Delivery) -> None:
        delivery.deliver("one")
        delivery.register("two", identity="b", weight=2.0)
        assert_refused_and_unchanged(delivery, "the gate has not decided about version 2")

    def test_without_an_approval(self, delivery: Delivery) -> None:
        delivery.deliver("one")
        delivery.gate(delivery.register("two", identity="b", weight=2.0))
        assert_refused_and_unchanged(delivery, "version 2 has no approval")

    @pytest.mark.parametrize("verdict", [v for v in Verdict if v is not Verdict.PASS])
    def test_when_the_gate_did_not_pass(
        self, delivery: Delivery, second: Version, verdict: Verdict
    ) -> None:
        delivery.gate(second, verdict)
        assert_refused_and_unchanged(delivery, f"the gate's verdict on version 2 is {verdict}")

    def test_when_the_gate_decided_again_after_the_approval(
        self, delivery: Delivery, second: Version
    ) -> None:
        content = json.loads(newest_record(delivery.registry, second, GATE_RECORD))
        content["summary"] = "better by 0.03"
        delivery.registry.records.attach(second, GATE_RECORD, json.dumps(content).encode())
        assert_refused_and_unchanged(delivery, "the approval is for gate ")

    def test_when_the_gates_record_is_no_record(self, delivery: Delivery, second: Version) -> None:
        delivery.registry.records.attach(second, GATE_RECORD, b'{"verdict": "pass"}')
        assert_refused_and_unchanged(delivery, "the gate's record is invalid")

    def test_when_the_gates_record_passes_over_its_own_checks(
        self, delivery: Delivery, second: Version
    ) -> None:
        content = json.loads(newest_record(delivery.registry, second, GATE_RECORD))
        content["checks"][0]["verdict"] = "fail"
        delivery.registry.records.attach(second, GATE_RECORD, json.dumps(content).encode())
        assert_refused_and_unchanged(delivery, "record has verdict pass, but its checks do not")

    def test_when_the_approval_was_used_before(self, delivery: Delivery) -> None:
        """Version 2 was approved against 1, and replaced by 1 again."""
        one = delivery.deliver("one")
        two = delivery.deliver("two", identity="b", weight=2.0)
        for version in (one, two):
            delivery.registry.aliases.set("challenger", version)
            if version is one:
                delivery.gate(one)
                delivery.approve(one)
                delivery.promote()
        before = delivery.state()
        with pytest.raises(Refused, match=r"the approval by Asha was used on \d{4}-"):
            delivery.promote()
        assert delivery.state() == before
        delivery.approve(two, reason="better, again")
        assert delivery.promote().version == two

    def test_when_it_was_rejected(self, delivery: Delivery, second: Version) -> None:
        delivery.approve(second, decision="reject", reason="too risky")
        assert_refused_and_unchanged(delivery, "was rejected by Asha: too risky")

    def test_when_another_key_signed(self, delivery: Delivery, second: Version) -> None:
        trusted, delivery.signer = delivery.signer, CryptoSigner.generate_ed25519()
        delivery.approve(second)
        delivery.signer = trusted
        assert_refused_and_unchanged(delivery, "no trusted key signed")

    def test_when_the_approval_was_edited(self, delivery: Delivery, second: Version) -> None:
        content = json.loads(newest_record(delivery.registry, second, APPROVAL_RECORD))
        content["payload"] = content["payload"][:-4] + "AAAA"
        delivery.registry.records.attach(second, APPROVAL_RECORD, json.dumps(content).encode())
        assert_refused_and_unchanged(delivery, "no trusted key signed")

    def test_when_the_approval_is_of_another_version(
        self, delivery: Delivery, second: Version
    ) -> None:
        approval = newest_record(
            delivery.registry, delivery.registry.read().version(1), APPROVAL_RECORD
        )
        delivery.registry.records.attach(second, APPROVAL_RECORD, approval)
        assert_refused_and_unchanged(delivery, "the approval is for version 1")

    def test_when_the_policy_changed(self, delivery: Delivery, second: Version) -> None:
        delivery.policy = Policy(approvers=("Asha",))
        assert_refused_and_unchanged(delivery, "the policy changed since the gate decided")

    def test_when_the_signer_let_somebody_approve_who_may_not(self, delivery: Delivery) -> None:
        delivery.policy = Policy(approvers=("Asha",))
        delivery.deliver("one")
        version = delivery.register("two", identity="b", weight=2.0)
        delivery.gate(version)
        delivery.approve(version, by="Bina")
        assert_refused_and_unchanged(delivery, "'Bina' may not approve")

    def test_when_an_author_approved(self, delivery: Delivery) -> None:
        delivery.policy = Policy(four_eyes=True)
        version = delivery.register("one")
        delivery.gate(version)
        delivery.approve(version, authors=("Asha",))
        with pytest.raises(Refused, match="'Asha' is an author of the change"):
            delivery.promote()

    def test_when_the_champion_moved(self, delivery: Delivery, second: Version) -> None:
        third = delivery.register("three", identity="c", weight=3.0)
        delivery.registry.aliases.set(CHAMPION, third)
        delivery.registry.aliases.set("challenger", second)
        before = delivery.state()
        with pytest.raises(
            EnvironmentFault, match=r"names version 3 .* the history says version 1"
        ):
            delivery.promote()
        assert delivery.state() == before

    def test_when_the_first_champion_appeared_meanwhile(self, delivery: Delivery) -> None:
        one = delivery.register("one")
        delivery.gate(one)
        delivery.approve(one)
        delivery.deliver("two", identity="b", weight=2.0)
        delivery.registry.aliases.set("challenger", one)
        with pytest.raises(Refused, match="expected bundle none, found"):
            delivery.promote()

    def test_when_the_bundle_was_changed_in_the_registry(
        self, delivery: Delivery, second: Version
    ) -> None:
        artifacts = delivery.registry._home / "artifacts"
        for stored in (artifacts / second.run_id).rglob("MODEL_CARD.md"):
            stored.write_text("# other")
        assert_refused_and_unchanged(delivery, "MODEL_CARD")


class TestIsTakenBack:
    """After a step fails, what was there before is there again."""

    def assert_unchanged(self, delivery: Delivery, error: type[Exception], match: str) -> None:
        before = delivery.state()
        with pytest.raises(error, match=match):
            delivery.promote()
        assert delivery.state() == before
        assert not list(delivery.home.root.glob(".fetched-*"))

    def test_when_the_new_server_is_not_healthy(self, delivery: Delivery, second: Version) -> None:
        delivery.target.healthy = False
        self.assert_unchanged(delivery, Refused, "the new server is not ready")

    def test_when_another_bundle_answers(self, delivery: Delivery, second: Version) -> None:
        delivery.target.wrong_bundle = True
        self.assert_unchanged(delivery, Refused, "production serves bundle 000000000000")

    def test_when_the_champion_moves_while_the_server_starts(
        self, delivery: Delivery, second: Version, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        third = delivery.register("three", identity="c", weight=3.0)
        delivery.registry.aliases.set("challenger", second)
        start = delivery.target.handover

        def slow(*where: Any) -> Any:
            delivery.registry.aliases.set(CHAMPION, third)
            return start(*where)

        monkeypatch.setattr(delivery.target, "handover", slow)
        before = delivery.state() | {"champion": third.number}
        with pytest.raises(Refused, match="the champion moved meanwhile"):
            delivery.promote()
        assert delivery.state() == before

    def test_when_the_alias_cannot_be_moved(
        self, delivery: Delivery, second: Version, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        move = delivery.registry.aliases.set

        def fail(alias: str, version: Version | None) -> None:
            move(alias, version)
            if version == second:
                raise EnvironmentFault("the registry does not answer")

        monkeypatch.setattr(delivery.registry.aliases, "set", fail)
        self.assert_unchanged(delivery, EnvironmentFault, "the registry does not answer")

    @pytest.mark.parametrize("step", ["production_model", "history", "accepted_profile"])
    def test_when_a_record_cannot_be_written(
        self,
        delivery: Delivery,
        second: Version,
        step: str,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        class Full(production_history.Replacement):
            def do(self) -> None:
                raise OSError("no space left on device")

        monkeypatch.setattr(
            production_history, step, lambda *_: Full(delivery.home / "nowhere", b"")
        )
        profile = tmp_path / "profile.json"
        profile.write_text(json.dumps({"fingerprint": "d" * 64}))
        before = delivery.state()
        with pytest.raises(OSError, match="no space left"):
            delivery.promote(profile)
        assert delivery.state() == before

    def test_when_the_first_promotion_fails_nothing_is_there(self, delivery: Delivery) -> None:
        version = delivery.register("one")
        delivery.gate(version)
        delivery.approve(version)
        delivery.target.healthy = False
        self.assert_unchanged(delivery, Refused, "the new server is not ready")
        assert delivery.registry.read().champion is None

    def test_and_says_so_when_the_alias_cannot_be_put_back(
        self, delivery: Delivery, second: Version, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(alias: str, version: Version | None) -> None:
            raise EnvironmentFault("the registry does not answer")

        running = delivery.target.running
        monkeypatch.setattr(delivery.registry.aliases, "set", fail)
        with pytest.raises(
            EnvironmentFault, match=r"may not be: .* expected the alias on version 1"
        ):
            delivery.promote()
        assert delivery.target.running == running


@pytest.mark.parametrize("error", [OSError("no space left on device"), KeyboardInterrupt()])
def test_a_former_server_that_does_not_end_takes_nothing_back(
    delivery: Delivery, second: Version, error: BaseException
) -> None:
    delivery.target.commit_fails = error
    with pytest.raises(
        EnvironmentFault, match="version 2 is in production, but the switch was not"
    ):
        delivery.promote()
    assert delivery.registry.read().champion == second
    assert delivery.target.running.digest == second.digest
    assert [entry.version for entry in production_history.read_history(delivery.home)] == [1, 2]


def test_two_promotions_do_not_run_at_once(
    delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(production_room, "LOCK_TIMEOUT", 0.1)
    with (
        FileLock(delivery.home / "promotion.lock"),
        pytest.raises(EnvironmentFault, match="another promotion holds"),
    ):
        delivery.promote()
