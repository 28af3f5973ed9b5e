"""shadow's replay where production's servers are containers: it asks what clients asked there."""

import shutil
import time

import httpx
import pytest
from ml_pipeline.core.home import Home
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import CHAMPION
from ml_pipeline.stages.runner import execute
from ml_pipeline.targets.base import Placement, deploy
from ml_pipeline.targets.docker.target import DockerTarget

from tests.servers import free_port

REQUESTS = 40


@pytest.fixture
def project(make_project, server_image, gateway_image):
    section = {"target": "docker", "image": server_image, "gateway_image": gateway_image}
    return make_project(
        environments={name: section | {"port": free_port()} for name in ("staging", "production")},
        shadow={"min_requests": REQUESTS, "timeout_ms": 9000},
    )


@pytest.fixture
def home(project, registry_database):
    home = Home(project.root / ".ml")
    home.make()
    shutil.copy(registry_database, home / "mlflow.db")
    yield home
    for name in ("staging", "production"):
        DockerTarget().stop(Placement.of(project, name, home))


def test_recorded_requests_of_production_are_replayed(project, home, make_context, make_bundle):
    champion = make_bundle("champion", identity="c", weight=3.0)
    version = Registry.of(project, home).register(champion).version
    Registry.of(project, home).aliases.set(CHAMPION, version)
    production = Placement.of(project, "production", home)
    url = deploy(DockerTarget(), production, champion, version.number).url
    staging = Placement.of(project, "staging", home)
    deploy(DockerTarget(), staging, make_bundle("challenger", weight=-3.0), 2)
    with httpx.Client(timeout=60) as client:
        for index in range(REQUESTS):
            row = {"features": [index / REQUESTS * 4 - 2, "north"]}
            client.post(f"{url}/predict", json=row).raise_for_status()
    time.sleep(0.3)  # the log is written 0.1 s after the answer

    result = execute(make_context(project, "shadow", "staging"))
    metrics = result.report.metrics
    assert result.exit_code == 1, result.report.summary
    assert (metrics["source"], metrics["compared"]) == ("recorded", REQUESTS)
    assert "extreme disagreements" in result.report.summary
