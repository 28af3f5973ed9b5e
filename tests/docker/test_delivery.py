"""The example from its data to production in an agent's container, as Jenkins runs it.

`ml.yaml` says nothing of Docker; what docs/how-to/containers.md sets globally is all there is.
"""

import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.docker.engine import ROOT
from tests.servers import free_port

UID = 12345
"""Of nobody: it has no entry in the image's passwd."""
SOCKET = "/var/run/docker.sock"
SMALL = {
    "DATA__SOURCE__SYMBOLS": "24",
    "DATA__SOURCE__DAYS": "200",
    "DATA__SOURCE__EDGE": "1.5",
    "SPLIT__HOLDOUT_DAYS": "40",
    "SPLIT__VALIDATION_DAYS": "20",
    "TRAIN__MAX_EPOCHS": "20",
    "EVALUATE__RESAMPLES": "50",
}
GLOBAL = {
    f"ENVIRONMENTS__{environment}__{key}": value
    for environment in ("STAGING", "PRODUCTION")
    for key, value in (
        ("TARGET", "docker"),
        ("IMAGE", "ml-pipeline-test-server-raw"),
        ("GATEWAY_IMAGE", "ml-pipeline-test-gateway"),
    )
}


@pytest.fixture
def production():
    return free_port()


@pytest.fixture
def workspace(tmp_path):
    """Jenkins' workspace with a checkout of the example, and the folder beside it."""
    workspace = tmp_path / "workspace"
    unwanted = shutil.ignore_patterns("build", ".ml", ".*_cache", "__pycache__")
    shutil.copytree(ROOT / "examples/nepse", workspace / "examples/nepse", ignore=unwanted)
    (tmp_path / "workspace@tmp/home").mkdir(parents=True)
    (tmp_path / "var").mkdir()
    return workspace


@pytest.fixture
def agent(
    engine, agent_image, raw_server_image, gateway_image, workspace, registry_database, production
):
    """`docker run -t -d -u UID -w WS -v … -e … IMAGE cat`, and return `docker exec` in it."""
    temporary, home = f"{workspace}@tmp", workspace.parent / "var"
    own = home / "nepse-direction"
    own.mkdir()
    shutil.copyfile(registry_database, own / "mlflow.db")
    subprocess.run(["chown", "-R", f"{UID}:{UID}", workspace.parent], check=True)
    ports = {
        "ENVIRONMENTS__STAGING__PORT": str(free_port()),
        "ENVIRONMENTS__PRODUCTION__PORT": str(production),
    }
    settings = {f"ML__{key}": value for key, value in (GLOBAL | ports | SMALL).items()}
    paths = (str(workspace), temporary, str(home), SOCKET)
    container = engine.containers.run(
        agent_image,
        ["cat"],
        tty=True,
        detach=True,
        user=f"{UID}:{UID}",
        group_add=[Path(SOCKET).stat().st_gid],
        working_dir=str(workspace),
        volumes={path: {"bind": path} for path in paths},
        environment=settings | {"ML_HOME": str(home)},
    )

    def run(*words):
        done = container.exec_run(
            ["ml-pipeline", *words],
            workdir=f"{workspace}/examples/nepse",
            environment={"HOME": f"{temporary}/home", "USER": "ml", "LOGNAME": "ml"},
        )
        return done.exit_code, done.output.decode()

    try:
        yield run
        assert run("stop")[0] == 0
    finally:
        container.remove(v=True, force=True)
        remove_servers(engine, own)


def remove_servers(engine, home):
    """Remove what a failed test left."""
    if not (home / "servers/containers").exists():
        return
    label = f"ml-pipeline.scope={(home / 'servers/containers').read_text().strip()}"
    for container in engine.containers.list(all=True, filters={"label": label}):
        container.remove(v=True, force=True)
    for left in (
        *engine.volumes.list(filters={"label": label}),
        *engine.networks.list(filters={"label": label}),
    ):
        left.remove()


@pytest.mark.slow
def test_the_example_goes_to_production_from_a_docker_agent(agent, production):
    code, output = agent("run", "cd")
    assert code == 4, output  # waits for a person
    code, output = agent("approve", "--by", "alice", "--reason", "test")
    assert code == 0, output
    code, output = agent("promote")
    assert code == 0, output
    url = f"http://127.0.0.1:{production}"
    told = httpx.get(f"{url}/metadata").raise_for_status().json()
    row = [None] * len(told["features"])
    answer = httpx.post(f"{url}/predict", json={"features": row}).raise_for_status().json()
    assert answer["model_version"] == 1
