"""The checks of ``ml-pipeline doctor`` on environments, where servers run."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ml_pipeline.config import EnvironmentSection, Project, ServingSection
from ml_pipeline.core.errors import EnvironmentFault, PipelineError, UsageError
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import Check
from ml_pipeline.project.doctor_check import check

if TYPE_CHECKING:
    from docker import DockerClient

TIMEOUT = 5.0
"""Seconds to wait for the Docker engine's response."""

OUTLIVES_THE_BUILD = "a machine that outlives the build"
IMAGE = "a running engine, with the images of server and gateway"
CLUSTER = "kubectl, and permission to list the deployments of the namespace"
PORT = "a free port, or this project's server"


def examine(project: Project, home: Home) -> Iterator[Check]:
    """Return the checks of every environment; targets of plug-ins have none."""
    uses_docker = False
    for name, section in project.config.environments.items():
        if section.target == "process":
            yield _outlives_the_build(name)
        elif section.target == "docker":
            uses_docker = True
            yield _image(name, section, project.config.serving)
        elif section.target == "kubernetes":
            yield _cluster(name, section)
        if _is_local_port(section):
            yield _port(project, name, home)
    if not uses_docker:
        yield _engine()


def _outlives_the_build(name: str) -> Check:
    """Check that a server process is not started in a container, with which it would end."""
    from ml_pipeline.targets import container_detection

    key = f"target of {name}"
    marker = container_detection.container_marker()
    if marker is None:
        return check(key, True, "process, on this machine", OUTLIVES_THE_BUILD)
    observed = f"process, in a container ({marker})"
    why = (
        f"a server process ends with this container ({marker}): set environments.{name}.target to "
        "docker, or, if the container is not removed after the build, the variable "
        f"{container_detection.ALLOW_VARIABLE} to allow"
    )
    return check(key, False, observed, OUTLIVES_THE_BUILD, why)


def check_ports(project: Project, home: Home, names: Collection[str]) -> None:
    """Refuse environments whose port is in use by anything but their own server.

    Raises:
        UsageError: another environment or another project serves at the port.
        EnvironmentFault: another process listens there, or the address is not of this machine.
    """
    for name in names:
        section = project.config.environments.get(name)
        if section is not None and (fault := _port_conflict(project, name, home)) is not None:
            raise fault


def _port(project: Project, name: str, home: Home) -> Check:
    """Check that the port is free, or in use by this environment's own server."""
    section = project.config.environments[name]
    key = f"port of {name}"
    fault = _port_conflict(project, name, home)
    if fault is not None:
        return check(key, False, fault.fault, PORT, str(fault))
    return check(key, True, _served(project, name, home) or f"{_address(section)} is free", PORT)


def _port_conflict(project: Project, name: str, home: Home) -> PipelineError | None:
    """Return why an environment cannot use its port on this machine; None if it can."""
    from ml_pipeline.targets import ports

    section = project.config.environments[name]
    if not _is_local_port(section):
        return None
    hint = f"stop it, or set environments.{name}.port to another"
    for other, its in project.config.environments.items():
        if other != name and _is_local_port(its) and its.port == section.port:
            return UsageError(
                f"environments.{other}.port and environments.{name}.port are both {section.port}",
                expected="a port for each environment",
            )
    family = socket.AF_INET6 if ":" in section.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((section.host, section.port))
        except OSError as error:
            number, reason = error.errno, error.strerror
        else:
            return None
    if number != errno.EADDRINUSE:
        # an engine may bind ports that this user may not
        message = f"{_address(section)}, of environment {name}: {reason}"
        return None if section.target == "docker" else EnvironmentFault(message, hint=hint)
    ours = ports.own_server(section.port)
    if ours == (home.root, name) or _served(project, name, home) is not None:
        return None
    if ours is not None:
        message = (
            f"{_address(section)}, of environment {name}, is held by {ports.describe_server(*ours)}"
        )
        return UsageError(message, hint=hint)
    return EnvironmentFault(
        f"{_address(section)}, of environment {name}, is in use by "
        f"{ports.describe_owner(section.port)}",
        hint=hint,
    )


def _is_local_port(section: EnvironmentSection) -> bool:
    """Return whether the port is set, and on this machine."""
    if not section.port or section.target not in ("process", "docker"):
        return False
    if section.target == "process":
        return True
    from ml_pipeline.targets import container_detection
    from ml_pipeline.targets.docker import engine

    try:
        return engine.remote_host() is None and container_detection.container_marker() is None
    except PipelineError:
        return False


def _address(section: EnvironmentSection) -> str:
    host = f"[{section.host}]" if ":" in section.host else section.host
    return f"{host}:{section.port}"


def _served(project: Project, name: str, home: Home) -> str | None:
    """Return the version that an environment serves at its port; None if it serves none."""
    from ml_pipeline.targets.base import Placement
    from ml_pipeline.targets.loader import load_target

    placement = Placement.of(project, name, home)
    try:
        deployment = load_target(placement.section.target).status(placement)
    except EnvironmentFault:
        return None
    if deployment is None:
        return None
    port = urlsplit(deployment.url).port
    if placement.section.url is None and port != placement.section.port:
        return None
    return f"version {deployment.version} is served at {deployment.url}"


def _image(name: str, section: EnvironmentSection, serving: ServingSection) -> Check:
    """Check that the engine has the images of server and gateway, without pulling."""
    from ml_pipeline.targets.docker import engine

    key = f"target of {name}"
    images = {
        engine.server_image(section, serving): section.image,
        engine.GATEWAY: section.gateway_image,
    }
    try:
        client = _docker_client()
        try:
            with engine.errors():
                message = f"docker, engine {client.version()['Version']}"
                missing = {one for one, own in images.items() if not _has_image(client, own or one)}
        finally:
            client.close()
    except EnvironmentFault as error:
        return check(key, False, f"docker, {error.fault}", IMAGE, str(error))
    for standard, own in images.items():
        if standard not in missing:
            message += f" with image {own or standard}"
        elif own is not None:
            message += f" without image {own}, which deploy will pull"
        else:
            why = f"the engine has no image {standard}: {engine.build_command(standard)}"
            return check(key, False, f"{message} without image {standard}", IMAGE, why)
    return check(key, True, message, IMAGE)


def _has_image(client: DockerClient, image: str) -> bool:
    from docker.errors import ImageNotFound

    try:
        client.images.get(image)
    except ImageNotFound:
        return False
    return True


def _cluster(name: str, section: EnvironmentSection) -> Check:
    """List the deployments in the namespace of the cluster."""
    from ml_pipeline.targets.kubernetes.kubectl import Kubectl
    from ml_pipeline.targets.kubernetes.manifests import MANAGED

    key, settings = f"target of {name}", section.kubernetes
    try:
        found = Kubectl(settings.context, settings.namespace).find("deployment", MANAGED)
    except EnvironmentFault as error:
        return check(key, False, f"kubernetes, {error.fault}", CLUSTER, str(error))
    message = f"kubernetes, namespace {settings.namespace} with {len(found)} versions"
    return check(key, True, message, CLUSTER)


def _engine() -> Check:
    """Check the engine, as advisory: no environment needs it, but building images does."""
    from ml_pipeline.targets.docker import engine

    key, expected = "Docker", "a running engine (for containers only)"
    try:
        client = _docker_client()
        try:
            with engine.errors():
                version = client.version()["Version"]
        finally:
            client.close()
    except EnvironmentFault as error:
        why = f"{error}; only containers need it"
        return check(key, False, "unavailable", expected, why, required=False)
    return check(key, True, f"engine {version}", expected, required=False)


def _docker_client() -> DockerClient:
    """Return a client, which the caller closes.

    The socket of a local engine is probed first, since the client leaks its own on failure.
    """
    from docker.utils import parse_host

    from ml_pipeline.targets.docker import engine

    with engine.errors():
        kind, _, path = str(parse_host(os.environ.get("DOCKER_HOST"))).partition("://")
    if kind == "http+unix":
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(TIMEOUT)
            try:
                probe.connect(path)
            except OSError as error:
                raise EnvironmentFault(
                    f"the Docker engine does not answer at {path}: {error.strerror or error}",
                    hint=engine.ENGINE_HINT,
                ) from None
    return engine.connect(TIMEOUT)
