"""The kubernetes target beyond the contract of tests/targets/test_target.py, on a double."""

import json
import shutil
import time

import pytest
from ml_pipeline.config import PredictionLogSection
from ml_pipeline.core.errors import EnvironmentFault, Refused, UsageError
from ml_pipeline.project.doctor_environments import examine
from ml_pipeline.serving.prediction_log import read
from ml_pipeline.targets.base import HasRemotePredictionLog
from ml_pipeline.targets.kubernetes.kubectl import Kubectl

from tests.servers import TOKEN, served_version
from tests.targets.cluster import Refusal

UNREACHABLE = Refusal(
    "The connection to the server 10.0.0.1:6443 was refused - did you specify the right host?"
)


@pytest.fixture
def place(kubernetes_place):
    return kubernetes_place


@pytest.fixture
def cluster(place):
    return place.cluster


@pytest.fixture
def other(make_bundle):
    return make_bundle("b", identity="b", weight=2.0)


def with_settings(place, **changes):
    kubernetes = place.section.kubernetes.model_copy(update=changes)
    return place.with_changes(kubernetes=kubernetes)


def selected(cluster):
    return cluster.objects["Service", "small-staging"]["spec"]["selector"]["version"]


def test_predictions_are_logged_in_the_pod(place, cluster, make_bundle):
    place.deploy(make_bundle(), 1)
    assert served_version(place.url) == 1
    place.stop()
    (folder,) = cluster.root.glob("pod-*/predictions/predictions")
    found = [entry for _, entry in read(folder) if not entry.is_probe]
    assert [entry.features for entry in found] == [[[1.0, "north"]]]


def test_logs_of_pods_are_copied_before_their_version_is_removed(
    place, cluster, make_bundle, caplog
):
    """Where that is forbidden it is an error, but of no deploy or stop."""

    def forbidden(words):
        if words[0] == "exec":
            raise Refusal("Error from server (Forbidden): pods is forbidden")

    def logged():
        folder = place.home / "predictions/staging"
        return len([1 for _, entry in read(folder) if not entry.is_probe])

    def fetch(count):
        """The server writes its log a moment after the response."""
        deadline = time.monotonic() + 30
        while logged() < count and time.monotonic() < deadline:
            place.target.fetch_predictions(place.placement)
            time.sleep(0.02)
        assert logged() == count

    assert isinstance(place.target, HasRemotePredictionLog)
    place.deploy(make_bundle(), 1)
    served_version(place.url)
    fetch(1)
    served_version(place.url)
    place.deploy(make_bundle("two", weight=2.0), 2)
    assert logged() == 2
    cluster.before = forbidden
    with pytest.raises(EnvironmentFault, match=r"Forbidden.*create on pods/exec in namespace ml"):
        place.target.fetch_predictions(place.placement)
    assert place.stop()
    assert "the prediction log of pods of staging is lost: kubectl exec" in caplog.text


def test_without_log_and_raw_rows_a_pod_has_no_volume(place, cluster, make_bundle):
    off = place.with_changes(prediction_log=PredictionLogSection(enabled=False), raw_rows=False)
    off.deploy(make_bundle(), 1)
    pod = cluster.objects["Deployment", "small-staging-v1"]["spec"]["template"]["spec"]
    assert (pod["volumes"], pod["containers"][0]["volumeMounts"]) == ([], [])
    assert not list(cluster.root.glob("pod-*/predictions"))


class TestCluster:
    def test_a_missing_kubectl_is_an_error(self, place, make_bundle, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(EnvironmentFault, match="kubectl is not installed; install it on"):
            place.deploy(make_bundle(), 1)
        assert place.status() is None

    def test_an_unknown_context_is_an_error(self, place, make_bundle):
        elsewhere = with_settings(place, context="nowhere")
        with pytest.raises(EnvironmentFault, match='kubectl get: context "nowhere" does not exist'):
            elsewhere.deploy(make_bundle(), 1)

    def test_a_missing_namespace_is_an_error(self, place, make_bundle):
        with pytest.raises(EnvironmentFault, match=r"expected a cluster .* namespace none"):
            with_settings(place, namespace="none").deploy(make_bundle(), 1)

    def test_an_unreachable_cluster_is_an_error(self, place, cluster, make_bundle):
        def away(words):
            raise UNREACHABLE

        place.deploy(make_bundle(), 1)
        cluster.before = away
        for ask in (place.status, place.stop, lambda: place.deploy(make_bundle("c"), 2)):
            with pytest.raises(EnvironmentFault, match=r"connection to the server .* was refused"):
                ask()

    def test_a_server_token_is_always_required(self, place, make_bundle, monkeypatch):
        monkeypatch.delenv("ML_TEST_TOKEN")
        with pytest.raises(UsageError, match="ML_TEST_TOKEN holds no token"):
            place.deploy(make_bundle(), 1)

    def test_the_token_is_in_no_command_no_object_and_no_file(self, place, cluster, make_bundle):
        place.deploy(make_bundle(), 1)
        assert TOKEN not in json.dumps([cluster.calls, list(cluster.objects.values())])
        files = [path for path in place.home.root.rglob("*") if path.is_file()]
        assert not [path for path in files if TOKEN.encode() in path.read_bytes()]

    @pytest.mark.parametrize("kind", ["Service", "ServiceAccount"])
    def test_objects_of_another_owner_are_not_changed(self, place, cluster, make_bundle, kind):
        theirs = {"kind": kind, "metadata": {"name": "small-staging", "labels": {}}}
        cluster.objects[kind, "small-staging"] = theirs
        with pytest.raises(UsageError, match=f"{kind} small-staging .* belongs to another owner"):
            place.deploy(make_bundle(), 1)
        assert list(cluster.objects.values()) == [theirs]

    def test_a_name_in_use_by_another_environment_is_refused(self, place, make_bundle):
        place.deploy(make_bundle(), 1)
        app = place.section.kubernetes.model_copy(update={"app": "small-staging"})
        with pytest.raises(UsageError, match="belongs to small staging; expected small production"):
            place.with_changes(name="production", kubernetes=app).deploy(make_bundle("again"), 1)


class TestSwitch:
    def test_the_old_deployment_is_kept_until_the_switch_is_decided(
        self, place, cluster, make_bundle, other
    ):
        place.deploy(make_bundle(), 1)
        with place.handover(other, 2) as handover:
            assert cluster.names("Deployment") == ["small-staging-v1", "small-staging-v2"]
            assert selected(cluster) == "v2"
            handover.commit()
        for kind in ("Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget"):
            assert cluster.names(kind) == ["small-staging-v2"]
        assert place.stop()
        assert cluster.objects == {}

    def test_a_version_is_verified_before_it_gets_requests(
        self, place, cluster, make_bundle, other
    ):
        place.deploy(make_bundle(), 1)
        cluster.calls.clear()
        place.deploy(other, 2)
        order = [words[0] for words in cluster.calls if words[0] not in ("get", "rollout")]
        assert order == [
            "apply",
            "port-forward",
            "patch",
            "apply",
            "delete",
            "exec",
            "exec",
            "delete",
        ]

    @pytest.mark.parametrize("verb", ["apply", "rollout", "port-forward", "patch"])
    def test_a_failed_call_leaves_the_old_version(self, place, cluster, make_bundle, other, verb):
        first = place.deploy(make_bundle(), 1)
        section = place.section.kubernetes.model_copy(update={"rollout_seconds": 1})
        hasty = place.with_changes(kubernetes=section)

        def fails(words):
            if words[0] == verb and (verb == "rollout" or cluster.calls.count(words) == 1):
                raise UNREACHABLE

        cluster.calls.clear()
        cluster.before = fails
        with pytest.raises(EnvironmentFault):
            hasty.deploy(other, 2)
        cluster.before = lambda words: None
        assert place.status() == first
        assert cluster.names("Deployment") == ["small-staging-v1"]
        assert served_version(place.url) == 1

    def test_an_outage_during_the_switch_is_recovered_later(
        self, place, cluster, make_bundle, other
    ):
        def away(words):
            if words[0] == "patch" or "patch" in [one[0] for one in cluster.calls]:
                raise UNREACHABLE

        place.deploy(make_bundle(), 1)
        cluster.before = away
        with pytest.raises(EnvironmentFault, match="and the rollback failed"):
            place.deploy(other, 2)
        cluster.before = lambda words: None
        assert served_version(place.url) == 1
        place.deploy(make_bundle("c", identity="c", weight=3.0), 3)
        assert cluster.names("Deployment") == ["small-staging-v3"]

    def test_a_concurrent_change_of_the_service_is_not_overwritten(
        self, place, cluster, make_bundle, other
    ):
        def moves(words):
            if words[0] == "patch":
                cluster.objects["Service", "small-staging"]["spec"]["selector"]["version"] = "v7"

        place.deploy(make_bundle(), 1)
        cluster.before = moves
        with pytest.raises(
            EnvironmentFault, match=r"changed meanwhile by another deployment; expected version v1"
        ):
            place.deploy(other, 2)
        assert selected(cluster) == "v7"
        assert cluster.names("Deployment") == ["small-staging-v1"]

    @pytest.mark.parametrize("answers", [True, False])
    def test_an_interrupted_command_is_recovered(self, place, cluster, make_bundle, other, answers):
        place.deploy(make_bundle(), 1)
        interrupted = place.handover(other, 2)
        interrupted._decided = True
        interrupted._lock.release()
        if not answers:
            cluster._pods["small-staging-v2"][0].end()
        with place.handover(make_bundle("c", identity="c", weight=3.0), 3) as handover:
            assert handover.former.version == (2 if answers else 1)
            handover.commit()
        assert served_version(place.url) == 3
        assert cluster.names("Deployment") == ["small-staging-v3"]

    def test_a_version_starts_with_as_many_servers_as_the_old_one_has(
        self, place, cluster, make_bundle, other
    ):
        place.deploy(make_bundle(), 1)
        cluster.objects["Deployment", "small-staging-v1"]["spec"]["replicas"] = 7
        with place.handover(other, 2):
            assert cluster.objects["Deployment", "small-staging-v2"]["spec"]["replicas"] == 7
        assert cluster.objects["Deployment", "small-staging-v1"]["spec"]["replicas"] == 7

    def test_other_settings_update_the_deployment_in_place(self, place, cluster, make_bundle):
        def cpu():
            pod = cluster.objects["Deployment", "small-staging-v1"]["spec"]["template"]["spec"]
            return pod["containers"][0]["resources"]["requests"]["cpu"]

        place.deploy(make_bundle(), 1)
        stronger = with_settings(place, cpu="2")
        with stronger.handover(make_bundle("again"), 1) as handover:
            assert handover.changed
            assert cpu() == "2"
        assert cpu() == "250m"
        assert served_version(place.url) == 1
        stronger.deploy(make_bundle("once more"), 1)
        assert cpu() == "2"
        assert served_version(place.url) == 1

    def test_an_ingress_follows_the_configuration(self, place, cluster, make_bundle):
        ingress = {"kubernetes": place.section.kubernetes.model_dump()}
        ingress["kubernetes"]["ingress"] = {"host": "small.example.org"}
        section = type(place.section)(**place.section.model_dump() | ingress)
        place.with_changes(kubernetes=section.kubernetes).deploy(make_bundle(), 1)
        assert cluster.names("Ingress") == ["small-staging"]
        place.deploy(make_bundle("again"), 1)
        assert cluster.names("Ingress") == []

    def test_without_a_public_url_it_is_verified_over_a_forwarded_port(
        self, place, cluster, make_bundle
    ):
        inside = place.with_changes(url=None)
        deployment = inside.deploy(make_bundle(), 1)
        assert deployment.url == f"http://small-staging.ml:{place.port}"
        targets = [words[1] for words in cluster.calls if words[0] == "port-forward"]
        assert targets == ["deployment/small-staging-v1", "service/small-staging"]
        assert inside.status() == deployment

    def test_an_unregistered_version_is_named_by_its_bundle(self, place, cluster, make_bundle):
        deployment = place.deploy(make_bundle(), None)
        assert deployment.version is None
        assert cluster.names("Deployment") == [f"small-staging-b{deployment.digest[:12]}"]
        assert place.status() == deployment


class TestServersThatDoNotStart:
    def test_a_rollout_that_is_stuck(self, place, cluster, make_bundle, other, monkeypatch):
        """For example without capacity: the pods wait without an error."""
        first = place.deploy(make_bundle(), 1)
        monkeypatch.setattr(Kubectl, "wait_for_rollout", lambda *_: False)
        message = "were not ready within 1 s: the cluster does not say why"
        with pytest.raises(EnvironmentFault, match=message):
            with_settings(place, rollout_seconds=1).deploy(other, 2)
        assert place.status() == first
        assert cluster.names("Deployment") == ["small-staging-v1"]
        assert served_version(place.url) == 1

    def test_no_image(self, place, cluster, make_bundle):
        nowhere = with_settings(place, repository="registry.test/none")
        with pytest.raises(EnvironmentFault, match=r"ImagePullBackOff: .*'ml-pipeline package --p"):
            nowhere.deploy(make_bundle(), 1)
        assert cluster.objects == {}
        assert place.status() is None

    def test_no_secret(self, place, cluster, make_bundle):
        cluster.secrets.clear()
        with pytest.raises(EnvironmentFault, match=r'secret "small-staging-token" not found; make'):
            place.deploy(make_bundle(), 1)

    def test_an_image_with_another_bundle(self, place, cluster, make_bundle, other):
        cluster.image = lambda name: other
        with pytest.raises(Refused, match="the server did not start: the image holds bundle"):
            place.deploy(make_bundle(), 1)

    def test_another_token_than_the_one_in_the_secret(self, place, cluster, make_bundle):
        cluster.secrets["small-staging-token", "token"] = "another"
        with pytest.raises(Refused, match="401"):
            place.deploy(make_bundle(), 1)
        assert cluster.objects == {}


def test_an_unreadable_record_is_an_error(place):
    path = place.home / "servers/staging.kubernetes.json"
    path.parent.mkdir()
    path.write_text('{"schema": "other", "app": "x"}')
    with pytest.raises(EnvironmentFault, match=r"cannot read .*: other; expected ml-pipeline/kub"):
        place.status()
    path.write_text("[")
    with pytest.raises(EnvironmentFault, match="remove it and deploy again"):
        place.stop()


def test_doctor_checks_the_cluster(place, cluster, make_bundle, make_project):
    def message():
        section = place.section.model_dump(exclude_none=True)
        section["kubernetes"].pop("callers")
        project = make_project(environments={"staging": section})
        return next(one for one in examine(project, place.home) if one.name == "target of staging")

    place.deploy(make_bundle(), 1)
    assert message().observed == "kubernetes, namespace ml with 1 versions"
    cluster.contexts.clear()
    assert message().verdict == "fail"
    assert 'context "test" does not exist' in message().why


def test_kubectl_is_found_on_the_path(cluster):
    assert shutil.which("kubectl") == str(cluster.bin / "kubectl")
