"""A separate environment for each test, without leftover processes."""

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
from tests.docker.machine import pytest_runtest_setup, skip_if_failed
from tests.targets.cluster import REGISTRY, Cluster
from tests.targets.pods import ProcessGroup

__all__ = ["base_image", "engine", "gateway_image", "pytest_runtest_setup", "server_image"]


class TargetPlace:
    """A target with a placement."""

    def __init__(self, target, placement):
        self.target = target
        self.placement = placement
        self.home = placement.home
        self.section = placement.section
        self.port = placement.section.port
        self.url = f"http://127.0.0.1:{self.port}"
        self.state = self.home / "servers/staging.json"

    def with_changes(
        self,
        *,
        name="staging",
        home=None,
        token_env=None,
        prediction_log=None,
        redact=None,
        **section,
    ):
        """Return a copy with other settings."""
        serving = self.placement.serving
        changed = {
            "token_env": token_env or serving.token_env,
            "prediction_log": prediction_log or serving.prediction_log,
            "redact": redact or serving.redact,
        }
        return TargetPlace(
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
    return TargetPlace(
        target, Placement("staging", EnvironmentSection(**section), ServingSection(), home)
    )


class AsgiTransport(httpx.BaseTransport):
    """Connects a synchronous client to an ASGI application, without a socket."""

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
    """Connect the client of the probes to an ASGI application."""

    def use(app):
        def client(url, token=None, timeout=None, headers=None):
            own_headers = {"authorization": f"Bearer {token}"} if token else {}
            own_headers |= headers or {}
            return httpx.Client(base_url=url, headers=own_headers, transport=AsgiTransport(app))

        monkeypatch.setattr(probe, "client", client)

    return use


@pytest.fixture
def free_port():
    return servers.free_port()


@pytest.fixture
def place(tmp_path, free_port):
    """The process target."""
    new_place = make_place(ProcessTarget(), Home(tmp_path / "home"), port=free_port)
    yield new_place
    new_place.stop()


@pytest.fixture
def docker_place(tmp_path, free_port, server_image, gateway_image):
    images = {"image": server_image, "gateway_image": gateway_image}
    new_place = make_place(DockerTarget(), Home(tmp_path / "home"), port=free_port, **images)
    yield new_place
    new_place.stop()


class KubernetesTargetPlace(TargetPlace):
    """A place on the double of a cluster, whose Services are reachable on loopback ports."""

    cluster: Cluster

    def with_changes(self, *, token_env=None, **changes):
        if "port" in changes:
            changes["port"] = changes["port"] or servers.free_port()
            changes["url"] = f"http://127.0.0.1:{changes['port']}"
        if token_env is not None:
            self.cluster.secrets["small-staging-token", "token"] = os.environ[token_env]
        new_place = super().with_changes(token_env=token_env, **changes)
        other = KubernetesTargetPlace(new_place.target, new_place.placement)
        other.cluster = self.cluster
        return other


@pytest.fixture(scope="session")
def process_group(tmp_path_factory):
    new_place = ProcessGroup(tmp_path_factory.mktemp("n"))
    yield new_place
    new_place.close()


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
    new_place = KubernetesTargetPlace(
        KubernetesTarget(), Placement("staging", section, serving, home)
    )
    new_place.cluster = cluster
    yield new_place
    cluster.close()


PLACE_FIXTURES = {"process": "place", "docker": "docker_place", "kubernetes": "kubernetes_place"}


@pytest.fixture(params=PLACE_FIXTURES)
def target_place(request):
    """Each target in turn."""
    if request.param == "docker":
        skip_if_failed(("engine", "base_image", "server_image", "gateway_image"))
    return request.getfixturevalue(PLACE_FIXTURES[request.param])


@pytest.fixture(params=["process", "docker"])
def machine_target_place(request):
    """Each target whose servers use a port of this machine."""
    if request.param == "docker":
        skip_if_failed(("engine", "base_image", "server_image", "gateway_image"))
    return request.getfixturevalue(PLACE_FIXTURES[request.param])
