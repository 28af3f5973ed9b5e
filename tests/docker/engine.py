"""A Docker engine and the project's images on it, for tests here and of pipeline.deploy.

With CI=true, as root, what is missing is installed and the engine is started; it stays up, since
the lanes of a run share it. Otherwise a test is skipped with the command that would enable it.
The base image is made once a machine; ML_TEST_BASE_IMAGE names another one.
"""

import gc
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest
from docker.errors import DockerException, ImageNotFound
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]
RELEASE = "bookworm"
PACKAGES = "ca-certificates,git,python3,python3-venv"
TRUSTED = Path("/etc/ssl/certs/ca-certificates.crt")
CONTEXT = ("docker", "pipeline", "pyproject.toml", "README.md", "requirements.txt")
LOG = Path(tempfile.gettempdir()) / "ml-pipeline-dockerd.log"
START_SECONDS = 60


def ci() -> bool:
    return os.environ.get("CI") == "true"


@contextmanager
def sdk_leaves_sockets():
    """The SDK does not close the socket of a connection that fails."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


def connect():
    with sdk_leaves_sockets():
        try:
            return docker.from_env()
        except DockerException:
            return None


def lacking(what: str, command: str):
    text = f"needs {what}: {command}"
    if ci():
        pytest.fail(text)
    pytest.skip(text)


def install(*packages: str) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    install = ["install", "-y", "-qq", "--no-install-recommends", *packages]
    with one_at_a_time("apt"):
        for words in (["update", "-qq"], install):
            command = ["apt-get", *words]
            subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def started():
    """Return a client of the engine; bring the engine up where that may be done."""
    client = connect()
    if client is not None:
        return client
    how = "apt-get install docker.io iptables && dockerd &   (as root; CI=true does so itself)"
    if not ci() or os.geteuid() != 0:
        lacking("a Docker engine", how)
    if shutil.which("dockerd") is None:
        install("docker.io", "iptables")
    with LOG.open("ab") as log:
        subprocess.Popen(["dockerd"], stdout=log, stderr=log, start_new_session=True).returncode = 0
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        client = connect()
        if client is not None:
            return client
        time.sleep(0.2)
    last = LOG.read_text(errors="replace").strip().splitlines()[-1:]
    pytest.fail(f"dockerd did not start within {START_SECONDS} s; {LOG}: {last}")


def one_at_a_time(name: str) -> FileLock:
    """The lanes of a run are processes of their own."""
    return FileLock(Path(tempfile.gettempdir()) / f"ml-pipeline-{name}.lock")


@pytest.fixture(scope="session")
def engine():
    with one_at_a_time("engine"):
        client = started()
    yield client
    client.close()


@pytest.fixture(scope="session")
def base_image(engine):
    return make_base_image(engine)


def make_base_image(engine):
    """Return the name of a small Debian with Python, which is made once a machine."""
    if (named := os.environ.get("ML_TEST_BASE_IMAGE")) is not None:
        return named
    recipe = ["mmdebstrap", "--variant=minbase", f"--include={PACKAGES}"]
    recipe += [f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "locale", "man")]
    tag = f"{RELEASE}-{hashlib.sha256(repr(recipe).encode()).hexdigest()[:12]}"
    with one_at_a_time("base"):
        try:
            engine.images.get(f"ml-pipeline-test-base:{tag}")
        except ImageNotFound:
            make_base(engine, recipe, tag)
    return f"ml-pipeline-test-base:{tag}"


def make_base(engine, recipe, tag):
    if shutil.which("mmdebstrap") is None:
        if not ci() or os.geteuid() != 0:
            lacking("a base image", "apt-get install mmdebstrap, or set ML_TEST_BASE_IMAGE to one")
        install("mmdebstrap")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "base.tar"
        subprocess.run([*recipe, "--quiet", RELEASE, str(file)], check=True)
        engine.api.import_image_from_file(str(file), "ml-pipeline-test-base", tag)


def build(engine, base, kind):
    """Build an image of the checkout as `docker build` would, and return its name.

    The machine's certificates and package index are given to the build, where it has its own.
    """
    name = f"ml-pipeline-test-{kind}:latest"
    with one_at_a_time(kind), context() as stream:
        engine.images.build(
            fileobj=stream,
            custom_context=True,
            dockerfile=f"docker/{kind}.Dockerfile",
            buildargs=build_arguments(base),
            tag=name,
            rm=True,
        )
    return name


def build_arguments(base):
    given = {"BASE_IMAGE": base, "VERSION": "0.0.test", "REVISION": "abc123"}
    index = os.environ.get("PIP_INDEX_URL")
    return given | ({} if index is None else {"PIP_INDEX_URL": index})


def context():
    """Return the build context as a tar: what .dockerignore leaves, and the certificates."""
    stream = tempfile.TemporaryFile()  # noqa: SIM115  the caller closes it
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in (*CONTEXT, "requirements-serving.txt"):
            archive.add(ROOT / name, name, filter=wanted)
        if TRUSTED.exists():
            content = TRUSTED.read_bytes()
            entry = tarfile.TarInfo("docker/ca/machine.crt")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    stream.seek(0)
    return stream


def wanted(entry):
    unwanted = "__pycache__" in entry.name or entry.name.startswith("docker/ca/")
    return None if unwanted and not entry.isdir() else entry


@pytest.fixture(scope="session")
def server_image(engine, base_image):
    return build(engine, base_image, "server")


@pytest.fixture(scope="session")
def agent_image(engine, base_image):
    return build(engine, base_image, "agent")
