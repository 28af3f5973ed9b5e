"""Rollback and reconcile with a real server process; tests/promotion has every refusal."""

from __future__ import annotations

import pytest
from ml_pipeline import cli
from ml_pipeline.core.report import Verdict
from ml_pipeline.promotion.status import history, status
from ml_pipeline.stages.runner import Result, execute

from tests.stages.test_promote import Case, case

__all__ = ["case"]


@pytest.fixture
def two(case: Case) -> Case:
    """Two versions, promoted one after the other."""
    case.approved("one")
    assert case.promote().exit_code == 0
    case.approved("two", identity="b", weight=2.0)
    assert case.promote().exit_code == 0
    return case


def run(case: Case, stage: str, environment: str | None = None, **flags: object) -> Result:
    return execute(case.make_context(case.project, stage, environment, **flags))


def test_back_in_seconds_without_a_registry_and_told_to_it_later(
    two: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    database = two.home / "mlflow.db"
    database.rename(two.home / "away.db")
    database.mkdir()
    result = run(two, "rollback", reason="too many alarms", by="Bina")
    assert (result.exit_code, result.report.verdict) == (0, Verdict.PASS), result.report.summary
    assert "version 1 is in production again" in result.report.summary
    assert "the registry is out of date until" in result.report.summary
    assert two.answer()["model_version"] == 1
    assert result.report.metrics["seconds"] > 0
    database.rmdir()
    (two.home / "away.db").rename(database)

    (row,) = status(two.project, two.home)
    assert row["open"].startswith("rollback of version 1 by Bina")
    assert row["alias"] is None
    reconciled = run(two, "reconcile", "production")
    assert reconciled.exit_code == 0, reconciled.report.summary
    assert "finished: rollback of version 1" in str(reconciled.report.checks[0].observed)
    row, challenger = status(two.project, two.home)
    assert (row["open"], row["alias"], row["version"]) == (None, "champion", 1)
    assert (challenger["environment"], challenger["version"]) == (None, 2)
    assert challenger["open"].startswith("was in production; again: 'ml-pipeline gate'")


def test_back_while_the_registry_is_lost_and_told_to_it_once_it_is_restored(two: Case) -> None:
    database = two.home / "mlflow.db"
    database.rename(two.home / "away.db")
    result = run(two, "rollback", reason="too many alarms", by="Bina")
    assert result.exit_code == 0, result.report.summary
    assert "the registry is out of date until" in result.report.summary
    (told,) = [one for one in result.report.checks if one.name == "champion in the registry"]
    assert "mlflow.db is gone, though this home's history knows versions 1, 2" in str(told.observed)
    assert two.answer()["model_version"] == 1
    assert not database.exists()
    (two.home / "away.db").rename(database)
    assert run(two, "reconcile", "production").exit_code == 0
    row, _ = status(two.project, two.home)
    assert (row["open"], row["alias"], row["version"]) == (None, "champion", 1)


def test_of_a_version_that_does_not_verify_is_refused_and_the_present_one_answers(
    two: Case,
) -> None:
    approvals = two.home / "approvals"
    one, second = sorted(approvals.iterdir())
    content = one.read_bytes()
    one.write_bytes(second.read_bytes())
    second.write_bytes(content)
    result = run(two, "rollback", reason="alarms")
    assert result.exit_code == 1
    assert "the approval that the home keeps is for bundle" in result.report.summary
    assert two.answer()["model_version"] == 2


@pytest.mark.parametrize("reason", [None, "", "  "])
def test_without_a_reason_nothing_is_done(case: Case, reason: str | None) -> None:
    result = run(case, "rollback", reason=reason)
    assert result.exit_code == 2
    assert "rollback needs --reason" in result.report.summary


def test_production_whose_server_was_ended_serves_again(
    two: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    two.stop()
    result = run(two, "reconcile", "production")
    assert result.exit_code == 0, result.report.summary
    assert result.report.metrics["cause"] == "no server answered as recorded"
    assert two.answer()["model_version"] == 2
    again = run(two, "reconcile", "production")
    assert again.report.summary.endswith("nothing to change")
    assert [row["change"] for row in history(two.home)] == ["promotion", "promotion"]
    assert cli.main(["status", "production", "--project", str(two.project.root)]) == 0
    assert "promotion" in capsys.readouterr().out
