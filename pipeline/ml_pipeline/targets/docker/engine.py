"""The Docker engine of ``DOCKER_HOST``, or of this machine."""

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
"""Timeout of a request to the engine; ending a server takes as long as its open requests."""
IMAGE = f"ml-pipeline-server:{__version__}"
ENGINE_HINT = "start the engine, or set DOCKER_HOST to an engine that you may use"
RAW_IMAGE = f"ml-pipeline-server-raw:{__version__}"
GATEWAY = f"ml-pipeline-gateway:{__version__}"


@contextmanager
def errors() -> Iterator[None]:
    """Convert errors of the engine and of the connection to it to ``EnvironmentFault``."""
    from docker.errors import APIError, DockerException
    from requests import RequestException

    try:
        yield
    except APIError as error:
        message = str(error.explanation or error)
        raise EnvironmentFault(f"the Docker engine refuses: {message}") from error
    except (DockerException, RequestException) as error:
        host = os.environ.get("DOCKER_HOST")
        where = f" at DOCKER_HOST={host}" if host else ""
        raise EnvironmentFault(
            f"the Docker engine does not answer{where}: {error}", hint=ENGINE_HINT
        ) from error


def connect(seconds: float = SECONDS) -> DockerClient:
    """Return a client of the engine, which the caller closes; ``seconds`` is its timeout.

    Raises:
        EnvironmentFault: it does not answer.
    """
    import docker

    with errors():
        return docker.from_env(timeout=int(seconds))


@contextmanager
def connected() -> Iterator[DockerClient]:
    """Yield a client; errors of the engine become ``EnvironmentFault``."""
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
    """Return the command that builds a standard image."""
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
    """Return the id of an image; pull a configured image that is missing.

    The standard image, by default the server's, is never pulled: an image of this name in a public
    registry would have another author.

    Raises:
        EnvironmentFault: it is unavailable.
    """
    from docker.errors import DockerException, ImageNotFound

    own = standard or IMAGE
    spec = name or own
    try:
        image = client.images.get(spec)
    except ImageNotFound:
        if name is None:
            raise EnvironmentFault(
                f"the Docker engine has no image {spec}", hint=build_command(own)
            ) from None
        key = "gateway_image" if own == GATEWAY else "image"
        try:
            image = client.images.pull(name)
        except DockerException as error:
            message = str(getattr(error, "explanation", None) or error)
            raise EnvironmentFault(
                f"the Docker engine has no image {name}, and none is pulled: {message}",
                expected=f"the image that environments.NAME.{key} names",
                hint="build or push it, or set another",
            ) from None
    return str(image.id)
