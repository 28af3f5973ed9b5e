"""The docker target beyond what all targets do (tests/targets/test_target.py).

What a container may do, what a rollover leaves, and engines that are elsewhere or not there.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import httpx
import pytest
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.config import EnvironmentSection, PredictionLogSection, ServingSection
from ml_pipeline.core.errors import EnvironmentFault, Refused
from ml_pipeline.core.home import Home
from ml_pipeline.serving.prediction_log import files, read
from ml_pipeline.serving.redaction import hashed_value
from ml_pipeline.targets import redaction_key
from ml_pipeline.targets.base import Placement
from ml_pipeline.targets.docker import container
from ml_pipeline.targets.docker import engine as engines
from ml_pipeline.targets.docker.gateway import Gateway
from ml_pipeline.targets.docker.target import DockerTarget
from ml_pipeline.tasks.base import difference

from tests.docker.machine import sdk_leaves_sockets
from tests.servers import falsify_golden, served_version
from tests.targets.clients import Clients

MAX_GAP_SECONDS = 2


@pytest.fixture
def other(make_bundle):
    return make_bundle("b", identity="b", weight=2.0)


def containers(engine, place):
    """The environment's containers by the part in a switch that their names tell."""
    scope = (place.home / "servers/containers").read_text().strip()
    found = engine.containers.list(all=True, filters={"label": f"ml-pipeline.scope={scope}"})
    return {each.name.rpartition(scope)[2]: each for each in found}


def server_of(engine, place):
    """The one server that there is."""
    found = containers(engine, place)
    assert len(found) == 2
    assert ".gateway" in found
    return next(each for role, each in found.items() if role in (".blue", ".green"))


def volumes(engine, place):
    """The environment's volumes but that of the prediction log."""
    found = every_volume(engine, place)
    logs = [each for each in found if each.name.endswith("-log")]
    assert len(logs) <= 1
    return [each for each in found if each not in logs]


def every_volume(engine, place):
    scope = (place.home / "servers/containers").read_text().strip()
    return engine.volumes.list(filters={"label": f"ml-pipeline.scope={scope}"})


class TestContainer:
    @pytest.mark.parametrize("task", ["regression", "multiclass_classification"])
    def test_it_serves_the_other_tasks(self, docker_place, make_bundle, task):
        bundle = Bundle.open(make_bundle(task=task))
        docker_place.deploy(bundle.path, 3)
        answers = []
        for row, expected in zip(bundle.golden.inputs, bundle.golden.predictions, strict=True):
            response = httpx.post(f"{docker_place.url}/predict", json={"features": row}).json()
            answers.append(bundle.task.read(response))
            assert difference(answers[-1], expected) <= bundle.task.tolerance
        invoked = httpx.post(
            f"{docker_place.url}/invocations", json={"instances": bundle.golden.inputs}
        ).json()
        assert invoked["predictions"] == [bundle.task.invocation(answer) for answer in answers]

    def test_the_container_is_hardened(self, engine, docker_place, make_bundle):
        docker_place.deploy(make_bundle(), 3)
        server = server_of(engine, docker_place)
        host = server.attrs["HostConfig"]
        assert server.attrs["Config"]["User"] == "10001:10001"
        assert host["ReadonlyRootfs"]
        assert host["CapDrop"] == ["ALL"]
        assert host["SecurityOpt"] == ["no-new-privileges"]
        assert (host["Memory"], host["MemorySwap"]) == (1 << 30, 1 << 30)
        assert host["PidsLimit"] == container.PROCESSES
        assert host["RestartPolicy"]["Name"] == "unless-stopped"
        assert not host["PortBindings"]
        for place in ("/srv/ml-pipeline/bundle/model.onnx", "/opt/ml-pipeline/serve.py", "/tmp/x"):
            script = f"open({place!r}, 'w')"
            done = server.exec_run(["/opt/ml-pipeline/bin/python", "-c", script], user="0")
            assert done.exit_code == 1
            assert b"Read-only file system" in done.output

    def test_the_labels_have_what_is_served(self, engine, docker_place, make_bundle):
        deployment = docker_place.deploy(make_bundle(), 3)
        server = server_of(engine, docker_place)
        assert server.name.startswith("small-staging-")
        labels = {key: server.labels[f"ml-pipeline.{key}"] for key in ("project", "environment")}
        assert labels == {"project": "small", "environment": "staging"}
        assert server.labels["ml-pipeline.version"] == "3"
        assert server.labels["ml-pipeline.digest"] == deployment.digest

    def test_the_token_is_in_a_file_readable_by_the_server_only(
        self, engine, docker_place, make_bundle, monkeypatch
    ):
        monkeypatch.setenv("API_TOKEN", "s3cret-s3cret")
        docker_place.with_changes(token_env="API_TOKEN").deploy(make_bundle(), 1)
        server = server_of(engine, docker_place)
        assert "s3cret" not in str(server.attrs)
        found = server.exec_run(["stat", "-c", "%a %u", "/srv/ml-pipeline/token"])
        assert found.output.split() == [b"400", b"10001"]
        files = [path for path in docker_place.home.root.rglob("*") if path.is_file()]
        assert not [path for path in files if b"s3cret" in path.read_bytes()]

    def test_the_engine_restarts_a_failed_server(self, docker_place, make_bundle):
        first = docker_place.deploy(make_bundle(), 1)
        os.kill(first.pid, signal.SIGKILL)
        deadline = time.monotonic() + 120
        while (found := docker_place.status()) is None or found.pid == first.pid:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert served_version(docker_place.url) == 1

    def test_too_little_memory_is_an_error(self, docker_place, make_bundle):
        with pytest.raises(
            EnvironmentFault, match=r"ran out of memory.*raise environments\.NAME\.mem"
        ):
            docker_place.with_changes(memory="12m").deploy(make_bundle(), 1)

    def test_another_setting_is_another_container(self, engine, docker_place, make_bundle):
        docker_place.deploy(make_bundle(), 1)
        docker_place.with_changes(memory="300m").deploy(make_bundle("again"), 1)
        server = server_of(engine, docker_place)
        assert server.attrs["HostConfig"]["Memory"] == 300 << 20

    def test_only_the_gateway_joins_the_configured_network(self, engine, docker_place, make_bundle):
        network = engine.networks.create(f"ml-pipeline-test-{os.getpid()}")
        try:
            docker_place.with_changes(network=network.name).deploy(make_bundle(), 1)
            server, gateway = (
                each.attrs["NetworkSettings"]["Networks"]
                for each in (
                    server_of(engine, docker_place),
                    containers(engine, docker_place)[".gateway"],
                )
            )
            assert set(gateway) == {network.name, *server}
            assert engine.networks.get(next(iter(server))).attrs["Internal"]
            docker_place.stop()
        finally:
            network.remove()


class TestPredictionLog:
    """It lies in a volume that no rollover removes, and is brought when it is needed."""

    def predict(self, place, number):
        sent = {"x-request-id": number}
        body = {"features": [1.0, "north"]}
        httpx.post(f"{place.url}/predict", json=body, headers=sent, timeout=60).raise_for_status()

    def fetch_log(self, place):
        """Id and version of the requests that clients asked, once they are written."""
        time.sleep(0.3)
        folder = place.home / "predictions/staging"
        DockerTarget().fetch_predictions(place.placement)
        assert folder.stat().st_mode & 0o077 == 0
        assert all(path.stat().st_mode & 0o077 == 0 for path in files(folder))
        found = [entry for _, entry in read(folder) if not entry.is_probe]
        return [(entry.request_id, entry.model_version) for entry in found]

    def test_the_log_has_requests_before_and_after_a_switch(
        self, engine, docker_place, make_bundle, other
    ):
        docker_place.deploy(make_bundle(), 1)
        self.predict(docker_place, "before")
        assert self.fetch_log(docker_place) == [("before", 1)]
        docker_place.deploy(other, 2)
        self.predict(docker_place, "after")
        assert self.fetch_log(docker_place) == [("before", 1), ("after", 2)]
        server = server_of(engine, docker_place)
        folder = server.exec_run(["stat", "-c", "%a %u", "/var/lib/ml-pipeline/predictions"])
        assert folder.output.split() == [b"700", b"10001"]
        elsewhere = server.exec_run(["touch", "/var/lib/ml-pipeline/more"])
        assert b"Permission denied" in elsewhere.output

    def test_stop_copies_the_log_to_the_home_and_removes_the_volumes(
        self, engine, docker_place, make_bundle
    ):
        place = docker_place.with_changes(redact={"c": "hash"})
        place.deploy(make_bundle(), 1)
        self.predict(place, "last")
        key = redaction_key.key_file(place.home).read_text().strip()
        assert key not in json.dumps(server_of(engine, place).attrs)
        place.stop()
        assert every_volume(engine, place) == []
        found = [entry for _, entry in read(place.home / "predictions/staging")]
        (last,) = [entry for entry in found if not entry.is_probe]
        assert last.request_id == "last"
        assert last.features == [[1.0, hashed_value(key.encode(), "c", "north")]]

    def test_a_refused_first_version_leaves_no_volume(self, engine, docker_place, make_bundle):
        bundle = make_bundle()
        falsify_golden(bundle)
        with pytest.raises(Refused):
            docker_place.deploy(bundle, 1)
        assert every_volume(engine, docker_place) == []

    def test_without_the_log_the_container_can_write_only_its_control_socket(
        self, engine, docker_place, make_bundle, other
    ):
        off = docker_place.with_changes(prediction_log=PredictionLogSection(enabled=False))
        off.deploy(make_bundle(), 1)
        mounts = server_of(engine, docker_place).attrs["Mounts"]
        assert [each["Destination"] for each in mounts if each["RW"]] == [container.CONTROL_FOLDER]
        off.target.fetch_predictions(off.placement)
        assert not (docker_place.home / "predictions").exists()

    def test_the_log_is_rotated(self, docker_place, make_bundle):
        small = PredictionLogSection(max_bytes=1 << 16, keep=2)
        place = docker_place.with_changes(prediction_log=small)
        place.deploy(make_bundle(), 1)
        rows = [[1.0, "north"]] * 500
        with httpx.Client(timeout=60) as client:
            for _ in range(24):
                answer = client.post(f"{place.url}/predict", json={"features": rows})
                answer.raise_for_status()
        place.stop()
        kept = files(place.home / "predictions/staging")
        assert len(kept) <= 2
        assert all(path.stat().st_size <= 1 << 16 for path in kept)


class TestRollover:
    @pytest.mark.parametrize("keep_alive", [True, False])
    def test_no_request_is_lost(self, engine, docker_place, make_bundle, other, keep_alive):
        docker_place.deploy(make_bundle(), 1)
        with Clients(docker_place.url, keep_alive=keep_alive, pause=0.01) as clients:
            time.sleep(0.3)
            with docker_place.handover(other, 2) as handover:
                switched = len(clients.versions)
                time.sleep(0.3)
                handover.commit()
            time.sleep(0.3)
        assert clients.errors == []
        assert set(clients.versions) == {1, 2}
        assert set(clients.versions[switched + len(clients.threads) :]) == {2}
        assert clients.longest_gap < MAX_GAP_SECONDS
        assert server_of(engine, docker_place)
        assert len(volumes(engine, docker_place)) == 3

    def test_a_revert_loses_no_request_of_the_clients(self, docker_place, make_bundle, other):
        docker_place.deploy(make_bundle(), 1)
        with Clients(docker_place.url, keep_alive=True, pause=0.01) as clients:
            with docker_place.handover(other, 2):
                time.sleep(0.3)
            time.sleep(0.3)
        assert clients.errors == []
        assert clients.versions[-1] == 1
        assert 2 in clients.versions

    def test_a_bad_version_costs_no_request(self, engine, docker_place, make_bundle, other):
        docker_place.deploy(make_bundle(), 1)
        falsify_golden(other)
        with Clients(docker_place.url, keep_alive=False, pause=0.01) as clients:
            with pytest.raises(Refused):
                docker_place.deploy(other, 2)
            time.sleep(0.2)
        assert clients.errors == []
        assert set(clients.versions) == {1}
        assert server_of(engine, docker_place)
        assert len(volumes(engine, docker_place)) == 3

    def test_a_server_that_fails_after_the_switch_is_reverted(
        self, docker_place, make_bundle, other, monkeypatch
    ):
        docker_place.deploy(make_bundle(), 1)
        real = Gateway.switch

        def dies(gateway, server, addresses):
            real(gateway, server, addresses)
            if server.version == 2:
                server._container.kill()

        monkeypatch.setattr(Gateway, "switch", dies)
        with pytest.raises(EnvironmentFault, match="the server did not start"):
            docker_place.deploy(other, 2)
        assert docker_place.status().version == 1
        assert served_version(docker_place.url) == 1

    def test_a_former_server_that_is_down_is_replaced(
        self, engine, docker_place, make_bundle, other
    ):
        docker_place.deploy(make_bundle(), 1)
        server_of(engine, docker_place).stop(timeout=0)
        assert docker_place.status() is None
        with docker_place.handover(other, 2) as handover:
            assert handover.former is None
            handover.commit()
        assert served_version(docker_place.url) == 2
        assert server_of(engine, docker_place)


class TestEngine:
    def test_an_unreachable_engine_is_an_environment_error(
        self, tmp_path, make_bundle, monkeypatch
    ):
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
        home = Home(tmp_path / "home")
        home.make()
        placement = Placement("staging", EnvironmentSection(port=0), ServingSection(), home)
        with (
            sdk_leaves_sockets(),
            pytest.raises(
                EnvironmentFault,
                match=r"does not answer at DOCKER_HOST=unix://.*none\.sock: .*set DOCKER_HOST",
            ),
        ):
            DockerTarget().handover(placement, make_bundle(), 1)
        assert DockerTarget().status(placement) is None  # it never had a container

    def test_an_engine_that_goes_away_is_an_error(
        self, docker_place, make_bundle, tmp_path, monkeypatch
    ):
        docker_place.deploy(make_bundle(), 1)
        with sdk_leaves_sockets(), monkeypatch.context() as patch:
            patch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
            with pytest.raises(EnvironmentFault, match="engine does not answer"):
                docker_place.status()
            with pytest.raises(EnvironmentFault, match="engine does not answer"):
                docker_place.stop()
            with pytest.raises(EnvironmentFault, match="engine does not answer"):
                docker_place.target.fetch_predictions(docker_place.placement)
        assert docker_place.status().version == 1

    def test_the_standard_image_is_never_pulled(self, engine, docker_place, make_bundle):
        before = engines.RAW_IMAGE
        engines.RAW_IMAGE = "ml-pipeline-server-raw:never-built"
        try:
            with pytest.raises(EnvironmentFault, match=r"has no image .*never-built; docker build"):
                docker_place.with_changes(image=None).deploy(make_bundle(), 1)
        finally:
            engines.RAW_IMAGE = before

    def test_a_missing_gateway_image_names_the_build_command(
        self, docker_place, make_bundle, monkeypatch
    ):
        monkeypatch.setattr(engines, "GATEWAY", "ml-pipeline-gateway:never-built")
        labels = r"has no image ml-pipeline-gateway:never-built; docker build -f docker/gateway\."
        with pytest.raises(EnvironmentFault, match=labels):
            docker_place.with_changes(gateway_image=None).deploy(make_bundle(), 1)
        assert docker_place.status() is None

    def test_an_image_that_cannot_be_pulled_is_an_error(self, docker_place, make_bundle):
        labels = r"no image localhost:1/none:1, and none is pulled: .*environments\.NAME\.image"
        with pytest.raises(EnvironmentFault, match=labels):
            docker_place.with_changes(image="localhost:1/none:1").deploy(make_bundle(), 1)

    def test_a_port_of_another_container_names_it(
        self, engine, docker_place, make_bundle, tmp_path
    ):
        docker_place.deploy(make_bundle(), 1)
        home = Home(tmp_path / "other")
        home.make()
        name = containers(engine, docker_place)[".gateway"].name
        with pytest.raises(EnvironmentFault, match=f"in use by container {name}"):
            docker_place.with_changes(home=home).deploy(make_bundle("again"), 1)
        assert served_version(docker_place.url) == 1

    def test_an_engine_on_another_machine(self, docker_place, make_bundle, monkeypatch):
        monkeypatch.setenv("API_TOKEN", "s3cret")
        public = docker_place.with_changes(host="0.0.0.0", token_env="API_TOKEN")
        with forwarded("/var/run/docker.sock") as port:
            monkeypatch.setenv("DOCKER_HOST", f"tcp://localhost:{port}")
            deployment = public.deploy(make_bundle(), 1)
            assert deployment.url == f"http://localhost:{docker_place.port}"
            assert docker_place.status() == deployment
            assert docker_place.stop()

    def test_a_configured_url_is_used(self, docker_place, make_bundle):
        url = f"http://localhost:{docker_place.port}"
        deployment = docker_place.with_changes(url=url).deploy(make_bundle(), 1)
        assert deployment.url == url
        assert docker_place.status() == deployment


@contextmanager
def forwarded(path):
    """Yield a TCP port at which the Unix socket ``path`` answers."""
    threads = []
    with socket.create_server(("localhost", 0)) as server:

        def accept():
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                threads.append(threading.Thread(target=relay, args=(client, path)))
                threads[-1].start()

        threads.append(threading.Thread(target=accept))
        threads[0].start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()


def relay(client, path):
    """Pass on what either end says until one of them ends."""
    with client, socket.socket(socket.AF_UNIX) as engine:
        engine.connect(path)
        peers = {client: engine, engine: client}
        while True:
            for source in select.select(list(peers), [], [])[0]:
                chunk = source.recv(65536)
                if not chunk:
                    return
                peers[source].sendall(chunk)


AGENT_SCRIPT = """
import json, sys
from pathlib import Path
from ml_pipeline.config import EnvironmentSection, PredictionLogSection, ServingSection
from ml_pipeline.targets.base import Placement, deploy
from ml_pipeline.targets.loader import load_target
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.home import Home

home, bundle, port = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
section = EnvironmentSection(port=port, image=sys.argv[4], gateway_image=sys.argv[5])
placement = Placement("staging", section, ServingSection(), Home(home))
try:
    deploy(load_target("process"), placement, bundle, 1)
except UsageError as error:
    print(error)
print(deploy(load_target("docker"), placement, bundle, 1).url)
"""


def test_an_agent_in_a_container_deploys(
    engine, agent_image, server_image, gateway_image, docker_place, make_bundle
):
    """With the engine's socket; the process target refuses there, and says what to do."""
    home, bundle = str(docker_place.home.root), str(make_bundle())
    output = engine.containers.run(
        agent_image,
        [
            *("python", "-c", AGENT_SCRIPT, home, bundle, str(docker_place.port)),
            server_image,
            gateway_image,
        ],
        volumes={
            "/var/run/docker.sock": {"bind": "/var/run/docker.sock"},
            home: {"bind": home},
            bundle: {"bind": bundle, "mode": "ro"},
        },
        user="0",
        remove=True,
    )
    refusal, url = output.decode().splitlines()
    assert "this is a container (/.dockerenv), and a server process would end with it" in refusal
    assert "set environments.staging.target to docker" in refusal
    assert url.endswith(":8000")  # the gateway's own address; the published one is the machine's
    assert docker_place.status().url == docker_place.url
    assert served_version(docker_place.url) == 1


def test_the_docker_sdk_is_imported_lazily():
    code = "import sys, ml_pipeline.targets.docker.target; sys.exit('docker' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_engines_health_check_passes(engine, docker_place, make_bundle):
    docker_place.deploy(make_bundle(), 1)
    server = server_of(engine, docker_place)
    command = server.attrs["Config"]["Healthcheck"]["Test"][1:]
    assert server.exec_run(command).exit_code == 0
    assert httpx.get(f"{docker_place.url}/health/live").status_code == 200
