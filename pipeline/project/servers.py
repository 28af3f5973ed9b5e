"""What ``ml-pipeline doctor`` looks at of the environments: where their servers are to run."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline.config import EnvironmentSection, Project
from pipeline.errors import EnvironmentFault
from pipeline.home import Home
from pipeline.project.check import check
from pipeline.report import Check

if TYPE_CHECKING:
    from docker import DockerClient

TIMEOUT = 5.0
"""Seconds that an engine may take to answer."""

STAYS = "a machine, which does not end with the build"
IMAGE = "an engine that answers, with the images of server and gateway"
CLUSTER = "kubectl, and a cluster that lets deployments of the namespace be listed"
PORT = "a free port, or this project's server"


def examine(project: Project, home: Home) -> Iterator[Check]:
    """Return the checks of every environment; targets of other packages have none."""
    asked = False
    for name, section in project.config.environments.items():
        if section.target == "process":
            yield _stays(name)
            if section.port:
                yield _port(project, name, home)
        elif section.target == "docker":
            asked = True
            yield _image(name, section)
        elif section.target == "kubernetes":
            yield _cluster(name, section)
    if not asked:
        yield _engine()


def _stays(name: str) -> Check:
    """A server process would end with the container that it was started in."""
    from pipeline.deploy import enclosure

    key = f"target of {name}"
    marker = enclosure.container()
    if marker is None:
        return check(key, True, "process, on this machine", STAYS)
    observed = f"process, in a container ({marker})"
    why = (
        f"a server process ends with this container ({marker}): set environments.{name}.target to "
        f"docker, or, if the container stays, the variable {enclosure.STAYS} to true"
    )
    return check(key, False, observed, STAYS, why)


def _port(project: Project, name: str, home: Home) -> Check:
    """Tell whether the port is free, or held by what this project itself serves there."""
    from pipeline.deploy import ports

    section = project.config.environments[name]
    address = f"{section.host}:{section.port}"
    key = f"port of {name}"
    family = socket.AF_INET6 if ":" in section.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((section.host, section.port))
        except OSError as error:
            reason = error.errno, error.strerror
        else:
            return check(key, True, f"{address} is free", PORT)
    if (serving := _served(project, name, home)) is not None:
        return check(key, True, serving, PORT)
    taken = reason[0] == errno.EADDRINUSE
    observed = f"{address}: {ports.owner(section.port) if taken else reason[1]}"
    return check(key, False, observed, PORT, f"{observed}; end it, or set environments.{name}.port")


def _served(project: Project, name: str, home: Home) -> str | None:
    from pipeline.deploy.base import Placement
    from pipeline.deploy.targets import load_target

    placement = Placement.of(project, name, home)
    deployment = load_target(placement.section.target).status(placement)
    if deployment is None:
        return None
    return f"version {deployment.version} is served at {deployment.url}"


def _image(name: str, section: EnvironmentSection) -> Check:
    """Look for the images of server and gateway on the engine, and pull nothing."""
    from pipeline.deploy import engine

    key = f"target of {name}"
    images = {engine.IMAGE: section.image, engine.GATEWAY: section.gateway_image}
    try:
        client = _connected()
        try:
            with engine.errors():
                told = f"docker, engine {client.version()['Version']}"
                missing = {one for one, own in images.items() if not _there(client, own or one)}
        finally:
            client.close()
    except EnvironmentFault as error:
        return check(key, False, f"docker, {error.fault}", IMAGE, str(error))
    for standard, own in images.items():
        if standard not in missing:
            told += f" with image {own or standard}"
        elif own is not None:
            told += f" without image {own}, which deploy will pull"
        else:
            why = f"the engine has no image {standard}: {engine.build_command(standard)}"
            return check(key, False, f"{told} without image {standard}", IMAGE, why)
    return check(key, True, told, IMAGE)


def _there(client: DockerClient, image: str) -> bool:
    from docker.errors import ImageNotFound

    try:
        client.images.get(image)
    except ImageNotFound:
        return False
    return True


def _cluster(name: str, section: EnvironmentSection) -> Check:
    """Ask the cluster for what is deployed in the namespace."""
    from pipeline.deploy.kubectl import Kubectl
    from pipeline.deploy.manifests import MANAGED

    key, settings = f"target of {name}", section.kubernetes
    try:
        found = Kubectl(settings.context, settings.namespace).find("deployment", MANAGED)
    except EnvironmentFault as error:
        return check(key, False, f"kubernetes, {error.fault}", CLUSTER, str(error))
    told = f"kubernetes, namespace {settings.namespace} with {len(found)} versions"
    return check(key, True, told, CLUSTER)


def _engine() -> Check:
    """Ask the engine for its version, though no environment needs it: images do."""
    from pipeline.deploy import engine

    key, expected = "Docker", "an engine that answers (containers only)"
    try:
        client = _connected()
        try:
            with engine.errors():
                version = client.version()["Version"]
        finally:
            client.close()
    except EnvironmentFault as error:
        why = f"{error}; nothing but containers needs one"
        return check(key, False, "does not answer", expected, why, required=False)
    return check(key, True, f"engine {version}", expected, required=False)


def _connected() -> DockerClient:
    """Return a client, which the caller closes.

    A local engine's socket is tried first: the client leaves its own open when that fails.
    """
    from docker.utils import parse_host

    from pipeline.deploy import engine

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
