from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from ml_pipeline.approval.policy import Policy
from ml_pipeline.core.errors import EnvironmentFault, Refused, UsageError
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import Verdict
from ml_pipeline.promotion import desired_state, production_history
from ml_pipeline.promotion.environment import Production
from ml_pipeline.promotion.journal import FaultHook, Journal, no_faults, open_journals
from ml_pipeline.promotion.reconcile import Reconciled, reconcile, reconcile_production
from ml_pipeline.registry.records import APPROVAL_RECORD
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import CHAMPION, RegistryState, Version

from tests.records import newest_record

Delivery = Any


@pytest.fixture
def delivery(three: Delivery) -> Delivery:
    return three


@pytest.fixture
def versions(delivery: Delivery) -> list[Version]:
    found: list[Version] = delivery.registry.read().versions
    return found


@pytest.fixture
def file(delivery: Delivery, tmp_path: Path) -> Path:
    """The file as the last promotion wrote it, where people may edit it."""
    path = tmp_path / "production-model.yaml"
    path.write_bytes((delivery.home / "production-model.yaml").read_bytes())
    return path


def names(delivery: Delivery, file: Path, version: Version) -> None:
    """Let the file say another version, with the digests of its promotion."""
    entry = next(
        e for e in production_history.read_history(delivery.home) if e.version == version.number
    )
    values = yaml.safe_load(file.read_text())
    values |= {"model_version": version.number}
    values["digests"] = {"bundle": entry.bundle, "approval": entry.approval}
    file.write_text(yaml.safe_dump(values))


def reconcile_on(
    delivery: Delivery,
    file: Path,
    registry: Registry | None = None,
    fault_point: FaultHook = no_faults,
) -> Reconciled:
    return reconcile_production(
        registry or delivery.registry,
        delivery.policy,
        [delivery.signer.public_key],
        Production(delivery.target, delivery.placement),
        lambda _: desired_state.read(file),
        by="timer",
        reason="the file says so",
        run_id="reconcile-1",
        progress=lambda what, share: None,
        fault_point=fault_point,
    )


class TestProduction:
    def test_that_is_as_it_is_to_be_is_left_alone(self, delivery: Delivery, file: Path) -> None:
        before = delivery.state()
        done = reconcile_on(delivery, file)
        assert (done.version.number, done.drift, done.registry) == (3, "", "")
        assert (done.changed, done.recovered) == ((), ())
        assert done.approved == "approve by Asha (prompt)"
        assert delivery.state() == before

    def test_whose_server_is_down_serves_again(self, delivery: Delivery, file: Path) -> None:
        delivery.target.running = None
        assert reconcile_on(delivery, file).drift == "no server answered as recorded"
        assert delivery.target.running.version == 3
        assert reconcile_on(delivery, file).drift == ""
        assert len(production_history.read_history(delivery.home)) == 3

    def test_says_that_it_only_set_the_alias_back(
        self, delivery: Delivery, versions: list[Version], file: Path
    ) -> None:
        delivery.registry.aliases.set(CHAMPION, versions[0])
        done = reconcile_on(delivery, file)
        told = "the registry's alias 'champion' named version 1 and names version 3 again"
        assert (done.drift, done.changed) == ("", (told,))
        assert reconcile_on(delivery, file).changed == ()

    def test_says_that_it_only_set_a_lost_alias(self, delivery: Delivery, file: Path) -> None:
        delivery.registry.aliases.set(CHAMPION, None)
        told = "the registry's alias 'champion' named no version and names version 3 again"
        assert reconcile_on(delivery, file).changed == (told,)

    def test_says_what_the_home_lacked(
        self, delivery: Delivery, versions: list[Version], file: Path
    ) -> None:
        (delivery.home / "production-model.yaml").unlink()
        (delivery.home / "approvals" / f"{versions[2].digest}.dsse.json").unlink()
        done = reconcile_on(delivery, file)
        assert done.drift == ""
        assert done.changed == (
            "the home keeps the approval of version 3 again",
            "production-model.yaml was written again",
        )

    def test_that_serves_something_else_is_told_and_mended(
        self, delivery: Delivery, file: Path
    ) -> None:
        delivery.target.running = replace(delivery.target.running, version=9, digest="e" * 64)
        told = reconcile_on(delivery, file).drift
        assert told == "version 9, bundle eeeeeeeeeeee, served, which was never promoted here"
        assert delivery.target.running.version == 3

    def test_follows_a_file_that_names_an_earlier_version(
        self, delivery: Delivery, versions: list[Version], file: Path
    ) -> None:
        names(delivery, file, versions[0])
        done = reconcile_on(delivery, file)
        assert done.drift.startswith("version 3, bundle ")
        assert delivery.target.running.digest == versions[0].digest
        assert delivery.registry.read().champion == versions[0]
        last = production_history.read_history(delivery.home)[-1]
        assert (last.kind, last.version, last.former_version) == ("reconcile", 1, 3)
        assert reconcile_on(delivery, file).drift == ""
        assert not open_journals(delivery.home)

    def test_without_a_registry_the_file_is_enough(
        self,
        delivery: Delivery,
        versions: list[Version],
        file: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        names(delivery, file, versions[1])
        away = Registry("http://127.0.0.1:9", delivery.registry.name, delivery.home)
        assert "does not answer" in reconcile_on(delivery, file, away).registry
        assert delivery.target.running.digest == versions[1].digest
        assert reconcile_on(delivery, file).registry == ""
        assert delivery.registry.read().champion == versions[1]


class TestIsRefused:
    """What serves stays."""

    def assert_refused(
        self, delivery: Delivery, file: Path, match: str, error: type[Exception] = Refused
    ) -> None:
        before = delivery.state()
        with pytest.raises(error, match=match):
            reconcile_on(delivery, file)
        assert delivery.state() == before

    def test_a_version_that_nobody_approved(self, delivery: Delivery, file: Path) -> None:
        four = delivery.register("four", identity="d", weight=4.0)
        values = yaml.safe_load(file.read_text())
        values |= {"model_version": 4}
        values["digests"]["bundle"] = four.digest
        file.write_text(yaml.safe_dump(values))
        self.assert_refused(delivery, file, "the gate has not decided about version 4")

    def test_a_kept_approval_that_was_edited(
        self, delivery: Delivery, versions: list[Version], file: Path
    ) -> None:
        names(delivery, file, versions[0])
        path = delivery.home / f"approvals/{versions[0].digest}.dsse.json"
        content = json.loads(path.read_text())
        content["payload"] = content["payload"][:-4] + "AAAA"
        path.write_text(json.dumps(content))
        self.assert_refused(delivery, file, "no trusted key signed")

    def test_the_digest_of_another_version(
        self, delivery: Delivery, versions: list[Version], file: Path
    ) -> None:
        values = yaml.safe_load(file.read_text())
        values["digests"]["bundle"] = versions[0].digest
        file.write_text(yaml.safe_dump(values))
        self.assert_refused(delivery, file, "version 3, bundle .*, was never in production")

    def test_another_approval_than_the_file_names(self, delivery: Delivery, file: Path) -> None:
        values = yaml.safe_load(file.read_text())
        values["digests"]["approval"] = "e" * 64
        file.write_text(yaml.safe_dump(values))
        self.assert_refused(delivery, file, "the file names approval eeeeeeeeeeee")

    def test_a_bundle_that_was_changed_where_it_is_kept_and_in_the_registry(
        self, delivery: Delivery, versions: list[Version], file: Path
    ) -> None:
        names(delivery, file, versions[0])
        (delivery.home / f"released/{versions[0].digest}/MODEL_CARD.md").write_text("# other")
        delivery.registry.read = lambda: RegistryState(
            "three", exists=True, versions=(replace(versions[1], number=1),)
        )
        self.assert_refused(delivery, file, "version 1 of the registry holds bundle")

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            ("model_version: 0", "'model_name' is missing"),
            ("- 1", "expected a section with keys of its own"),
            ("a: [", "is not YAML"),
            (
                "{model_name: m, model_version: 3, digests: {bundle: ../x, approval: ../x}}",
                r"digests\.bundle",
            ),
        ],
    )
    def test_what_is_no_such_file(
        self, delivery: Delivery, file: Path, text: str, match: str
    ) -> None:
        file.write_text(text)
        self.assert_refused(delivery, file, match, UsageError)

    def test_no_file(self, delivery: Delivery, file: Path) -> None:
        file.unlink()
        self.assert_refused(delivery, file, "No such file", UsageError)

    def test_another_model(self, delivery: Delivery, file: Path) -> None:
        file.write_text(file.read_text().replace("model_name: three", "model_name: four"))
        self.assert_refused(delivery, file, "the file is about model 'four'")


def test_another_environment_takes_the_registrys_version(
    delivery: Delivery, versions: list[Version]
) -> None:
    place = replace(delivery.placement, name="staging")
    done = reconcile(delivery.registry, versions[1], delivery.target, place)
    assert done.drift.startswith("version 3, bundle ")
    assert delivery.target.running.digest == versions[1].digest
    assert reconcile(delivery.registry, versions[1], delivery.target, place).drift == ""


class TestRules:
    """Forward as ``promote`` goes, backward only to what nobody rolled back."""

    def file_of(self, file: Path, version: Version, approval: str) -> None:
        values = yaml.safe_load(file.read_text()) | {"model_version": version.number}
        values["digests"] = {"bundle": version.digest, "approval": approval}
        file.write_text(yaml.safe_dump(values))

    def challenger(self, delivery: Delivery, file: Path, **approval: Any) -> Version:
        """Register and approve a version, and let the file name it."""
        version: Version = delivery.register("four", identity="d", weight=4.0)
        delivery.gate(version)
        delivery.approve(version, **approval)
        content = newest_record(delivery.registry, version, APPROVAL_RECORD)
        self.file_of(file, version, hashlib.sha256(content).hexdigest())
        return version

    def assert_refused(self, delivery: Delivery, file: Path, match: str) -> None:
        before = delivery.state()
        with pytest.raises(Refused, match=match):
            reconcile_on(delivery, file)
        assert delivery.state() == before
        assert not open_journals(delivery.home)

    def back_to(self, delivery: Delivery, to: int) -> None:
        delivery.rollback(to=to, reason="too many alarms")

    def test_an_old_file_does_not_bring_back_what_was_rolled_back(
        self, delivery: Delivery, file: Path
    ) -> None:
        self.back_to(delivery, 2)
        told = "version 3 was rolled back on .* by Bina: too many alarms.*'approve'"
        self.assert_refused(delivery, file, told)

    def test_nor_in_a_home_that_does_not_know_of_it(
        self, delivery: Delivery, file: Path, tmp_path: Path
    ) -> None:
        self.back_to(delivery, 2)
        delivery.home = Home(tmp_path / "other")
        delivery.home.make()
        told = r"version 3 was rolled back on \d{4}-\d\d-\d\d by Bina, for a reason that is not"
        self.assert_refused(delivery, file, told)

    def test_nor_what_another_home_rolled_back(
        self, delivery: Delivery, versions: list[Version], file: Path, tmp_path: Path
    ) -> None:
        names(delivery, file, versions[1])
        here, delivery.home = delivery.home, Home(tmp_path / "other")
        shutil.copytree(here.root, delivery.home.root)
        self.back_to(delivery, 1)
        delivery.home = here
        self.assert_refused(delivery, file, r"version 2 was rolled back on \d{4}-\d\d-\d\d by Bina")

    def test_nor_is_a_version_taken_over_that_an_unknown_change_followed(
        self, delivery: Delivery, versions: list[Version], file: Path, tmp_path: Path
    ) -> None:
        """A lease of an earlier ml-pipeline does not say to which version it led."""
        registry = delivery.registry
        number = registry.leases.read()[-1].number + 1
        token = "f" * 32
        assert registry.leases.acquire(number, token, by="Bina", run_id="old")
        registry.leases.release(number, token, "done")
        delivery.home = Home(tmp_path / "other")
        delivery.home.make()
        with pytest.raises(EnvironmentFault, match="the champion of 'three' is unknown"):
            reconcile_on(delivery, file)

    def test_an_approved_challenger_is_promoted(self, delivery: Delivery, file: Path) -> None:
        version = self.challenger(delivery, file)
        done = reconcile_on(delivery, file)
        assert done.version == version
        assert done.changed == ("version 4 was promoted",)
        assert done.drift.startswith("version 3, bundle ")
        last = production_history.read_history(delivery.home)[-1]
        assert (last.kind, last.version, last.by) == ("promotion", 4, "Asha")
        assert delivery.registry.read().champion == version
        assert reconcile_on(delivery, file).drift == ""

    def test_a_rejected_challenger_is_not(self, delivery: Delivery, file: Path) -> None:
        self.challenger(delivery, file, decision="reject", reason="too risky")
        self.assert_refused(delivery, file, "version 4 was rejected by Asha: too risky")

    def test_nor_one_that_the_policy_does_not_let_pass(
        self, delivery: Delivery, file: Path
    ) -> None:
        self.challenger(delivery, file)
        delivery.policy = Policy(approvers=("Bina",))
        self.assert_refused(delivery, file, "the policy changed since the gate decided")

    def test_nor_one_that_the_gate_judged_again(self, delivery: Delivery, file: Path) -> None:
        delivery.gate(self.challenger(delivery, file), Verdict.FAIL)
        self.assert_refused(delivery, file, "the gate's verdict on version 4 is fail")

    def test_nor_an_approved_version_that_is_no_challenger_any_more(
        self, delivery: Delivery, file: Path
    ) -> None:
        self.challenger(delivery, file)
        delivery.register("five", identity="e", weight=5.0)
        self.assert_refused(delivery, file, "version 4, bundle .*, was never in production")

    def test_a_version_that_another_home_promoted_is_taken_over(
        self, delivery: Delivery, file: Path, tmp_path: Path
    ) -> None:
        version = self.challenger(delivery, file)
        here, delivery.home = delivery.home, Home(tmp_path / "other")
        shutil.copytree(here.root, delivery.home.root)
        delivery.promote()
        delivery.home = here
        assert reconcile_on(delivery, file).version == version
        last = production_history.read_history(here)[-1]
        assert (last.kind, last.version, last.former_version) == ("reconcile", 4, 3)


def test_a_journal_sorts_after_the_others_whatever_the_clock_does(delivery: Delivery) -> None:
    """A clock that was set back must not put a change before one that it replaces."""
    about = {
        "model": "three", "version": 1, "bundle": "a" * 64, "former_version": None,
        "former_bundle": None, "by": "b", "reason": "r", "run_id": "r",
    }  # fmt: skip
    folder = delivery.home / "journal"
    newest = max(folder.iterdir())
    newest.rename(folder / f"2999{newest.name[4:]}")
    made = [Journal.start(delivery.home, "rollback", **about) for _ in range(3)]
    assert [one.path for one in open_journals(delivery.home)] == [one.path for one in made]
