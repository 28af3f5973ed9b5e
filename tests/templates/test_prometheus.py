"""The alerts, the examples of scrape configurations, and what they take from the server."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from ml_pipeline.targets.kubernetes import manifests

from tests.targets.test_manifests import workload

TEMPLATES = Path(__file__).parents[2] / "templates/prometheus"
RULES = [
    rule
    for group in yaml.safe_load((TEMPLATES / "rules.yaml").read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
TESTS = yaml.safe_load((TEMPLATES / "rules.test.yaml").read_text())["tests"]
FROM_CONFIGURATION = {"job", "instance", "environment"}


def test_prometheus_accepts_the_rules(promtool):
    assert f"{len(RULES)} rules found" in promtool("check", "rules", str(TEMPLATES / "rules.yaml"))


def test_the_rules_pass_their_own_tests(promtool):
    assert "SUCCESS" in promtool("test", "rules", str(TEMPLATES / "rules.test.yaml"))


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_is_raised_in_one_test_and_silent_in_another(name):
    checks = [check for test in TESTS for check in test["alert_rule_test"]]
    raised = {bool(check.get("exp_alerts")) for check in checks if check["alertname"] == name}
    assert raised == {True, False}


@pytest.mark.parametrize("name", ALERTS)
def test_each_alert_says_what_is_wrong_and_what_to_do(name):
    assert ALERTS[name]["labels"]["severity"] in ("critical", "warning")
    summary, action = (ALERTS[name]["annotations"][key] for key in ("summary", "action"))
    assert "environment" in summary
    assert action.endswith(".")


def names_in(text):
    """Return the metrics of the server that an expression or a series names."""
    return set(re.findall(r"(?<![\w:])ml_serving_\w+", text))


def test_every_metric_of_the_rules_is_exposed(exposed):
    used = set().union(*(names_in(rule["expr"]) for rule in RULES))
    assert used - set(exposed) == set()
    recorded = set().union(*(re.findall(r"\w+:\w+:\w+", rule["expr"]) for rule in RULES))
    assert recorded == RECORDED


def test_the_series_of_the_tests_are_exposed_with_these_labels(exposed):
    series = {each["series"] for test in TESTS for each in test["input_series"]}
    for name, text in (re.fullmatch(r"(\w+)\{(.*)\}", each).groups() for each in series):
        if name != "up":
            labels = set(re.findall(r'(\w+)="', text))
            assert labels - FROM_CONFIGURATION == exposed[name], name


def test_prometheus_accepts_the_scrape_configuration(promtool, tmp_path):
    for name in ("prometheus.yaml", "rules.yaml"):
        (tmp_path / name).write_text((TEMPLATES / name).read_text())
    (tmp_path / "ml-serving-token").write_text("secret")
    promtool("check", "config", "prometheus.yaml", folder=tmp_path)


def scrape_job(name):
    (job,) = yaml.safe_load((TEMPLATES / name).read_text())["scrape_configs"]
    return job


def test_the_job_is_that_of_the_rules():
    assert scrape_job("prometheus.yaml")["job_name"] == "ml-serving"
    assert scrape_job("prometheus-kubernetes.yaml")["job_name"] == "ml-serving"
    assert 'job="ml-serving"' in ALERTS["MlServerDown"]["expr"]


@pytest.fixture
def pod():
    documents = manifests.documents(workload())
    deployment = next(one for one in documents if one["kind"] == "Deployment")
    return deployment["spec"]["template"]


def meta_label(kind, name):
    """Return the name that Prometheus gives a label or an annotation of a pod."""
    return f"__meta_kubernetes_pod_{kind}_" + re.sub(r"\W", "_", name)


def test_pods_are_found_by_what_ml_pipeline_writes(pod):
    job = scrape_job("prometheus-kubernetes.yaml")
    (discovery,) = job["kubernetes_sd_configs"]
    key, _, value = discovery["selectors"][0]["label"].partition("=")
    assert pod["metadata"]["labels"][key] == value
    annotations = {meta_label("annotation", name) for name in pod["metadata"]["annotations"]}
    rules = {rule["source_labels"][0]: rule for rule in job["relabel_configs"]}
    environment = next(
        name for name, one in rules.items() if one.get("target_label") == "environment"
    )
    assert environment in annotations
    (port,) = pod["spec"]["containers"][0]["ports"]
    assert rules["__meta_kubernetes_pod_container_port_name"]["regex"] == port["name"]


def test_the_pod_monitor_selects_the_pods_and_reads_their_secret(pod):
    monitor = yaml.safe_load((TEMPLATES / "pod-monitor.yaml").read_text())
    assert (monitor["apiVersion"], monitor["kind"]) == ("monitoring.coreos.com/v1", "PodMonitor")
    selected = monitor["spec"]["selector"]["matchLabels"]
    own = pod["metadata"]["labels"]
    assert selected | {"app": own["app"]} == {name: own[name] for name in selected}
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    container = pod["spec"]["containers"][0]
    assert endpoint["port"] == container["ports"][0]["name"]
    secret = container["env"][0]["valueFrom"]["secretKeyRef"]
    assert endpoint["authorization"]["credentials"] == {
        "name": secret["name"].replace(own["app"], selected["app"]),
        "key": secret["key"],
    }
