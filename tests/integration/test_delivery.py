"""A model from daily bars to production, then newer data, then other feature code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from jsonschema import Draft202012Validator
from ml_pipeline.core.report import StageReport
from ml_pipeline.stages.table import RUNS

from tests.integration.conftest import CommandLine, free_port

OWN_FEATURE = '''"""A feature of the project's own."""

import pandas as pd

from ml_pipeline import feature


@feature
def close_place(bars: pd.DataFrame) -> pd.Series:
    """Return where the close lies between low and high."""
    return ((bars["close"] - bars["low"]) / (bars["high"] - bars["low"])).rename("close_place")
'''

UNIT_TEST = '''"""A unit test of the project's own."""

from own.bars import close_place
import pandas as pd


def test_close_place() -> None:
    bars = pd.DataFrame({"low": [1.0], "high": [3.0], "close": [2.0]})
    assert close_place(bars).tolist() == [0.5]
'''


@pytest.fixture
def delivery(make_project: Any, command_line: Any) -> CommandLine:
    """A project with feature code and a unit test of its own, and free ports."""
    environments = {
        "staging": {"port": free_port()},
        "production": {"port": free_port()},
    }
    project = make_project(
        data={"source": {"kind": "simulated", "symbols": 30, "days": 420, "seed": 3}},
        split={"holdout_days": 120, "validation_days": 40, "folds": 0},
        train={"max_epochs": 60},
        features={"modules": ["own.bars"]},
        environments=environments,
        lint={"commands": [["ruff", "check", "--isolated", "--select", "F", "own"]]},
    )
    for name, content in (("own/bars.py", OWN_FEATURE), ("tests/unit/test_own.py", UNIT_TEST)):
        path = project.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    made: CommandLine = command_line(project)
    return made


def predict(delivery: CommandLine) -> tuple[float, int]:
    """Ask production about the newest row of the holdout."""
    holdout = pd.read_parquet(delivery.project.root / "build/ml/data/holdout.parquet")
    row = holdout.filter(regex="^(?!__)").tail(1).astype(object)
    features = row.where(row.notna(), None).iloc[0].tolist()
    url = delivery.status()["production"]["url"]
    answer = httpx.post(f"{url}/predict", json={"features": features}).json()
    return answer["probability"], answer["model_version"]


@pytest.mark.slow
def test_three_deliveries_one_after_the_other(delivery: CommandLine) -> None:
    first = delivery("run", "all", "--yes")
    assert first.code == 0, first.out + first.err
    probability, version = predict(delivery)
    assert 0 < probability < 1
    assert version == 1
    assert_reports_are_valid(delivery.project.root)
    gate = delivery.report("gate")
    assert gate.model is not None
    assert gate.model.version == 1

    again = delivery("run", "all", "--yes")
    assert again.code == 0, again.out + again.err
    assert "nothing to promote" in again.out
    assert predict(delivery)[1] == 1

    newer = delivery(
        "run", "cd", "--yes", "--set", "data.source.days=450", "--set", "gate.goal=non_inferior",
        "--set", "gate.non_inferior_margin=0.05",
    )  # fmt: skip
    assert newer.code == 0, newer.out + newer.err
    assert predict(delivery)[1] == 2

    code = delivery.project.root / "own/bars.py"
    code.write_text(code.read_text().replace("return (", "return 1 - (", 1))
    changed = delivery("run", "cd", "--yes", "--set", "data.source.days=480")
    report = delivery.report("gate")
    assert changed.code in (0, 1), changed.out + changed.err
    assert report.verdict in ("pass", "fail", "inconclusive")
    assert not [check for check in report.checks if check.verdict == "error"], report.checks
    assert report.model is not None
    assert report.model.version == 3
    assert predict(delivery)[1] == (3 if changed.code == 0 else 2)


@pytest.mark.slow
def test_without_a_terminal_it_waits_and_can_be_continued_by_hand(delivery: CommandLine) -> None:
    waiting = delivery("run", "cd")
    assert waiting.code == 4, waiting.out + waiting.err
    assert "ml-pipeline approve --by" in waiting.out
    refused = delivery("promote")
    assert refused.code == 1
    assert delivery.status()["production"]["url"] is None

    assert delivery("approve", "--by", "asha", "--reason", "beats the heuristic").code == 0
    promoted = delivery("promote")
    assert promoted.code == 0, promoted.out
    row = delivery.status()["production"]
    assert row["version"] == 1
    assert "approve by asha (flags)" in row["approved"]


@pytest.mark.slow
def test_data_without_signal_never_reaches_production(delivery: CommandLine) -> None:
    refused = delivery("run", "cd", "--yes", "--set", "data.source.edge=0")
    assert refused.code == 1
    report = delivery.report("gate")
    assert report.verdict in ("fail", "inconclusive")
    assert report.summary in " ".join(refused.out.split())
    assert delivery.status()["production"]["url"] is None


@pytest.mark.slow
def test_a_rejection_is_recorded_and_promotes_nothing(delivery: CommandLine) -> None:
    assert delivery("run", "cd").code == 4
    rejected = delivery("approve", "--reject", "--by", "asha", "--reason", "not before the holiday")
    assert rejected.code == 1
    assert delivery("promote").code == 1
    assert delivery.status()["production"]["url"] is None


def assert_reports_are_valid(root: Path) -> None:
    """Every stage of the run left a report that satisfies the published schema."""
    schema = json.loads(
        (Path(__file__).parents[2] / "docs/reference/report.schema.json").read_text()
    )
    validator = Draft202012Validator(schema)
    found = {
        path.stem: json.loads(path.read_text()) for path in root.glob("build/ml/reports/*.json")
    }
    for report in found.values():
        validator.validate(report)
    names = {f"{name}-{env}" if env else name for name, env, _ in RUNS["all"]}
    assert names <= set(found)
    data = StageReport.model_validate(found["validate-data"])
    assert data.metrics["rows"] == data.metrics["rows_clean"] + data.metrics["rows_quarantined"]
