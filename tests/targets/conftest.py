"""An environment of its own for each test, with nothing left running."""

import asyncio
import os
from dataclasses import replace

import httpx
import pytest
from ml_pipeline.config import EnvironmentSection, ServingSection
from ml_pipeline.core.home import Home
from ml_pipeline.targets import base
from ml_pipeline.targets.base import Placement
from ml_pipeline.targets.docker.target import DockerTarget
from ml_pipeline.targets.kubernetes.target import KubernetesTarget
from ml_pipeline.targets.process.target import ProcessTarget
from ml_pipeline.traffic import probe

from tests import servers
from tests.docker.engine import base_image, engine, gateway_image, server_image
from tests.docker.machine import pytest_runtest_setup, spare
from tests.targets.cluster import REGISTRY, Cluster
from tests.targets.pods import ProcessGroup

__all__ = ["base_image", "engine", "gateway_image", "pytest_runtest_setup", "server_image"]


class Place:
    """A target and the placement that it is given."""

    def __init__(self, target, placement):
        self.target = target
        self.placement = placement
        self.home = placement.home
        self.section = placement.section
        self.port = placement.section.port
        self.url = f"http://127.0.0.1:{self.port}"
        self.state = self.home / "servers/staging.json"

    def with_changes(
        self, *, name="staging", home=None, token_env=None, prediction_log=None, **section
    ):
        """The same with other settings."""
        serving = self.placement.serving
        changed = {
            "token_env": token_env or serving.token_env,
            "prediction_log": prediction_log or serving.prediction_log,
        }
        return Place(
            self.target,
            replace(
                self.placement,
                name=name,
                section=self.section.model_copy(update=section),
                serving=serving.model_copy(update=changed),
                home=home or self.home,
            ),
        )

    def deploy(self, bundle, version):
        return base.deploy(self.target, self.placement, bundle, version)

    def handover(self, bundle, version):
        return self.target.handover(self.placement, bundle, version)

    def status(self):
        return self.target.status(self.placement)

    def stop(self):
        return self.target.stop(self.placement)


def make_place(target, home, **section):
    home.make()
    return Place(
        target, Placement("staging", EnvironmentSection(**section), ServingSection(), home)
    )


class InProcess(httpx.BaseTransport):
    """Answers a synchronous client by an ASGI application, without a socket."""

    def __init__(self, app):
        self.app = app

    def handle_request(self, request):
        async def answer():
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            response = await transport.handle_async_request(
                httpx.Request(
                    request.method, request.url, headers=request.headers, content=request.read()
                )
            )
            return httpx.Response(
                response.status_code, headers=response.headers, content=await response.aread()
            )

        return asyncio.run(answer())


@pytest.fixture
def serve(monkeypatch):
    """Let the checks' client talk to an ASGI application."""

    def use(app):
        def client(url, token=None, timeout=None, headers=None):
            own = {"authorization": f"Bearer {token}"} if token else {}
            own |= headers or {}
            return httpx.Client(base_url=url, headers=own, transport=InProcess(app))

        monkeypatch.setattr(probe, "client", client)

    return use


@pytest.fixture
def free_port():
    return servers.free_port()


@pytest.fixture
def place(tmp_path, free_port):
    """A process of this machine."""
    made = make_place(ProcessTarget(), Home(tmp_path / "home"), port=free_port)
    yield made
    made.stop()


@pytest.fixture
def docker_place(tmp_path, free_port, server_image, gateway_image):
    images = {"image": server_image, "gateway_image": gateway_image}
    made = make_place(DockerTarget(), Home(tmp_path / "home"), port=free_port, **images)
    yield made
    made.stop()


class KubernetesPlace(Place):
    """A place on the double of a cluster, whose Services are reached at their port of loopback."""

    cluster: Cluster

    def with_changes(self, *, token_env=None, **changes):
        if "port" in changes:
            changes["port"] = changes["port"] or servers.free_port()
            changes["url"] = f"http://127.0.0.1:{changes['port']}"
        if token_env is not None:
            self.cluster.secrets["small-staging-token", "token"] = os.environ[token_env]
        made = super().with_changes(token_env=token_env, **changes)
        other = KubernetesPlace(made.target, made.placement)
        other.cluster = self.cluster
        return other


@pytest.fixture(scope="session")
def process_group(tmp_path_factory):
    made = ProcessGroup(tmp_path_factory.mktemp("n"))
    yield made
    made.close()


@pytest.fixture
def kubernetes_place(tmp_path, tmp_path_factory, free_port, monkeypatch, process_group):
    bundles = [tmp_path / "home", tmp_path / "other"]
    cluster = Cluster(tmp_path_factory.mktemp("c"), bundles, process_group)
    monkeypatch.setenv("PATH", str(cluster.bin), prepend=os.pathsep)
    monkeypatch.setenv("ML_TEST_TOKEN", servers.TOKEN)
    section = EnvironmentSection(
        target="kubernetes",
        port=free_port,
        url=f"http://127.0.0.1:{free_port}",
        kubernetes={"context": "test", "namespace": "ml", "repository": REGISTRY},
    )
    home = Home(tmp_path / "home")
    home.make()
    serving = ServingSection(token_env="ML_TEST_TOKEN")
    made = KubernetesPlace(KubernetesTarget(), Placement("staging", section, serving, home))
    made.cluster = cluster
    yield made
    cluster.close()


PLACES = {"process": "place", "docker": "docker_place", "kubernetes": "kubernetes_place"}


@pytest.fixture(params=PLACES)
def anywhere(request):
    """Each target that there is, in turn."""
    if request.param == "docker":
        spare(("engine", "base_image", "server_image", "gateway_image"))
    return request.getfixturevalue(PLACES[request.param])


@pytest.fixture(params=["process", "docker"])
def on_a_machine(request):
    """Each target whose servers take a port of a machine."""
    if request.param == "docker":
        spare(("engine", "base_image", "server_image", "gateway_image"))
    return request.getfixturevalue(PLACES[request.param])
