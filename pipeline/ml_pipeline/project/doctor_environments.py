"""The checks of ``ml-pipeline doctor`` on environments: the places that servers run in."""

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
"""Seconds that an engine may take to answer."""

OUTLIVES_THE_BUILD = "a machine, which does not end with the build"
IMAGE = "an engine that answers, with the images of server and gateway"
CLUSTER = "kubectl, and a cluster that lets deployments of the namespace be listed"
PORT = "a free port, or this project's server"


def examine(project: Project, home: Home) -> Iterator[Check]:
    """Return the checks of every environment; targets of other packages have none."""
    asked = False
    for name, section in project.config.environments.items():
        if section.target == "process":
            yield _outlives_the_build(name)
        elif section.target == "docker":
            asked = True
            yield _image(name, section, project.config.serving)
        elif section.target == "kubernetes":
            yield _cluster(name, section)
        if _is_local_port(section):
            yield _port(project, name, home)
    if not asked:
        yield _engine()


def _outlives_the_build(name: str) -> Check:
    """A server process would end with the container that it was started in."""
    from ml_pipeline.targets import container_detection

    key = f"target of {name}"
    marker = container_detection.container()
    if marker is None:
        return check(key, True, "process, on this machine", OUTLIVES_THE_BUILD)
    observed = f"process, in a container ({marker})"
    why = (
        f"a server process ends with this container ({marker}): set environments.{name}.target to "
        "docker, or, if the container stays, the variable "
        f"{container_detection.ALLOW_VARIABLE} to allow"
    )
    return check(key, False, observed, OUTLIVES_THE_BUILD, why)


def check_ports(project: Project, home: Home, names: Collection[str]) -> None:
    """Refuse environments whose port is taken by anything but their own server.

    Raises:
        UsageError: another environment or another project serves there.
        EnvironmentFault: something else listens there, or the address is none of this machine.
    """
    for name in names:
        section = project.config.environments.get(name)
        if section is not None and (fault := _port_conflict(project, name, home)) is not None:
            raise fault


def _port(project: Project, name: str, home: Home) -> Check:
    """Return the check that the port is free, or taken by this project's own server."""
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
    hint = f"end it, or set environments.{name}.port to another"
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
        # an engine may take what this user may not
        message = f"{_address(section)}, of environment {name}: {reason}"
        return None if section.target == "docker" else EnvironmentFault(message, hint=hint)
    ours = ports.own_server(section.port)
    if ours == (home.root, name) or _served(project, name, home) is not None:
        return None
    if ours is not None:
        message = f"{_address(section)}, of environment {name}, is held by {ports.named(*ours)}"
        return UsageError(message, hint=hint)
    return EnvironmentFault(
        f"{_address(section)}, of environment {name}, is in use by {ports.owner(section.port)}",
        hint=hint,
    )


def _is_local_port(section: EnvironmentSection) -> bool:
    """Return whether the port is known, and one of the machine that this runs on."""
    if not section.port or section.target not in ("process", "docker"):
        return False
    if section.target == "process":
        return True
    from ml_pipeline.targets import container_detection
    from ml_pipeline.targets.docker import engine

    try:
        return engine.remote_host() is None and container_detection.container() is None
    except PipelineError:
        return False


def _address(section: EnvironmentSection) -> str:
    host = f"[{section.host}]" if ":" in section.host else section.host
    return f"{host}:{section.port}"


def _served(project: Project, name: str, home: Home) -> str | None:
    """Return what an environment serves at its port; None where it serves nothing there."""
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
    """Look for the images of server and gateway on the engine, and pull nothing."""
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
    """Ask the cluster for what is deployed in the namespace."""
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
    """Ask the engine for its version, though no environment needs it: images do."""
    from ml_pipeline.targets.docker import engine

    key, expected = "Docker", "an engine that answers (containers only)"
    try:
        client = _docker_client()
        try:
            with engine.errors():
                version = client.version()["Version"]
        finally:
            client.close()
    except EnvironmentFault as error:
        why = f"{error}; nothing but containers needs one"
        return check(key, False, "does not answer", expected, why, required=False)
    return check(key, True, f"engine {version}", expected, required=False)


def _docker_client() -> DockerClient:
    """Return a client, which the caller closes.

    A local engine's socket is tried first: the client leaves its own open when that fails.
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
                    hint=engine.REACH,
                ) from None
    return engine.connect(TIMEOUT)
