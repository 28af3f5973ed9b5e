from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ml_pipeline.approval import policy as policies
from ml_pipeline.approval.keys import create_keypair, trusted_keys
from ml_pipeline.approval.policy import Policy
from ml_pipeline.approval.statement import Approval, read
from ml_pipeline.config import Project
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.gate.record import record
from ml_pipeline.promotion import earlier_decisions
from ml_pipeline.promotion.status import status
from ml_pipeline.registry.records import APPROVAL_RECORD, GATE_RECORD
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import Version
from ml_pipeline.stages.context import Context
from ml_pipeline.stages.runner import Result, execute

from tests.champions import make_champion
from tests.records import newest_record


class Case:
    """A project whose challenger the gate has passed."""

    def __init__(
        self, project: Project, make_context: Callable[..., Context], version: Version
    ) -> None:
        self.project, self.make_context, self.version = project, make_context, version
        self.home = Home(project.root / ".ml")
        self.registry = Registry.of(project, self.home)
        self.policy: Path | None = None

    def write_policy(self, **rules: Any) -> None:
        self.policy = self.project.root / "policy.yaml"
        self.policy.write_text(yaml.safe_dump(rules))

    def gate(self, verdict: Verdict = Verdict.PASS, **metrics: Any) -> None:
        champion = self.registry.read().champion
        content = record(
            [Check(name="better", verdict=verdict, observed="+0.02 [+0.01, +0.03]")],
            metrics,
            summary="within-day AUC +0.02 against the best heuristic",
            challenger=self.version.digest,
            champion=None if champion is None else champion.digest,
            policy=policies.load(self.policy, self.project.config.policy).digest,
        )
        self.registry.records.attach(self.version, GATE_RECORD, content)

    def approve(self, *, interactive: bool = False, **flags: Any) -> Result:
        context = self.make_context(self.project, "approve", policy=self.policy, **flags)
        context.interactive = interactive
        return execute(context)

    def signed(self) -> Approval | None:
        content = newest_record(self.registry, self.version, APPROVAL_RECORD)
        return None if content is None else read(content, trusted_keys(self.home, Policy()))


@pytest.fixture
def case(
    make_project: Callable[..., Project],
    make_context: Callable[..., Context],
    make_bundle: Callable[..., Path],
    registry_database: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Case:
    monkeypatch.delenv("ML_APPROVAL_KEY", raising=False)
    project = make_project()
    home = Home(project.root / ".ml")
    home.make()
    (home / "mlflow.db").write_bytes(registry_database.read_bytes())
    version = Registry.of(project, home).register(make_bundle(), {"git.commit": "f" * 40}).version
    case = Case(project, make_context, version)
    case.gate()
    return case


class TestAfterARejection:
    def test_whoever_is_asked_next_is_told(
        self, case: Case, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        case.approve(by="Asha", reason="too risky", reject=True)
        today = case.signed().at.date().isoformat()
        decision = f"version 1 was rejected by Asha on {today}: too risky"
        waiting = case.approve()
        assert waiting.exit_code == 4
        assert decision in waiting.report.summary
        monkeypatch.setattr("sys.stdin", io.StringIO("a\nBina\nmeasured again\n"))
        assert case.approve(interactive=True).exit_code == 0
        assert f"earlier     {decision}" in capsys.readouterr().out

    def test_a_rollback_of_the_version_is_told_too(
        self, case: Case, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gone_back = SimpleNamespace(
            kind="rollback",
            former_version=1,
            former_bundle=case.version.digest,
            at=datetime(2026, 5, 1, tzinfo=UTC),
            by="Bina",
            reason="too many alarms",
        )
        other = SimpleNamespace(**vars(gone_back) | {"former_bundle": "f" * 64})
        monkeypatch.setattr(earlier_decisions, "read_history", lambda _: [other, gone_back])
        decision = "version 1 was rolled back on 2026-05-01 by Bina: too many alarms"
        assert case.approve().report.summary.count(decision) == 1

    def test_an_approval_is_no_rejection(self, case: Case) -> None:
        case.approve(by="Asha", reason="fine")
        assert "rejected" not in case.approve().report.summary

    def test_an_answer_that_does_not_verify_is_not_told(self, case: Case) -> None:
        case.approve(by="Asha", reason="too risky", reject=True)
        case.registry.records.attach(case.version, APPROVAL_RECORD, b"{}")
        assert "rejected" not in case.approve().report.summary

    def test_status_tells_it(self, case: Case) -> None:
        case.approve(by="Asha", reason="too risky", reject=True)
        rows = {row["environment"]: row for row in status(case.project, case.home)}
        assert "version 1 was rejected by Asha on " in rows["production"]["open"]
        assert rows["staging"]["open"] is None


class TestWhoMayNotDecide:
    @pytest.mark.parametrize("reject", [True, False])
    def test_nothing_is_signed_and_the_report_says_that_it_does_not_count(
        self, case: Case, tmp_path: Path, reject: bool
    ) -> None:
        """Jenkins tells by it a rejection from a prompt that somebody without a say has ended."""
        case.policy = tmp_path / "policy.yaml"
        case.policy.write_text("approvers: [Bina]\n")
        case.gate()
        result = case.approve(by="Carol", reason="mine", reject=reject)
        assert result.exit_code == 1
        assert result.report.metrics["counted"] is False
        assert "'Carol' may not approve" in result.report.summary
        assert case.signed() is None
        assert case.approve(by="Bina", reason="no", reject=True).report.metrics["counted"] is True


class TestByFlags:
    def test_is_signed_attached_and_written(self, case: Case) -> None:
        result = case.approve(by="Asha", reason="better on every sector")
        assert result.exit_code == 0
        approval = case.signed()
        assert approval is not None
        assert (approval.by, approval.method) == ("Asha", "flags")
        assert (approval.bundle, approval.champion) == (case.version.digest, None)
        assert approval.run_id == "test-run"
        written = case.project.root / "build/ml/approval.dsse.json"
        assert written.read_bytes() == newest_record(case.registry, case.version, APPROVAL_RECORD)
        assert "approval.dsse.json" in result.report.outputs

    def test_says_what_was_decided(self, case: Case) -> None:
        result = case.approve(by="Asha", reason="better")
        assert result.report.summary == "version 1 approved by Asha: better"

    def test_a_rejection_is_signed_too_and_ends_with_no(self, case: Case) -> None:
        result = case.approve(by="Asha", reason="too risky", reject=True)
        assert (result.exit_code, result.report.verdict) == (1, Verdict.FAIL)
        assert case.signed().decision == "reject"

    @pytest.mark.parametrize(
        ("flags", "expected"),
        [
            ({"by": "Asha"}, "--reason is missing"),
            ({"reason": "better"}, "--by is missing"),
            ({"reject": True}, "--by is missing"),
            ({"by": "Asha", "reason": "  "}, "--reason is empty"),
            ({"by": "", "reason": "better"}, "--by is empty"),
            ({"yes": True, "reject": True}, "--yes and --reject contradict each other"),
        ],
    )
    def test_flags_that_make_no_answer(
        self, case: Case, flags: dict[str, Any], expected: str
    ) -> None:
        result = case.approve(**flags)
        assert result.exit_code == 2
        assert expected in result.report.summary
        assert case.signed() is None


class TestByYes:
    def test_is_recorded_as_such(self, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LOGNAME", "asha")
        assert case.approve(yes=True).exit_code == 0
        approval = case.signed()
        assert (approval.by, approval.method) == ("asha", "yes")
        assert approval.reason == "approved with --yes"

    def test_is_refused_where_the_policy_forbids_it(self, case: Case) -> None:
        case.write_policy(allow_yes=False)
        case.gate()
        result = case.approve(yes=True)
        assert result.exit_code == 1
        assert "does not allow --yes" in result.report.summary
        assert case.signed() is None


class TestAtTheTerminal:
    def test_shows_challenger_champion_and_checks(
        self, case: Case, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        case.gate(cause="drift in volume_z")
        monkeypatch.setattr(sys, "stdin", io.StringIO("a\nAsha\nbetter on every sector\n"))
        assert case.approve(interactive=True).exit_code == 0
        shown = capsys.readouterr().out
        assert f"challenger  version 1, bundle {case.version.digest[:12]}" in shown
        assert "champion    none: compared with the best heuristic" in shown
        assert "cause       drift in volume_z" in shown
        assert "pass          better: +0.02 [+0.01, +0.03]" in shown
        assert case.signed().method == "prompt"

    def test_flags_win_over_the_question(self, case: Case) -> None:
        assert case.approve(interactive=True, by="Asha", reason="better").exit_code == 0
        assert case.signed().method == "flags"

    def test_nobody_answers(self, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(""))
        assert case.approve(interactive=True).exit_code == 4
        assert case.signed() is None


def test_without_a_terminal_it_waits_and_says_how_to_go_on(case: Case) -> None:
    result = case.approve()
    assert result.exit_code == 4
    assert "ml-pipeline approve --by NAME --reason TEXT" in result.report.summary
    assert "ml-pipeline promote" in result.report.summary


class TestAutomatic:
    def test_where_policy_and_project_ask_for_it(
        self, case: Case, make_project: Callable[..., Project]
    ) -> None:
        case.write_policy(automatic=True)
        case.project = make_project(policy={"automatic": True})
        case.gate()
        assert case.approve().exit_code == 0
        assert (case.signed().method, case.signed().by) == ("automatic", "policy")

    def test_waits_where_only_the_policy_would_allow_it(self, case: Case) -> None:
        case.write_policy(automatic=True)
        case.gate()
        assert case.approve().exit_code == 4

    def test_is_a_wrong_configuration_where_the_policy_forbids_it(
        self, case: Case, make_project: Callable[..., Project]
    ) -> None:
        case.project = make_project(policy={"automatic": True})
        result = case.approve()
        assert result.exit_code == 2
        assert "policy.automatic in ml.yaml would loosen" in result.report.summary

    def test_a_person_is_needed_where_four_eyes_are(
        self, case: Case, make_project: Callable[..., Project]
    ) -> None:
        case.write_policy(automatic=True, four_eyes=True)
        case.project = make_project(policy={"automatic": True})
        case.gate()
        assert case.approve().exit_code == 4


class TestBrokenContract:
    """A challenger that breaks clients passed the gate, since the project allows it."""

    BROKEN = {"change": "breaking", "broken": ["feature 'age' is gone"]}  # noqa: RUF012

    def test_is_the_first_line_that_the_approver_sees(
        self, case: Case, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO("a\nAsha\nclients are told\n"))
        case.gate(contract=self.BROKEN)
        assert case.approve(interactive=True).exit_code == 0
        shown = capsys.readouterr().out.strip()
        assert shown.splitlines()[0] == "CLIENTS BREAK: feature 'age' is gone"

    def test_is_never_approved_by_the_policy_alone(
        self, case: Case, make_project: Callable[..., Project]
    ) -> None:
        case.write_policy(automatic=True)
        case.project = make_project(policy={"automatic": True})
        case.gate(contract=self.BROKEN)
        result = case.approve()
        assert result.exit_code == 4
        assert "clients break: feature 'age' is gone" in result.report.summary
        assert case.signed() is None

    def test_an_extended_one_is_approved_as_any(
        self, case: Case, make_project: Callable[..., Project]
    ) -> None:
        case.write_policy(automatic=True)
        case.project = make_project(policy={"automatic": True})
        case.gate(contract={"change": "extended", "broken": [], "extensions": ["more"]})
        assert case.approve().exit_code == 0


class TestNobodyIsAsked:
    def test_when_the_gate_did_not_pass(
        self, case: Case, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO("a\nAsha\nanyway\n"))
        case.gate(Verdict.INCONCLUSIVE)
        result = case.approve(interactive=True)
        assert result.exit_code == 1
        assert "the gate's verdict on version 1 is inconclusive" in result.report.summary
        assert capsys.readouterr().out == ""
        assert case.signed() is None

    def test_when_the_policy_changed_after_the_gate(self, case: Case) -> None:
        case.write_policy(approvers=["Asha"])
        result = case.approve(by="Asha", reason="better")
        assert result.exit_code == 1
        assert "the policy changed since the gate decided" in result.report.summary

    def test_when_there_is_nothing_to_promote(self, case: Case) -> None:
        make_champion(case.registry, case.home, case.version)
        result = case.approve()
        assert (result.exit_code, result.report.verdict) == (0, Verdict.PASS)
        assert result.report.summary == "nothing to promote: version 1 is the champion"
        assert case.signed() is None


class TestWhoMay:
    def test_an_approver(self, case: Case) -> None:
        case.write_policy(approvers=["Asha"])
        case.gate()
        assert case.approve(by="Bina", reason="better").exit_code == 1
        assert case.signed() is None
        assert case.approve(by="Asha", reason="better").exit_code == 0

    def test_not_an_author(self, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
        from ml_pipeline.core import git

        case.write_policy(four_eyes=True, identities={"asha@ex.org": "Asha", "bina@ex.org": "Bina"})
        case.gate()
        monkeypatch.setattr(git, "authors", lambda *span: frozenset({"asha@ex.org"}))
        assert case.approve(by="Asha", reason="better").exit_code == 1
        assert case.approve(by="Bina", reason="better").exit_code == 0
        assert case.signed().authors == ("Asha",)

    def test_nobody_where_the_repository_cannot_tell(self, case: Case) -> None:
        case.write_policy(four_eyes=True)
        case.gate()
        result = case.approve(by="Bina", reason="better")
        assert result.exit_code == 1
        assert "four eyes cannot be verified" in result.report.summary


class TestKey:
    def test_that_nobody_trusts_does_not_sign(
        self, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = create_keypair(Home(tmp_path / "other"))
        monkeypatch.setenv("ML_APPROVAL_KEY", str(other.private))
        result = case.approve(by="Asha", reason="better")
        assert result.exit_code == 2
        assert "this signature would not verify" in result.report.summary

    def test_of_the_policy_signs(
        self, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = create_keypair(Home(tmp_path / "other"))
        monkeypatch.setenv("ML_APPROVAL_KEY", str(other.private))
        case.write_policy(keys=[other.public.read_text()])
        case.gate()
        assert case.approve(by="Asha", reason="better").exit_code == 0
        envelope = json.loads(newest_record(case.registry, case.version, APPROVAL_RECORD))
        assert other.public.name.startswith(envelope["signatures"][0]["keyid"])


def test_a_registry_that_does_not_answer_is_an_environment_fault(case: Case) -> None:
    (case.home / "mlflow.db").write_bytes(b"broken" * 1000)
    assert case.approve(by="Asha", reason="better").exit_code == 3
