"""The Docker engine: that of ``DOCKER_HOST``, or this machine's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ml_pipeline import __version__
from ml_pipeline.config import EnvironmentSection, ServingSection
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.targets import server_arguments

if TYPE_CHECKING:
    from docker import DockerClient

SECONDS = 120
"""Time for one answer; ending a server takes as long as its open requests."""
IMAGE = f"ml-pipeline-server:{__version__}"
REACH = "start the engine, or set DOCKER_HOST to one that may be used"
RAW_IMAGE = f"ml-pipeline-server-raw:{__version__}"
GATEWAY = f"ml-pipeline-gateway:{__version__}"


@contextmanager
def errors() -> Iterator[None]:
    """Turn what the engine refuses, and that it does not answer, into an ``EnvironmentFault``."""
    from docker.errors import APIError, DockerException
    from requests import RequestException

    try:
        yield
    except APIError as error:
        told = str(error.explanation or error)
        raise EnvironmentFault(f"the Docker engine refuses: {told}") from error
    except (DockerException, RequestException) as error:
        host = os.environ.get("DOCKER_HOST")
        where = f" at DOCKER_HOST={host}" if host else ""
        raise EnvironmentFault(
            f"the Docker engine does not answer{where}: {error}", hint=REACH
        ) from error


def connect(seconds: float = SECONDS) -> DockerClient:
    """Return a client of the engine, which the caller closes; ``seconds`` are for one answer.

    Raises:
        EnvironmentFault: it does not answer.
    """
    import docker

    with errors():
        return docker.from_env(timeout=int(seconds))


@contextmanager
def connected() -> Iterator[DockerClient]:
    """Yield a client; what goes wrong with the engine becomes an ``EnvironmentFault``."""
    client = connect()
    try:
        with errors():
            yield client
    finally:
        client.close()


def remote_host() -> str | None:
    """Return the name of the machine that the engine runs on; None for a local socket."""
    parts = urlsplit(os.environ.get("DOCKER_HOST", ""))
    return None if parts.scheme in ("", "unix", "npipe", "fd") else parts.hostname


def build_command(standard: str) -> str:
    """Return what brings a standard image to the engine."""
    if standard == RAW_IMAGE:
        return (
            f"docker build -f docker/server.Dockerfile -t {IMAGE} . and then docker build -f "
            f"docker/server-raw.Dockerfile -t {standard} . in the sources, or name one in "
            f"environments.NAME.image; {IMAGE} alone does with environments.NAME.raw_rows: false"
        )
    kind, key = ("gateway", "gateway_image") if standard == GATEWAY else ("server", "image")
    return (
        f"docker build -f docker/{kind}.Dockerfile -t {standard} . in the sources, "
        f"or name one in environments.NAME.{key}"
    )


def server_image(section: EnvironmentSection, serving: ServingSection) -> str:
    """Return the standard image of an environment's servers."""
    return RAW_IMAGE if server_arguments.computes_features(section, serving) else IMAGE


def image_id(client: DockerClient, name: str | None, standard: str | None = None) -> str:
    """Return the id of an image. One that was named is pulled if it is not there.

    The standard one, the server's unless another is given, never is: what another registry has
    under its name is somebody else's.

    Raises:
        EnvironmentFault: it is unavailable.
    """
    from docker.errors import DockerException, ImageNotFound

    own = standard or IMAGE
    wanted = name or own
    try:
        image = client.images.get(wanted)
    except ImageNotFound:
        if name is None:
            raise EnvironmentFault(
                f"the Docker engine has no image {wanted}", hint=build_command(own)
            ) from None
        key = "gateway_image" if own == GATEWAY else "image"
        try:
            image = client.images.pull(name)
        except DockerException as error:
            told = str(getattr(error, "explanation", None) or error)
            raise EnvironmentFault(
                f"the Docker engine has no image {name}, and none is pulled: {told}",
                expected=f"the image that environments.NAME.{key} names",
                hint="build or push it, or name another",
            ) from None
    return str(image.id)
