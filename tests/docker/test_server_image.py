"""docker/server.Dockerfile: what is in the image, and how it is run by hand."""

import json
import os
import shutil
import subprocess

import pytest
from docker.errors import ContainerError

from tests.docker.engine import build_arguments, context
from tests.docker.machine import install, lacking, may_install
from tests.docker.test_agent_image import INSTALLED, locked, strangers
from tests.servers import await_ready, served_version

PARTS = """
import json, pathlib, ml_pipeline
root = pathlib.Path(ml_pipeline.__file__).parent
print(json.dumps([sorted(path.name for path in (root / name).iterdir()) for name in ("", "core")]))
"""


@pytest.fixture
def run(engine, server_image):
    def run(*command, **options):
        return engine.containers.run(server_image, list(command), remove=True, **options)

    return run


def test_the_image_has_exactly_what_serving_imports(run):
    python = "/opt/ml-pipeline/bin/python"
    installed = json.loads(run("-c", INSTALLED, entrypoint=[python]).decode())
    lock = locked("requirements-serving.txt")
    assert strangers(installed, lock) == {}
    assert strangers(installed, locked("requirements.txt")) == {}, "the agent has the same"
    rooms, core = json.loads(run("-c", PARTS, entrypoint=[python]).decode())
    package = ["__init__.py", "__pycache__"]
    assert rooms == [*package, "bundle", "core", "features", "serving", "tasks", "traffic"]
    modules = [
        *("artefacts", "documents", "errors", "onnx_session", "plugins"),
        *("subprocess_environment", "whitespace"),
    ]
    assert core == [*package, *(f"{name}.py" for name in modules)]
    run("-P", "-c", "import ml_pipeline.traffic.mirror_reader", entrypoint=[python])


def test_the_image_serves_a_mounted_bundle(engine, server_image, make_bundle, free_port):
    bundle = make_bundle()
    for path in (bundle, *bundle.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)
    bundle.parent.chmod(0o755)
    container = engine.containers.run(
        server_image,
        ["--published", "127.0.0.1", "--version", "4"],
        detach=True,
        read_only=True,
        ports={"8000/tcp": ("127.0.0.1", free_port)},
        volumes={str(bundle): {"bind": "/srv/ml-pipeline/bundle", "mode": "ro"}},
    )
    try:
        url = f"http://127.0.0.1:{free_port}"
        await_ready(url)
        assert served_version(url) == 4
    finally:
        container.remove(force=True)


def test_a_published_host_that_is_not_loopback_requires_a_token(run):
    with pytest.raises(
        ContainerError, match="is not a loopback address, and no bearer token is configured"
    ):
        run()


def told(*command):
    """Return what a command prints, nothing where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def buildkit():
    """Return a docker client that builds with BuildKit: of 20.10, or a later one with buildx."""
    for program in (shutil.which("docker"), "/usr/bin/docker"):
        if program is None or not os.access(program, os.X_OK):
            continue
        if told(program, "buildx", "version") or "version 20." in told(program, "--version"):
            return program
    return None


def brought_buildkit():
    """As ``buildkit``; Debian 13 and Ubuntu have packages for it, which may be installed."""
    if (program := buildkit()) is None and may_install():
        install("docker-cli" if shutil.which("docker") is None else "docker.io", "docker-buildx")
        program = buildkit()
    if program is None:
        lacking("BuildKit", "apt-get install docker.io, or the buildx plug-in of your docker")
    return program


@pytest.mark.slow
def test_buildkit_builds_the_image(engine, base_image, server_image, tmp_path):
    with context() as stream:
        subprocess.run(["tar", "-x", "-C", str(tmp_path)], stdin=stream, check=True)
    command = [
        brought_buildkit(),
        "build",
        "--quiet",
        "--network",
        "host",
        "--file",
        "docker/server.Dockerfile",
    ]
    for name, value in build_arguments(base_image).items():
        command += ["--build-arg", f"{name}={value}"]
    done = subprocess.run(
        [*command, "."],
        cwd=tmp_path,
        env=os.environ | {"DOCKER_BUILDKIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    built, other = (engine.images.get(name) for name in (done.stdout.strip(), server_image))
    assert built.attrs["Config"]["Entrypoint"] == other.attrs["Config"]["Entrypoint"]
    assert built.labels == other.labels
