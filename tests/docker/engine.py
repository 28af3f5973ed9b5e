"""A Docker engine and the project's images on it, for tests here and of ml_pipeline.targets.

What a machine lacks is brought by tests/docker/machine.py. The base image is made once a machine,
from where the machine's own packages come; ML_TEST_BASE_IMAGE names another one.
"""

import hashlib
import io
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from docker.errors import APIError, BuildError, ImageNotFound
from filelock import FileLock

from tests.docker.machine import install, lacking, may_install, started, told_once

ROOT = Path(__file__).resolve().parents[2]
RELEASE = "bookworm"
PACKAGES = "ca-certificates,git,libgomp1,procps,python3,python3-venv"
TRUSTED = Path("/etc/ssl/certs/ca-certificates.crt")
CONTEXT = (
    *("docker", "pipeline", "pyproject.toml"),
    *("README.md", "requirements.txt", "requirements-postgres.txt"),
)
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


def one_at_a_time(name: str) -> FileLock:
    """The lanes of a run are processes of their own."""
    return FileLock(Path(tempfile.gettempdir()) / f"ml-pipeline-{name}.lock")


@pytest.fixture(scope="session")
def engine():
    with told_once("engine"), one_at_a_time("engine"):
        client = started()
    yield client
    client.close()


@pytest.fixture(scope="session")
def base_image(engine):
    with told_once("base_image"):
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
        if not may_install():
            lacking("a base image", "apt-get install mmdebstrap, or set ML_TEST_BASE_IMAGE to one")
        install("mmdebstrap", "debian-archive-keyring")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "base.tar"
        command = [*recipe, *apt_options(), "--quiet", RELEASE, str(file), *mirrors()]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            told = [line for line in done.stderr.splitlines() if line.startswith("E: ")]
            lines = told or done.stderr.strip().splitlines()
            pytest.fail(
                f"mmdebstrap {RELEASE}: {'; '.join(lines[-2:])}; fix apt's sources, or set "
                "ML_TEST_BASE_IMAGE to a Debian with Python and venv"
            )
        engine.api.import_image_from_file(str(file), "ml-pipeline-test-base", tag)


TARGETS = "$(ORIGIN) $(CODENAME) $(COMPONENT) $(REPO_URI)"
SET_BY_HAND = re.compile(
    r'^Acquire::(https?::[^ ]*(Proxy|CaInfo|Verify)|Check-Valid-Until|Check-Date)[^ ]* "[^"]+";$'
)


def told_by(*command):
    """Return the lines of a command that may not exist here."""
    if shutil.which(command[0]) is None:
        return []
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


def mirrors():
    """Return the sources of the release that this machine's apt uses; none, and Debian's are."""
    found = told_by("apt-get", "indextargets", "--format", TARGETS, "Created-By: Packages")
    targets = [line.split() for line in found if line.startswith("Debian ")]
    targets = [each[1:] for each in targets if len(each) == 4 and each[2] == "main"]
    own = [each for each in targets if each[0].startswith(RELEASE)]
    if not own:  # of another release: the same mirror has this one
        main = next((uri for name, _, uri in targets if "-" not in name), None)
        own = [] if main is None else [(RELEASE, "main", main)]
    return [
        f"deb {uri} {codename} {component}"
        for codename, component, uri in dict.fromkeys(map(tuple, own))
    ]


def apt_options():
    """Return how this machine's apt reaches its sources: proxies, certificates, old snapshots."""
    found = told_by("apt-config", "dump")
    return [f"--aptopt={line}" for line in found if SET_BY_HAND.match(line)]


def build(engine, base, kind, **arguments):
    """Build an image of the checkout as `docker build` would, and return its name.

    The machine's certificates, proxies and package index are given to the build, where it has its
    own, and its network, so that a build needs no route from the engine's.
    """
    name = f"ml-pipeline-test-{kind}:latest"
    with one_at_a_time(kind), context() as stream:
        try:
            engine.images.build(
                fileobj=stream,
                custom_context=True,
                dockerfile=f"docker/{kind}.Dockerfile",
                buildargs=build_arguments(base) | arguments,
                network_mode="host",
                tag=name,
                rm=True,
            )
        except (APIError, BuildError) as error:
            pytest.fail(f"docker build -f docker/{kind}.Dockerfile: {decisive(error)}")
    return name


def decisive(error):
    """Return why a build ended: the last error that its command printed, and the engine's."""
    printed = [str(line.get("stream", "")).strip() for line in getattr(error, "build_log", ())]
    errors = [line for line in printed if re.search(r"\berror\b", line, re.IGNORECASE)]
    return "; ".join([*errors[-1:], str(error)])


def build_arguments(base):
    given = {"BASE_IMAGE": base, "VERSION": "0.0.test", "REVISION": "abc123"}
    names = ("PIP_INDEX_URL", *PROXIES)
    return given | {name: os.environ[name] for name in names if os.environ.get(name)}


def certificates():
    """Return the file of the certificates that this machine trusts."""
    named = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE")
    return Path(named) if named else TRUSTED


def context():
    """Return the build context as a tar: what .dockerignore leaves, and the certificates."""
    stream = tempfile.TemporaryFile()  # noqa: SIM115  the caller closes it
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in (*CONTEXT, "requirements-serving.txt", "requirements-raw.txt"):
            archive.add(ROOT / name, name, filter=wanted)
        if certificates().exists():
            content = certificates().read_bytes()
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
    with told_once("server_image"):
        return build(engine, base_image, "server")


@pytest.fixture(scope="session")
def raw_server_image(engine, base_image, server_image):
    with told_once("raw_server_image"):
        return build(engine, base_image, "server-raw", SERVER=server_image)


@pytest.fixture(scope="session")
def gateway_image(engine, base_image):
    with told_once("gateway_image"):
        return build(engine, base_image, "gateway")


@pytest.fixture(scope="session")
def agent_image(engine, base_image):
    with told_once("agent_image"):
        return build(engine, base_image, "agent")
