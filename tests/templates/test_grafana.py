"""The dashboard is one that Grafana describes, and shows metrics that the server has."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from tests.templates.test_prometheus import names_in

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "templates/grafana/dashboard.json").read_text())
SCHEMAS = json.loads(Path(__file__).with_name("grafana.schema.json").read_text())
PANELS = {panel["title"] + f" ({panel['type']})": panel for panel in DASHBOARD["panels"]}
QUERIES = [target for panel in DASHBOARD["panels"] for target in panel["targets"]]


def valid(value, kind, definition):
    schema = SCHEMAS[kind] | {"$ref": f"#/definitions/{definition}"}
    jsonschema.Draft7Validator(schema).validate(value)


def test_it_has_the_schema_of_a_dashboard():
    valid(DASHBOARD, "dashboard", "Dashboard")


def test_the_schema_refuses_another_dashboard():
    with pytest.raises(jsonschema.ValidationError):
        valid(DASHBOARD | {"panels": [{"type": "stat", "titel": "x"}]}, "dashboard", "Dashboard")


@pytest.mark.parametrize("title", PANELS)
def test_a_panel_has_the_options_of_its_kind(title):
    panel = PANELS[title]
    valid(panel["options"], panel["type"], "Options")
    if custom := panel["fieldConfig"]["defaults"].get("custom"):
        valid(custom, panel["type"], "FieldConfig")
    for query in panel["targets"]:
        valid(query, "prometheus", "dataquery")


def test_panels_have_ids_of_their_own_and_do_not_overlap():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def test_every_metric_is_exposed(exposed):
    texts = [query["expr"] for query in QUERIES]
    texts += [str(variable["query"]) for variable in DASHBOARD["templating"]["list"]]
    assert set().union(*map(names_in, texts)) - set(exposed) == set()


def test_every_query_reads_the_selected_data_source_and_servers():
    names = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    for query in QUERIES:
        assert query["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert 'instance=~"$instance"' in query["expr"]
        used = set(re.findall(r"\$(\w+)", query["expr"])) - {"__rate_interval", "__range"}
        assert used <= names


def test_prometheus_accepts_the_queries(promtool, tmp_path):
    rules = [
        {"record": f"panel:query{number}", "expr": re.sub(r"\$__\w+", "5m", query["expr"])}
        for number, query in enumerate(QUERIES)
    ]
    (tmp_path / "queries.yaml").write_text(
        yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]})
    )
    promtool("check", "rules", str(tmp_path / "queries.yaml"))
