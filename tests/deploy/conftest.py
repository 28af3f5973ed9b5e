"""An environment of its own for each test, with nothing left running."""

import socket
from functools import partial

import pytest

from pipeline.config import EnvironmentSection, ServingSection
from pipeline.deploy.docker import DockerTarget
from pipeline.deploy.process import ProcessTarget
from pipeline.home import Home
from tests.docker.engine import base_image, engine, server_image

__all__ = ["base_image", "engine", "server_image"]


class Place:
    """The target with a home, a port and a name filled in."""

    def __init__(self, root, target, **section):
        self.home = Home(root)
        self.port = section["port"]
        self.target = target
        self.section = EnvironmentSection(**section)
        rest = {"environment": self.section, "name": "staging", "home": self.home}
        rest["serving"] = ServingSection()
        self.deploy = partial(self.target.deploy, **rest)
        self.handover = partial(self.target.handover, **rest)
        self.status = partial(self.target.status, "staging", self.home)
        self.stop = partial(self.target.stop, "staging", self.home)
        self.url = f"http://127.0.0.1:{self.port}"
        self.state = self.home / "servers/staging.json"


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@pytest.fixture
def place(tmp_path, free_port):
    made = Place(tmp_path / "home", ProcessTarget(), port=free_port)
    made.home.make()
    yield made
    made.stop()


@pytest.fixture
def docker_place(tmp_path, free_port, server_image):
    made = Place(tmp_path / "home", DockerTarget(), port=free_port, image=server_image)
    made.home.make()
    yield made
    made.stop()


@pytest.fixture(params=["process", "docker"])
def anywhere(request):
    """Each target that there is, in turn."""
    return request.getfixturevalue({"process": "place", "docker": "docker_place"}[request.param])
