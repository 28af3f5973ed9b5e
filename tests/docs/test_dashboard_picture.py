"""The picture of the dashboard is drawn from the answers to the panels' own queries."""

from __future__ import annotations

import importlib.util
import json
import time
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
LABELS = {"version": "3", "status": "200", "reason": "format", "feature": "x"}


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location("picture", ROOT / "docs/dashboard_picture.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_query_is_sent_with_the_variables_filled_in(tool, monkeypatch, tmp_path):
    asked = []

    def get(url, params, timeout):
        assert url == "http://prometheus/api/v1/query_range"
        asked.append(params["query"])
        now = time.time()
        bounds = ("0.5", "1.0", "+Inf") if "prediction_bucket" in params["query"] else ("",)
        found = [
            {"metric": LABELS | {"le": bound}, "values": [[now - 60, "1"], [now, str(2 + place)]]}
            for place, bound in enumerate(bounds)
        ]
        return httpx.Response(200, json={"status": "success", "data": {"result": found}})

    monkeypatch.setattr(tool.httpx, "get", get)
    tool.main("http://prometheus", "churn", "production", "30m", str(tmp_path / "out.png"))
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    panels = json.loads((ROOT / "templates/grafana/dashboard.json").read_text())["panels"]
    assert len(asked) == sum(len(panel["targets"]) for panel in panels)
    assert not [query for query in asked if "$" in query]
    assert any('model="churn", instance=~".*", environment=~"production"' in q for q in asked)


def test_a_query_that_prometheus_refuses_names_its_panel(tool, monkeypatch, tmp_path):
    refusal = {"status": "error", "error": "parse error"}
    monkeypatch.setattr(tool.httpx, "get", lambda *_, **__: httpx.Response(400, json=refusal))
    with pytest.raises(SystemExit, match="Version: parse error"):
        tool.main("http://prometheus", "churn", "production", "30m", str(tmp_path / "out.png"))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.125, "percentunit", "12.5 %"),
        (0.0042, "s", "4.2 ms"),
        (0.0, "s", "0 s"),
        (90.0, "s", "1.5 min"),
        (86400 * 90.0, "s", "90 days"),
        (1234.0, "short", "1,234"),
    ],
)
def test_values_have_their_unit(tool, value, unit, text):
    assert tool.shown(value, unit) == text
