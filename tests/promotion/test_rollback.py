from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from ml_pipeline.core.errors import EnvironmentFault, Refused
from ml_pipeline.core.home import Home
from ml_pipeline.promotion import production_history
from ml_pipeline.promotion.environment import Production
from ml_pipeline.promotion.journal import open_journals
from ml_pipeline.promotion.rollback import rollback, rollback_stack
from ml_pipeline.promotion.switch import SwitchResult
from ml_pipeline.registry.records import APPROVAL_RECORD
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import Version
from securesystemslib.signer import CryptoSigner

from tests.records import newest_record

Delivery = Any
AWAY = "http://127.0.0.1:9"
"""Where no registry answers: the port is the discard service's."""


@pytest.fixture(autouse=True)
def no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.fixture
def delivery(three: Delivery) -> Delivery:
    return three


@pytest.fixture
def versions(delivery: Delivery) -> list[Version]:
    """The three versions that were promoted one after the other."""
    found: list[Version] = delivery.registry.read().versions
    return found


def back(
    delivery: Delivery, to: int | None = None, registry: Registry | None = None
) -> SwitchResult:
    return rollback(
        registry or delivery.registry,
        [delivery.signer.public_key],
        Production(delivery.target, delivery.placement),
        to=to,
        by="Bina",
        reason="too many alarms",
        run_id=f"back-{to}",
    )


def away(delivery: Delivery) -> Registry:
    return Registry(AWAY, delivery.registry.name, delivery.home)


class TestWithARegistry:
    def test_the_one_before_serves_and_is_the_champion(
        self, delivery: Delivery, versions: list[Version]
    ) -> None:
        done = back(delivery)
        assert (done.version.number, done.former[0], done.open) == (2, 3, "")
        assert delivery.target.running.digest == versions[1].digest
        assert delivery.registry.read().champion == versions[1]
        values = yaml.safe_load((delivery.home / "production-model.yaml").read_text())
        assert (values["model_version"], values["former"]["model_version"]) == (2, 3)
        assert values["approved"] == {"by": "Asha", "reason": "better", "method": "prompt"}

    def test_the_history_says_who_and_why(
        self, delivery: Delivery, versions: list[Version]
    ) -> None:
        back(delivery)
        last = production_history.read_history(delivery.home)[-1]
        assert (last.kind, last.by, last.reason) == ("rollback", "Bina", "too many alarms")
        assert (last.former_version, last.former_bundle) == (3, versions[2].digest)

    def test_again_goes_one_further_and_then_no_further(
        self, delivery: Delivery, versions: list[Version]
    ) -> None:
        assert [back(delivery).version.number, back(delivery).version.number] == [2, 1]
        with pytest.raises(Refused, match="there is no earlier version"):
            back(delivery)
        assert delivery.registry.read().champion == versions[0]

    def test_a_named_version_and_not_to_one_that_was_rolled_back(
        self, delivery: Delivery, versions: list[Version]
    ) -> None:
        assert back(delivery, to=1).version.number == 1
        assert [
            number for number, _ in rollback_stack(production_history.read_history(delivery.home))
        ] == [1]
        before = delivery.state()
        with pytest.raises(
            Refused, match=r"version 3 was rolled back on .* by Bina: too many alarms.*'approve'"
        ):
            back(delivery, to=3)
        with pytest.raises(Refused, match=r"version 2 was rolled back on .* by Bina"):
            back(delivery, to=2)
        assert delivery.state() == before

    def test_not_the_one_that_is_to_serve_already(
        self, delivery: Delivery, versions: list[Version]
    ) -> None:
        before = production_history.read_history(delivery.home)
        with pytest.raises(Refused, match=r"version 3 is what production is to serve.*reconcile"):
            back(delivery, to=3)
        assert production_history.read_history(delivery.home) == before

    def test_a_version_that_was_rolled_back_needs_a_new_approval(
        self, delivery: Delivery, versions: list[Version]
    ) -> None:
        back(delivery)
        with pytest.raises(Refused, match="was used on"):
            delivery.promote()

    def test_its_claim_has_ended(self, delivery: Delivery, versions: list[Version]) -> None:
        back(delivery)
        last = delivery.registry.leases.read()[-1]
        assert (last.number, last.holder.by, last.ended) == (4, "Bina", "done")


class TestWithoutARegistry:
    def test_traffic_moves_and_what_is_open_is_said(
        self, delivery: Delivery, versions: list[Version]
    ) -> None:
        done = back(delivery, registry=away(delivery))
        assert "does not answer" in done.open
        assert delivery.target.running.digest == versions[1].digest
        assert delivery.registry.read().champion == versions[2]
        (journal,) = open_journals(delivery.home)
        assert str(journal.record).startswith("rollback of version 2 by Bina, as far as 'alias'")

    def test_the_next_promotion_tells_the_registry_first(
        self, delivery: Delivery, versions: list[Version]
    ) -> None:
        back(delivery, registry=away(delivery))
        with pytest.raises(Refused, match="was used on"):
            delivery.promote()
        assert delivery.registry.read().champion == versions[1]
        assert delivery.target.running.digest == versions[1].digest
        assert not open_journals(delivery.home)

    def test_twice_the_last_one_counts(self, delivery: Delivery, versions: list[Version]) -> None:
        back(delivery, registry=away(delivery))
        back(delivery, registry=away(delivery))
        assert len(open_journals(delivery.home)) == 2
        with pytest.raises(Refused, match=r"was used on|champion moved"):
            delivery.promote()
        assert delivery.registry.read().champion == versions[0]
        assert not open_journals(delivery.home)

    def test_a_version_promoted_elsewhere_meanwhile_stays_champion(
        self, delivery: Delivery, versions: list[Version], tmp_path: Path
    ) -> None:
        here, delivery.home = delivery.home, Home(tmp_path / "other")
        shutil.copytree(here.root, delivery.home.root)
        fourth = delivery.deliver("four", identity="d", weight=4.0)
        delivery.home = here
        back(delivery, registry=away(delivery))
        with pytest.raises(EnvironmentFault, match="version 4, which was promoted elsewhere"):
            delivery.promote()
        assert delivery.registry.read().champion == fourth


class TestIsRefused:
    """Production serves on as before."""

    def assert_refused(self, delivery: Delivery, match: str, to: int | None = None) -> None:
        before = delivery.state()
        with pytest.raises(Refused, match=match):
            back(delivery, to)
        assert delivery.state() == before
        assert not open_journals(delivery.home)

    def test_a_bundle_that_was_changed_where_it_is_kept(
        self, delivery: Delivery, versions: list[Version], caplog: pytest.LogCaptureFixture
    ) -> None:
        card = delivery.home / f"released/{versions[1].digest}/MODEL_CARD.md"
        card.write_text("# other")
        told = "version 2: the home's copy of bundle .* does not verify, .*: .* does not answer"
        with pytest.raises(EnvironmentFault, match=told):
            back(delivery, registry=away(delivery))
        assert delivery.target.running.digest == versions[2].digest
        with caplog.at_level("WARNING"):
            assert back(delivery).version == versions[1]
        assert "the home's copy of its bundle was damaged" in caplog.text

    def test_a_version_that_never_was_there(
        self, delivery: Delivery, versions: list[Version]
    ) -> None:
        delivery.register("four", identity="d", weight=4.0)
        self.assert_refused(delivery, r"version 4 was never .* one of: 1, 2, 3", to=4)

    def test_a_kept_approval_that_was_edited(
        self, delivery: Delivery, versions: list[Version]
    ) -> None:
        path = delivery.home / f"approvals/{versions[1].digest}.dsse.json"
        content = json.loads(path.read_text())
        content["payload"] = content["payload"][:-4] + "AAAA"
        path.write_text(json.dumps(content))
        self.assert_refused(delivery, "no trusted key signed")

    def test_a_kept_approval_of_another_version(
        self, delivery: Delivery, versions: list[Version]
    ) -> None:
        folder = delivery.home / "approvals"
        (folder / f"{versions[1].digest}.dsse.json").write_bytes(
            (folder / f"{versions[0].digest}.dsse.json").read_bytes()
        )
        self.assert_refused(delivery, "the approval that the home keeps is for bundle")

    def test_a_rejection(self, delivery: Delivery, versions: list[Version]) -> None:
        (delivery.home / f"approvals/{versions[1].digest}.dsse.json").unlink()
        record = json.loads(newest_record(delivery.registry, versions[1], APPROVAL_RECORD))
        assert record["signatures"]
        delivery.registry.records.attach(versions[1], APPROVAL_RECORD, b"{}")
        self.assert_refused(delivery, "is not a DSSE envelope")

    def test_by_a_key_that_is_not_trusted_any_more(
        self, delivery: Delivery, versions: list[Version]
    ) -> None:
        delivery.signer = CryptoSigner.generate_ed25519()
        self.assert_refused(delivery, "no trusted key signed")

    def test_when_its_server_is_not_healthy(
        self, delivery: Delivery, versions: list[Version]
    ) -> None:
        delivery.target.healthy = False
        self.assert_refused(delivery, "the new server is not ready")
