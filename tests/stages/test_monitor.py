"""The stage monitor with a real server: its log, its metrics, and what the report says."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from ml_pipeline.config import Project
from ml_pipeline.core.report import Verdict
from ml_pipeline.monitoring import webhook
from ml_pipeline.monitoring.served_rows import Cursor, read_since
from ml_pipeline.stages.context import Context
from ml_pipeline.stages.runner import Result, execute

from tests.monitoring.model_in_use import reference_file, rows
from tests.stages.test_promote import Case, case
from tests.stages.test_watch import send

__all__ = ["case"]

TABLE = {"kind": "table", "label": "y", "numeric": ["x"], "categorical": ["c"]}


@pytest.fixture
def production(case: Case) -> Case:
    """One version in production."""
    case.approved("one", reference=reference_file())
    assert case.promote().exit_code == 0
    return case


def as_table(context: Context[Any], **monitor: Any) -> Context[Any]:
    """Return the context of a project whose problem is the table of the small model."""
    values = context.config.model_dump() | {"problem": TABLE, "monitor": monitor}
    config = type(context.config).model_validate(values)
    return replace(context, project=Project(context.project.root, config))


def monitor(case: Case, run_id: str = "first") -> Result:
    context = as_table(case.make_context(case.project, "monitor", "production"))
    return execute(replace(context, run_id=run_id))


def requests(case: Case, values: list[list[Any]]) -> None:
    """Send rows, and wait until the server has written them to its log."""
    expected = logged(case) + len(values)
    send(case, [{"features": row} for row in values])
    deadline = time.monotonic() + 60
    while logged(case) < expected:
        assert time.monotonic() < deadline, f"{logged(case)} of {expected} requests are logged"
        time.sleep(0.05)


def logged(case: Case) -> int:
    folder = case.home / "predictions/production"
    return sum(batch.requests for batch in read_since(folder, Cursor()))


def test_from_fine_to_a_retraining_that_says_why(
    production: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ML_WEBHOOK", "http://127.0.0.1:9/T0KEN")  # nobody listens there
    monkeypatch.setattr(webhook, "PAUSES", ())
    requests(production, rows(300, seed=2))
    result = monitor(production)
    assert (result.exit_code, result.report.verdict) == (0, Verdict.PASS), result.report.summary
    assert result.report.summary.startswith("fine: version 1 is fine")
    metrics = result.report.metrics
    assert metrics["statuses"] == {"200": 300}
    assert metrics["probes"] > 0, "golden predictions of the deployment are no clients' requests"

    requests(production, rows(300, seed=3, shift=3.0))
    result = monitor(production, "second")
    assert (result.exit_code, result.report.verdict) == (1, Verdict.FAIL)
    assert result.report.metrics["conclusion"] == "retrain"
    today = datetime.now(UTC)
    assert result.report.summary.startswith("retrain: drift of x: +")
    (posted,) = [check for check in result.report.checks if check.name == "webhook"]
    assert (posted.verdict, posted.required) == (Verdict.FAIL, False)
    assert "events were not accepted" in posted.why
    assert f"since {today.day} {today:%B %Y}" in result.report.metrics["cause"]
    assert result.report.metrics["statuses"] == {"200": 300}, "only those since the last look"
    assert result.report.model is not None
    assert result.report.model.version == 1


def test_nothing_in_production_is_inconclusive(case: Case) -> None:
    result = monitor(case)
    assert (result.exit_code, result.report.verdict) == (1, Verdict.INCONCLUSIVE)
    assert result.report.summary == "production serves no version yet"


def test_a_home_without_the_bundle_is_an_environment_error(production: Case) -> None:
    requests(production, rows(300, seed=2))
    for copy in (production.home / "released").iterdir():
        copy.rename(copy.with_name(f"moved-{copy.name}"))
    result = monitor(production)
    assert result.exit_code == 3
    assert "the home has no copy of bundle" in result.report.summary
    assert "run 'ml-pipeline reconcile production'" in result.report.summary


def test_a_second_look_at_the_same_time_is_refused(production: Case) -> None:
    from ml_pipeline.monitoring.state import MonitorFolder

    with MonitorFolder.of(production.home, "production").locked():
        result = monitor(production)
    assert result.exit_code == 3
    assert "another 'ml-pipeline monitor' works in" in result.report.summary
