"""docker/compose.yaml: an MLflow that the package's registry can use."""

import os
import shutil
import socket
import subprocess

import pytest
import yaml
from ml_pipeline.core.home import Home
from ml_pipeline.registry.registry import Registry

from tests.docker.engine import ROOT
from tests.docker.machine import install, lacking, may_install
from tests.servers import await_answer

FILE = ROOT / "docker/compose.yaml"


def compose():
    """Return the command: docker's plug-in, or the program of its own."""
    docker = shutil.which("docker")
    plugin = [docker or "docker", "compose"]
    found = docker and subprocess.run([*plugin, "version"], capture_output=True, check=False)
    if found and found.returncode == 0:
        return plugin
    if shutil.which("docker-compose") is None:
        if not may_install():
            lacking("docker compose", "apt-get install docker-compose")
        install("docker-compose")
    return ["docker-compose"]


def test_the_service_is_local_and_hardened():
    service = yaml.safe_load(FILE.read_text())["services"]["mlflow"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]


@pytest.mark.slow
def test_the_registry_works_with_it(engine, agent_image, tmp_path, make_bundle):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    project = f"ml-pipeline-test-{os.getpid()}"
    command = [*compose(), "--project-name", project, "--file", str(FILE)]
    environment = os.environ | {"ML_AGENT_IMAGE": agent_image, "MLFLOW_PORT": str(port)}
    options = {"env": environment, "capture_output": True}
    try:
        subprocess.run([*command, "up", "-d"], check=True, **options)
        url = f"http://127.0.0.1:{port}"
        await_answer(f"{url}/health", 300)
        home = Home(tmp_path / "home")
        home.make()
        registry = Registry(url, "small", home)
        version = registry.register(make_bundle(), {}).version
        assert registry.read().version(version.number).digest == version.digest
        assert registry.bundles.download(version, tmp_path / "again").is_dir()
    finally:
        subprocess.run([*command, "down", "--volumes"], check=True, **options)
