"""What stands between clients and servers of the docker target: the gateway."""

import signal
import subprocess
import sys

import httpx
import pytest
from ml_pipeline.config import ServingSection
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.targets.docker import container, gateway
from ml_pipeline.targets.docker.gateway import Gateway
from ml_pipeline.targets.docker.target import DIRECT_ROLE, OLD_DIRECT_ROLE

from tests.docker.test_target import containers, server_of, volumes
from tests.servers import served_version
from tests.targets.clients import Clients

ROW = {"features": [1.0, None]}
ADDRESSES = {"blue": "10.0.0.2", "green": "10.0.0.3"}


@pytest.fixture
def other(make_bundle):
    return make_bundle("b", identity="b", weight=2.0)


class TestConfiguration:
    def test_nginx_accepts_the_configuration(self, engine, gateway_image):
        text = gateway.configuration(None, ADDRESSES, "k")
        command = f"cat > /tmp/a.conf <<'END'\n{text}END\nnginx -e stderr -t -c /tmp/a.conf"
        output = engine.containers.run(
            gateway_image, ["-c", command], entrypoint="sh", remove=True, stderr=True
        )
        assert b"test is successful" in output

    def test_all_values_are_filled_in(self):
        text = gateway.configuration(None, ADDRESSES, "k")
        assert "@max_body@" not in text
        assert 'default "";' in text
        assert '"k.green" green;' in text
        assert "server 10.0.0.2:8000" in text


class TestRequests:
    """Through a gateway that is there; the contract of the API: tests/targets/test_target.py."""

    @pytest.fixture
    def url(self, docker_place, make_bundle):
        docker_place.deploy(make_bundle(), 1)
        return docker_place.url

    def test_the_gateway_adds_headers_and_refuses_large_bodies(self, url, engine, docker_place):
        host = containers(engine, docker_place)[".gateway"].attrs["HostConfig"]
        assert (host["ReadonlyRootfs"], host["CapDrop"]) == (True, ["ALL"])
        assert list(host["PortBindings"].values()) == [
            [{"HostIp": "127.0.0.1", "HostPort": str(docker_place.port)}]
        ]
        with httpx.Client(base_url=url, timeout=60) as api:
            named = api.post("/predict", json=ROW, headers={"x-request-id": "one-1"})
            assert named.headers.get_list("x-request-id") == ["one-1"]
            unnamed = api.post("/predict", json=ROW, headers={"x-request-id": "no such; id"})
            assert len(unnamed.headers["x-request-id"]) == 32
            large = api.post("/predict", content=b" " * (ServingSection().max_body + 1))
            assert (large.status_code, large.headers["content-type"]) == (413, "application/json")
            assert large.json() == {"error": "the body is too large; at most 1000000 bytes"}
            guessed = api.get("/metadata", headers={"x-ml-pipeline-trial": "x.green"})
            assert guessed.status_code == 200
            assert api.get("/.draining").json() == {"error": "no such path"}
            long = api.get("/metadata", headers={"x-long": "x" * 40_000})
            assert (long.status_code, set(long.json())) == (400, {"error"})

    def test_without_a_server_it_says_so_and_comes_back_with_it(self, url, engine, docker_place):
        server = server_of(engine, docker_place)
        server.stop(timeout=5)
        answer = httpx.post(f"{url}/predict", json=ROW)
        assert answer.status_code == 503
        assert answer.json() == {"error": "no server answers behind the gateway"}
        assert docker_place.status() is None
        server.start()
        answer = httpx.get(f"{url}/health/live")
        for _ in range(100):
            if answer.status_code == 200:
                break
            answer = httpx.get(f"{url}/health/live")
        assert served_version(url) == 1

    def test_one_that_was_stopped_by_hand_is_started_by_the_next_command(
        self, url, engine, docker_place, other
    ):
        containers(engine, docker_place)[".gateway"].stop(timeout=5)
        docker_place.deploy(other, 2)
        assert served_version(url) == 2

    def test_other_limits_apply_with_the_version(self, url, docker_place, make_bundle):
        small = docker_place.with_changes()
        small.placement = docker_place.placement.__class__(
            "staging", small.section, ServingSection(max_body=2000), small.home
        )
        small.deploy(make_bundle("again"), 1)
        answer = httpx.post(f"{url}/predict", content=b" " * 2001)
        assert answer.json() == {"error": "the body is too large; at most 2000 bytes"}


class TestServerWithoutGateway:
    """Of a server that publishes the port itself, as all did before there were gateways."""

    @pytest.fixture
    def direct(self, engine, docker_place, make_bundle, server_image):
        """Version 1, as that deployment left it."""
        docker_place.deploy(make_bundle(), 1)
        server = server_of(engine, docker_place)
        scope = server.labels["ml-pipeline.scope"]
        labels = server.labels | {
            "ml-pipeline.address": f"127.0.0.1 {docker_place.port}",
            "ml-pipeline.url": "",
        }
        mounts = {each["Destination"]: each["Name"] for each in server.attrs["Mounts"]}
        volume = mounts[container.CONTENT_FOLDER]
        containers(engine, docker_place)[".gateway"].remove(force=True)
        server.remove(force=True)
        engine.networks.get(f"small-staging-{scope}").remove()
        made = engine.containers.run(
            server_image,
            ["--published", "127.0.0.1", "--version", "1"],
            name=f"small-staging-{scope}",
            detach=True,
            labels=labels,
            ports={"8000/tcp": ("127.0.0.1", docker_place.port)},
            volumes={volume: {"bind": container.CONTENT_FOLDER, "mode": "ro"}},
        )
        for _ in range(200):
            if (found := docker_place.status()) is not None:
                break
        assert found.version == 1
        return made

    def test_the_next_deploy_replaces_it_with_a_warning(
        self, direct, docker_place, engine, other, caplog
    ):
        docker_place.deploy(other, 2)
        (message,) = caplog.messages
        assert message.startswith("staging: the gateway is replaced; the port is closed")
        assert served_version(docker_place.url) == 2
        assert len(volumes(engine, docker_place)) == 3
        assert server_of(engine, docker_place)

    def test_the_replacement_can_be_reverted(self, direct, docker_place, engine, other):
        with docker_place.handover(other, 2) as handover:
            assert served_version(docker_place.url) == 2
            assert set(containers(engine, docker_place)) == {".gateway", ".blue", OLD_DIRECT_ROLE}
            assert handover.former.version == 1
        assert served_version(docker_place.url) == 1
        assert set(containers(engine, docker_place)) == {DIRECT_ROLE}

    def test_stop_ends_a_server_without_gateway(self, direct, docker_place, engine):
        assert docker_place.stop()
        assert containers(engine, docker_place) == {}


def test_a_switch_keeps_connections(docker_place, make_bundle, other):
    docker_place.deploy(make_bundle(), 1)
    limits = httpx.Limits(keepalive_expiry=None)
    with httpx.Client(base_url=docker_place.url, timeout=60, limits=limits) as api:
        seen = []
        for version, bundle in ((2, other), (3, make_bundle("third"))):
            docker_place.deploy(bundle, version)
            answer = api.post("/predict", json=ROW)
            own = answer.extensions["network_stream"].get_extra_info("client_addr")
            seen.append((answer.json()["model_version"], own))
    assert [version for version, _ in seen] == [2, 3]
    assert seen[0][1] == seen[1][1]


def refuse_one_reload(monkeypatch):
    """Let nginx refuse the next reload, and no other."""
    real, refused = Gateway._run, []

    def once(front, *command, **options):
        if "reload" in command and not refused:
            refused.append(command)
            raise EnvironmentFault("the gateway: nginx: invalid PID number")
        return real(front, *command, **options)

    monkeypatch.setattr(Gateway, "_run", once)


class TestRefused:
    """nginx does not take what it is given: the old version has the requests, as before."""

    def assert_left_alone(self, engine, place):
        assert place.status().version == 1
        assert served_version(place.url) == 1
        assert server_of(engine, place)
        assert len(volumes(engine, place)) == 3

    def test_a_configuration(self, engine, docker_place, make_bundle, other, monkeypatch):
        docker_place.deploy(make_bundle(), 1)
        with (
            Clients(docker_place.url, keep_alive=False, pause=0.02) as clients,
            monkeypatch.context() as patch,
        ):
            patch.setattr(gateway, "configuration", lambda *_: "no such directive;")
            with pytest.raises(EnvironmentFault, match=r"the gateway: nginx: .*failed"):
                docker_place.deploy(other, 2)
        assert clients.errors == []
        assert set(clients.versions) == {1}
        self.assert_left_alone(engine, docker_place)
        assert docker_place.deploy(other, 2).version == 2

    def test_a_reload(self, engine, docker_place, make_bundle, other, monkeypatch):
        docker_place.deploy(make_bundle(), 1)
        monkeypatch.setattr(Gateway, "_read", lambda *_: "other limits")
        refuse_one_reload(monkeypatch)
        with pytest.raises(EnvironmentFault, match="invalid PID number"):
            docker_place.deploy(other, 2)
        self.assert_left_alone(engine, docker_place)
        assert docker_place.deploy(other, 2).version == 2


KILLED_DEPLOY = """
import os, signal, sys
from pathlib import Path
from ml_pipeline.config import EnvironmentSection, ServingSection
from ml_pipeline.targets.docker import container, gateway, target
from ml_pipeline.targets.base import Placement, deploy
from ml_pipeline.core.home import Home

home, bundle, port, version = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
section = EnvironmentSection(port=port, image=sys.argv[5], gateway_image=sys.argv[6])
module, name, word = sys.argv[7].split(" ")[:3]
owner = target
for part in module.split("."):
    owner = getattr(owner, part)
real = getattr(owner, name)

def last(*arguments, **options):
    found = real(*arguments, **options)
    if word in repr(arguments):
        os.kill(os.getpid(), signal.SIGKILL)
    return found

setattr(owner, name, last)
if sys.argv[7].split(" ")[3:]:
    gateway.Gateway._read = lambda *_: "other limits"
placement = Placement("staging", section, ServingSection(), Home(home))
deploy(target.DockerTarget(), placement, bundle, int(version))
"""
KILL_POINTS = {
    "container create_content_volume ": "the bundle is laid",
    "ServerContainer start ": "the server runs",
    "Gateway _select_server ": "the files tell of the new one: it has the requests",
    "Gateway switch ": "so it has without a reload",
    "Gateway _write draining reload": "connections end",
    "Gateway _run mv reload": "the configuration is in place, nginx has the former one",
    "Gateway _run reload reload": "nginx was told",
    "ServerContainer stop ": "the old one has ended",
}


def test_after_a_kill_at_any_step_a_version_serves_and_the_next_command_recovers(
    docker_place, engine, make_bundle, server_image, gateway_image
):
    """Each command meets what the killed one before it left; clients do not notice anything."""
    docker_place.deploy(make_bundle("v1"), 1)
    bundles = [make_bundle(f"v{n}", identity="ab"[n % 2], weight=float(n)) for n in (2, 3)]
    served = 1
    with Clients(docker_place.url, keep_alive=True, pause=0.02) as clients:
        for number, point in enumerate(KILL_POINTS, 2):
            bundle = bundles[number % 2]
            command = [
                sys.executable,
                "-c",
                KILLED_DEPLOY,
                str(docker_place.home.root),
                str(bundle),
            ]
            command += [str(docker_place.port), str(number), server_image, gateway_image, point]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            assert done.returncode == -signal.SIGKILL, (point, done.stderr)
            assert served_version(docker_place.url) in (served, number), point
            served = served_version(docker_place.url)
            assert docker_place.status().version == served, point
        docker_place.deploy(make_bundle("last", identity="c", weight=9.0), 99)
    assert clients.errors == []
    assert served_version(docker_place.url) == 99
    assert server_of(engine, docker_place)
    assert len(volumes(engine, docker_place)) == 3


@pytest.mark.parametrize("point", ["Gateway stop ", "gateway create '.gateway',"])
def test_after_a_kill_while_the_gateway_is_replaced_the_next_command_recovers(
    docker_place, engine, make_bundle, other, server_image, gateway_image, point
):
    """This is the switch with a gap, so between commands none may answer; then one does."""
    docker_place.deploy(make_bundle(), 1)
    network = f"ml-pipeline-test-{docker_place.port}"
    made = engine.networks.create(network)
    try:
        replaced = KILLED_DEPLOY.replace(
            "EnvironmentSection(", f"EnvironmentSection(network={network!r}, "
        )
        command = [sys.executable, "-c", replaced, str(docker_place.home.root), str(other)]
        command += [str(docker_place.port), "2", server_image, gateway_image, point]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
        with docker_place.handover(make_bundle("again"), 1) as handover:
            assert handover.former.version == 1
            assert served_version(docker_place.url) == 1
            handover.commit()
        assert server_of(engine, docker_place)
        assert len(volumes(engine, docker_place)) == 3
    finally:
        docker_place.stop()
        made.remove()


class TestGatewayOfAnEarlierVersion:
    """A gateway whose nginx looks whether files are there, and not at their modes."""

    @pytest.fixture(autouse=True)
    def old(self, docker_place, make_bundle, monkeypatch):
        real = gateway.configuration

        def former(*arguments):
            return real(*arguments).replace("(-x ", "(-f ")

        def select_server(front, server):
            for colour in container.COLOURS:
                if server is not None and server.colour == colour:
                    front._write(colour, "")
            if front.running:
                others = [each for each in container.COLOURS if each != server.colour]
                front._run("rm", "-f", *(f"{gateway.FOLDER}/{each}" for each in others), user="0")

        with monkeypatch.context() as patch:
            patch.setattr(gateway, "configuration", former)
            patch.setattr(Gateway, "_select_server", select_server)
            docker_place.deploy(make_bundle(), 1)

    def test_it_can_be_switched_twice(self, docker_place, make_bundle, other):
        with Clients(docker_place.url, keep_alive=True, pause=0.02) as clients:
            docker_place.deploy(other, 2)
            docker_place.deploy(make_bundle("third"), 3)
        assert clients.errors == []
        assert served_version(docker_place.url) == 3

    def test_a_reload_that_fails_leaves_the_former_one(self, docker_place, other, monkeypatch):
        refuse_one_reload(monkeypatch)
        with pytest.raises(EnvironmentFault, match="invalid PID number"):
            docker_place.deploy(other, 2)
        assert served_version(docker_place.url) == 1
        for version in (2, 3):
            assert docker_place.deploy(other, version).version == version


def test_after_a_kill_before_the_reload_the_next_command_reloads(
    docker_place, engine, make_bundle, server_image, gateway_image
):
    docker_place.deploy(make_bundle(), 1)
    small = ServingSection(max_body=2000)
    killed = KILLED_DEPLOY.replace("ServingSection()", "ServingSection(max_body=2000)")
    bundle = make_bundle("v2", identity="b", weight=2.0)
    command = [sys.executable, "-c", killed, str(docker_place.home.root), str(bundle)]
    command += [str(docker_place.port), "2", server_image, gateway_image, "Gateway _run mv"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    place = docker_place.with_changes()
    place.placement = place.placement.__class__("staging", place.section, small, place.home)
    place.deploy(bundle, 2)
    assert httpx.get(f"{place.url}/health/live").headers["connection"] == "keep-alive"
    gateway_of = containers(engine, place)[".gateway"]
    assert b"reloading" not in gateway_of.exec_run(["ls", gateway.FOLDER])[1]
