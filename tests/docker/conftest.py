"""The engine and the images of tests/docker/engine.py, and a place to deploy to."""

from tests.docker.engine import (
    agent_image,
    base_image,
    engine,
    gateway_image,
    raw_server_image,
    server_image,
)
from tests.docker.machine import pytest_runtest_setup
from tests.targets.conftest import docker_place, free_port

__all__ = [
    "agent_image",
    "base_image",
    "docker_place",
    "engine",
    "free_port",
    "gateway_image",
    "pytest_runtest_setup",
    "raw_server_image",
    "server_image",
]
