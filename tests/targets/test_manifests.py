"""The Kubernetes objects of a version: valid by the published schemas for any names."""

import json
import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_pipeline.config import Config, EnvironmentSection, KubernetesSection, ServingSection
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.schema_errors import parse
from ml_pipeline.targets.kubernetes.manifests import (
    AMBIGUOUS_WORDS,
    PLAIN_SCALAR,
    Workload,
    app_name,
    documents,
    image_tag,
    to_yaml,
)

DIGEST = "1e5" + "4" * 61
VERSIONS = ["1.25", "1.29", "1.32", "1.34", "1.37"]
LABEL = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")


def workload(project="nepse-predictor", environment="production", version=5, **kubernetes):
    section = EnvironmentSection(
        port=8000,
        target="kubernetes",
        kubernetes={"repository": "registry.example.org/nepse", "namespace": "ml"} | kubernetes,
    )
    serving = ServingSection(token_env="NEPSE_TOKEN")
    return Workload(project, environment, version, DIGEST, section, serving)


def by_kind(made):
    return {one["kind"]: one for one in made}


class TestWorkedExample:
    """`nepse-predictor-v5`: labels app and version, three replicas, port 8000."""

    made = by_kind(documents(workload()))

    def test_names_and_labels(self):
        deployment = self.made["Deployment"]
        assert deployment["metadata"]["name"] == "nepse-predictor-v5"
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert (labels["app"], labels["version"]) == ("nepse-predictor", "v5")
        assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
        assert deployment["spec"]["replicas"] == 3

    def test_the_service_selects_the_version(self):
        spec = self.made["Service"]["spec"]
        assert spec["selector"] == {"app": "nepse-predictor", "version": "v5"}
        assert (spec["ports"][0]["port"], spec["ports"][0]["targetPort"]) == (8000, "http")
        other = by_kind(documents(workload(), selected="v4"))["Service"]
        assert other["spec"]["selector"]["version"] == "v4"

    def test_the_pod_meets_the_restricted_standard(self):
        """The Pod Security Standard 'restricted', and a read-only root."""
        pod = self.made["Deployment"]["spec"]["template"]["spec"]
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        assert pod["containers"][0]["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod["automountServiceAccountToken"] is False
        assert self.made["ServiceAccount"]["automountServiceAccountToken"] is False

    def test_probes_resources_and_graceful_termination(self):
        container = self.made["Deployment"]["spec"]["template"]["spec"]["containers"][0]
        asked = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in PROBES}
        assert asked == PROBES
        assert container["resources"] == {
            "requests": {"cpu": "250m", "memory": "1Gi"},
            "limits": {"memory": "1Gi"},
        }
        assert container["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "5"]
        strategy = self.made["Deployment"]["spec"]["strategy"]["rollingUpdate"]
        assert strategy["maxUnavailable"] == 0

    def test_the_key_of_hashed_features_is_a_reference(self):
        made = workload()
        made.serving.redact["customer"] = "hash"
        pod = by_kind(documents(made))["Deployment"]["spec"]["template"]["spec"]["containers"][0]
        reference = {"secretKeyRef": {"name": "nepse-predictor-token", "key": "redact-key"}}
        assert {"name": "ML_SERVING_REDACT_KEY", "valueFrom": reference} in pod["env"]
        assert pod["args"][pod["args"].index("--redact-key-env") + 1] == "ML_SERVING_REDACT_KEY"
        assert pod["args"][pod["args"].index("--redact") + 1] == '{"customer": "hash"}'

    def test_the_token_is_a_reference(self):
        container = self.made["Deployment"]["spec"]["template"]["spec"]["containers"][0]
        reference = {"secretKeyRef": {"name": "nepse-predictor-token", "key": "token"}}
        assert container["env"] == [{"name": "ML_SERVING_TOKEN", "valueFrom": reference}]

    def test_the_image_tag_is_of_the_bundle_and_the_server_checks_the_digest(self):
        container = self.made["Deployment"]["spec"]["template"]["spec"]["containers"][0]
        assert container["image"] == f"registry.example.org/nepse:{DIGEST[:12]}"
        assert container["args"][container["args"].index("--digest") + 1] == DIGEST

    def test_the_server_gets_the_limits_of_serving(self):
        container = self.made["Deployment"]["spec"]["template"]["spec"]["containers"][0]
        told = " ".join(container["args"])
        for limit in ("--max-body 1000000", "--max-rows 1000", "--max-queue 64", "--max-seconds 5"):
            assert limit in told

    def test_the_volume_of_the_prediction_log_exceeds_its_size(self):
        pod = self.made["Deployment"]["spec"]["template"]["spec"]
        (volume, _), (container,) = pod["volumes"], pod["containers"]
        assert volume == {"name": "predictions", "emptyDir": {"sizeLimit": "1152Mi"}}
        mount, _ = container["volumeMounts"]
        assert mount == {"name": "predictions", "mountPath": "/var/lib/ml-pipeline"}
        told = " ".join(container["args"])
        assert "--predictions /var/lib/ml-pipeline/predictions " in told
        assert "--predictions-bytes 67108864 --predictions-keep 16" in told

    def test_the_feature_worker_has_a_bounded_folder_and_memory(self):
        pod = self.made["Deployment"]["spec"]["template"]["spec"]
        (_, volume), (container,) = pod["volumes"], pod["containers"]
        bounds = {"medium": "Memory", "sizeLimit": "64Mi"}
        assert volume == {"name": "scratch", "emptyDir": bounds}
        assert container["volumeMounts"][1] == {
            "name": "scratch",
            "mountPath": "/run/ml-pipeline-scratch",
        }
        told = " ".join(container["args"])
        assert f"--raw-memory {768 << 20} --raw-scratch /run/ml-pipeline-scratch" in told
        assert "--environment production --raw-rows 10000 --raw-queue 8 --raw-seconds 10" in told
        assert container["securityContext"]["readOnlyRootFilesystem"]

    def test_autoscaler_and_disruption_budget(self):
        scaler = self.made["HorizontalPodAutoscaler"]["spec"]
        assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 9)
        assert scaler["scaleTargetRef"]["name"] == "nepse-predictor-v5"
        budget = self.made["PodDisruptionBudget"]["spec"]
        assert budget["maxUnavailable"] == 1
        assert budget["selector"]["matchLabels"]["version"] == "v5"

    def test_the_network_policy_allows_callers_and_no_egress(self):
        spec = by_kind(documents(workload(callers=["ingress-nginx"])))["NetworkPolicy"]["spec"]
        assert spec["egress"] == []
        own, others = spec["ingress"][0]["from"]
        assert own == {"podSelector": {}}
        names = others["namespaceSelector"]["matchExpressions"][0]["values"]
        assert names == ["ingress-nginx"]
        assert spec["ingress"][0]["ports"] == [{"protocol": "TCP", "port": 8000}]


PROBES = {"startup": "/health/ready", "readiness": "/health/ready", "liveness": "/health/live"}


@pytest.mark.parametrize("release", VERSIONS)
def test_valid_by_the_schemas_of(release):
    ingress = {"host": "nepse.example.org", "ingress_class": "nginx", "tls_secret": "nepse-tls"}
    full = workload(ingress=ingress, callers=["a", "b"], pull_secret="pull", context="c")
    for one in [*documents(full), *documents(workload(version=None))]:
        kubernetes_validate.validate(one, release, strict=True)


def test_the_schemas_refuse_invalid_objects():
    deployment = by_kind(documents(workload()))["Deployment"]
    deployment["spec"]["replica"] = 3
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)


PROJECTS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", fullmatch=True)
ENVIRONMENTS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,30}", fullmatch=True)
HOSTS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z0-9]{1,9}){0,3}", fullmatch=True)


@st.composite
def workloads(draw):
    replicas = draw(st.integers(1, 1000))
    section = EnvironmentSection(
        port=draw(st.integers(0, 65535)),
        memory=f"{draw(st.integers(1, 9999))}{draw(st.sampled_from('kmg'))}",
        kubernetes=KubernetesSection(
            repository=draw(st.sampled_from(["r", "localhost:5000/a/b", "1.example/x_y"])),
            replicas=replicas,
            max_replicas=draw(st.none() | st.integers(replicas, 10_000)),
            cpu=draw(st.sampled_from(["1", "250m", "16"])),
            ingress=draw(st.none() | st.fixed_dictionaries({"host": HOSTS})),
        ),
    )
    return Workload(
        project=draw(PROJECTS),
        environment=draw(ENVIRONMENTS),
        version=draw(st.none() | st.integers(1, 2**31)),
        digest=draw(st.from_regex(r"[0-9a-f]{64}", fullmatch=True)),
        section=section,
        serving=ServingSection(token_env="T", max_rows=draw(st.integers(1, 10**9))),
    )


@settings(max_examples=15, deadline=None)
@given(workloads())
def test_any_names_and_numbers_are_valid_and_round_trip(made):
    objects = documents(made)
    text = to_yaml(objects)
    assert to_yaml(documents(made)) == text
    assert list(yaml.safe_load_all(text)) == objects
    for one in objects:
        kubernetes_validate.validate(one, "1.34", strict=True)
        assert LABEL.fullmatch(one["metadata"]["name"])
    for node in scalars(text):
        plain_text = node.style is None and node.tag.endswith(":str")
        assert not plain_text or (
            PLAIN_SCALAR.fullmatch(node.value) and node.value not in AMBIGUOUS_WORDS
        )


def scalars(text):
    """Return the scalar nodes of a stream, whose style decides their type."""
    nodes = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    while nodes:
        node = nodes.pop()
        if isinstance(node, yaml.ScalarNode):
            yield node
        elif isinstance(node, yaml.MappingNode):
            nodes += [part for pair in node.value for part in pair]
        else:
            nodes += node.value


@pytest.mark.parametrize(
    "text",
    ["1e5", "0o17", "1_000", "y", "No", "null", ".5", "12:30:00", "a: b", "a #b", "a\n---\nb"],
)
def test_ambiguous_strings_are_quoted(text):
    written = to_yaml([{"key": text}])
    assert written == f"---\nkey: {json.dumps(text)}\n"


@given(PROJECTS, ENVIRONMENTS)
def test_a_name_leaves_room_for_the_version(project, environment):
    name = app_name(project, environment)
    assert LABEL.fullmatch(name)
    assert len(f"{name}-v{2**63}") <= 63


@pytest.mark.parametrize(
    ("project", "environment", "name"),
    [
        ("nepse-predictor", "production", "nepse-predictor"),
        ("nepse-predictor", "staging", "nepse-predictor-staging"),
        ("Nepse_2.Model-", "production", "nepse-2-model"),
        ("2nd", "production", "m-2nd"),
        ("9", "-", "m-9"),
    ],
)
def test_names_are_derived_from_the_project(project, environment, name):
    assert app_name(project, environment) == name


def test_long_names_with_a_common_prefix_differ():
    names = {app_name("a" * 60 + end, "production") for end in "xy"}
    assert len(names) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"namespace": "ml\nkind: Pod"},
        {"repository": "registry/x:latest"},
        {"repository": "registry/x\n- name: evil"},
        {"ingress": {"host": "a.b}\n"}},
        {"callers": ["*"]},
        {"replicas": 0},
        {"replicas": 5, "max_replicas": 4},
        {"cpu": "1; rm"},
    ],
)
def test_the_configuration_refuses_invalid_kubernetes_values(change):
    environments = {"production": {"port": 1, "kubernetes": change}}
    with pytest.raises(UsageError, match=r"environments\.production\.kubernetes"):
        parse(Config, {"project": "p", "environments": environments}, "ml.yaml")


def test_a_missing_repository_names_the_key():
    with pytest.raises(UsageError, match=r"environments\.production\.kubernetes\.repository"):
        documents(workload(repository=None))


def test_the_settings_digest_ignores_the_number_of_servers():
    def told(made):
        notes = by_kind(made)["Deployment"]["metadata"]["annotations"]
        return notes["ml-pipeline/settings"]

    base = told(documents(workload()))
    assert told(documents(workload(), selected="v4", replicas=8)) == base
    assert told(documents(workload(cpu="300m"))) != base
    assert told(documents(workload(callers=["x"]))) != base


def test_the_address():
    assert workload().url == "http://nepse-predictor.ml:8000"
    assert workload(ingress={"host": "a.b"}).url == "http://a.b"
    assert workload(ingress={"host": "a.b", "tls_secret": "s"}).url == "https://a.b"


def test_the_image_tag_is_the_short_digest_of_reports():
    assert image_tag(DIGEST) == DIGEST[:12]


def test_the_how_to_shows_a_configuration_and_a_role_that_are_valid():
    page = (Path(__file__).resolve().parents[2] / "docs/how-to/kubernetes.md").read_text()
    blocks = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    shown, role = (yaml.safe_load(text) for text in blocks)
    kubernetes_validate.validate(role, "1.34", strict=True)
    config = parse(Config, {"project": "nepse"} | shown, "kubernetes.md")
    plurals = {"networkpolicy": "networkpolicies", "ingress": "ingresses"}
    for name, section in config.environments.items():
        made = Workload("nepse", name, 1, DIGEST, section, config.serving)
        assert f"{made.app}-token" in page
        kinds = [one["kind"].lower() for one in documents(made)]
        allowed = role["rules"][0]["resources"]
        assert {plurals.get(kind, f"{kind}s") for kind in kinds} <= set(allowed)
