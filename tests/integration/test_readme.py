"""The configurations that README and how-to show do what they say, to the letter."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
import yaml

from tests.integration.conftest import CommandLine, free_port

ROOT = Path(__file__).resolve().parents[2]


def blocks(page: str) -> list[dict[str, Any]]:
    found = re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    return [yaml.safe_load(block) for block in found]


def customers(months: int = 1, each: int = 3000) -> pd.DataFrame:
    """Customers whose leaving depends on age and plan, with gaps."""
    random = np.random.default_rng(11)
    rows = months * each
    age = random.integers(18, 80, rows).astype(float)
    plan = random.choice(["basic", "plus", "pro"], rows)
    chance = 1 / (1 + np.exp((age - 45) / 12 - (plan == "basic")))
    frame = pd.DataFrame(
        {
            "customer": [f"C{n:05d}" for n in range(rows)],
            "age": np.where(random.uniform(size=rows) < 0.05, np.nan, age),
            "tenure": random.exponential(24, rows).round(1),
            "plan": plan,
            "region": random.choice(["north", "east", None], rows),
            "churned": (random.uniform(size=rows) < chance).astype(int),
        }
    )
    if months > 1:
        frame["customer"] = [f"C{n % each:05d}" for n in range(rows)]
        days = pd.date_range("2021-01-01", periods=months, freq="MS").strftime("%Y-%m-%d")
        frame["month"] = np.repeat(days, each)
    return frame


def project(make_project: Any, values: dict[str, Any], frame: pd.DataFrame) -> Any:
    ports = {name: {"port": free_port()} for name in ("staging", "production")}
    made = make_project(bare=True, **values, environments=ports, lint={"commands": [["true"]]})
    (made.root / "data").mkdir()
    frame.to_csv(made.root / "data/customers.csv", index=False)
    return made


@pytest.mark.slow
def test_the_readmes_table_goes_to_production(make_project: Any, command_line: Any) -> None:
    readme = next(block for block in blocks("README.md") if block.get("project") == "churn")
    command: CommandLine = command_line(project(make_project, readme, customers()))
    done = command("run", "all", "--yes")
    assert done.code == 0, done.out + done.err
    url = command.status()["production"]["url"]
    names = [feature["name"] for feature in httpx.get(f"{url}/metadata").json()["features"]]
    assert names == ["plan", "region", "age", "tenure"]
    answer = httpx.post(f"{url}/predict", json={"features": ["basic", None, 20, 12.5]})
    assert answer.json()["probability"] > 0.7, answer.text
    typed = re.search(r"-d '(\{.*?\})'\n", (ROOT / "README.md").read_text())
    assert typed is not None
    (named,) = httpx.post(f"{url}/predict", json=json.loads(typed[1])).raise_for_status().json()
    assert set(named) == {"probability", "model_version"}


@pytest.mark.slow
def test_the_how_tos_months_reach_the_gate(make_project: Any, command_line: Any) -> None:
    own = next(block for block in blocks("docs/how-to/own-data.md") if "split" in block)
    values = own | {
        "project": "months",
        "data": {"source": {"kind": "csv", "path": "data/customers.csv"}},
    }
    values["problem"]["categorical"] = ["plan", "region"]
    command: CommandLine = command_line(
        project(make_project, values, customers(months=48, each=120))
    )
    done = command("run", "all", "--yes")
    assert done.code == 0, done.out + done.err
    assert command.report("gate").metrics["primary"]["test"]["n"] == 12
