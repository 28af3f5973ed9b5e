"""An environment of its own for each test, with nothing left running."""

import socket
from functools import partial

import pytest

from pipeline.config import EnvironmentSection, ServingSection
from pipeline.deploy.process import ProcessTarget
from pipeline.home import Home


class Place:
    """The target with a home, a port and a name filled in."""

    def __init__(self, root, port):
        self.home = Home(root)
        self.port = port
        self.target = ProcessTarget()
        environment = EnvironmentSection(port=port)
        rest = {"environment": environment, "name": "staging", "home": self.home}
        rest["serving"] = ServingSection()
        self.deploy = partial(self.target.deploy, **rest)
        self.handover = partial(self.target.handover, **rest)
        self.status = partial(self.target.status, "staging", self.home)
        self.stop = partial(self.target.stop, "staging", self.home)
        self.url = f"http://127.0.0.1:{port}"
        self.state = self.home / "servers/staging.json"


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@pytest.fixture
def place(tmp_path, free_port):
    made = Place(tmp_path / "home", free_port)
    made.home.make()
    yield made
    made.stop()
