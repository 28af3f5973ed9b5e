"""The docker target: a server container on the engine of ``DOCKER_HOST``, or of this machine.

What runs where stands in the containers' labels; the home keeps only what tells its containers from
those of another home. A published port is fixed when a container is made. So a rollover proves the
new version in a container of its own, on another port; then the former container stops and one with
the public port starts, and between the two nobody answers, for a second or two. The former one is
kept until the switch is decided, and starts again if it is taken back.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pipeline import workdir
from pipeline.deploy import checks, engine, lock
from pipeline.deploy.base import Deployment, Placement
from pipeline.deploy.container import (
    NEW,
    NEXT,
    OLD,
    SERVES,
    Server,
    Wanted,
    create,
    fill,
    labels,
)
from pipeline.deploy.release import release
from pipeline.errors import EnvironmentFault, PipelineError, Refused
from pipeline.home import Home
from pipeline.serving.access import token_of

if TYPE_CHECKING:
    from docker import DockerClient
    from filelock import FileLock

FILE = "servers/containers"
SCOPE = re.compile(r"[0-9a-f]{8}")


class DockerTarget:
    """Servers as containers, one an environment and home."""

    def handover(self, placement: Placement, bundle: Path, version: int | None) -> DockerHandover:
        """See ``Target.handover``. Nobody else deploys to the environment until it is decided."""
        section, home = placement.section, placement.home
        token = token_of(section.host, placement.serving.token_env)
        client = engine.connect()
        held: FileLock | None = None
        try:
            held = lock.hold(placement)
            fleet = _Fleet(client, _scope(home), placement.name)
            with engine.errors():
                fleet.settle()
                wanted = Wanted(
                    placement=placement,
                    bundle=release(bundle, home),
                    version=version,
                    scope=fleet.scope,
                    token=token,
                    image=engine.image_id(client, section.image),
                )
                new, former = _switch(fleet, wanted)
        except BaseException:
            if held is not None:
                held.release()
            client.close()
            raise
        return DockerHandover(fleet, held, new, former)

    def status(self, placement: Placement) -> Deployment | None:
        home = placement.home
        scope = _known_scope(home)
        if scope is None:
            return None
        client = engine.connect()
        try:
            with engine.errors():
                server = _Fleet(client, scope, placement.name).get(SERVES)
                url = None if server is None else server.answers()
                return None if server is None or url is None else server.deployment(url, home)
        finally:
            client.close()

    def stop(self, placement: Placement) -> bool:
        scope = _known_scope(placement.home)
        if scope is None:
            return False
        client = engine.connect()
        try:
            with lock.hold(placement), engine.errors():
                fleet = _Fleet(client, scope, placement.name)
                servers = fleet.all()
                running = [server for server in servers if server.running]
                for server in running:
                    server.stop()
                fleet.remove(servers)
                return bool(running)
        finally:
            client.close()


@dataclass(frozen=True)
class _Proved:
    """A server that is healthy, and what it serves."""

    server: Server
    deployment: Deployment


@dataclass(frozen=True)
class _Former:
    """The server that was there before; ``deployment`` is None where it was not healthy."""

    server: Server
    deployment: Deployment | None
    running: bool


class DockerHandover:
    """The new container serves; the former one, if it was in its way, can start again."""

    def __init__(self, fleet: _Fleet, held: FileLock, new: _Proved, former: _Former | None) -> None:
        self._fleet = fleet
        self._lock = held
        self._new = new
        self._former = former
        self._decided = False

    @property
    def deployment(self) -> Deployment:
        return self._new.deployment

    @property
    def former(self) -> Deployment | None:
        return None if self._former is None else self._former.deployment

    @property
    def changed(self) -> bool:
        return self._former is None or self._new.server is not self._former.server

    def commit(self) -> None:
        if self._decided:
            return
        self._decided = True
        try:
            if self.changed and self._former is not None:
                with engine.errors():
                    self._former.server.stop()
                    self._fleet.remove([self._former.server])
        finally:
            self._close()

    def revert(self) -> None:
        if self._decided:
            return
        self._decided = True
        try:
            if self.changed:
                with engine.errors():
                    _take_back(self._fleet, self._former)
        finally:
            self._close()

    def _close(self) -> None:
        self._lock.release()
        self._fleet.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.revert()


class _Fleet:
    """The containers and volumes of an environment."""

    def __init__(self, client: DockerClient, scope: str, environment: str) -> None:
        self.client = client
        self.scope = scope
        self._filters: dict[str, str | list[str] | bool] = {
            "label": [f"{key}={text}" for key, text in labels(scope, environment).items()]
        }

    def all(self) -> list[Server]:
        found = self.client.containers.list(all=True, filters=self._filters, ignore_removed=True)
        return [Server(self.client, container) for container in found]

    def get(self, role: str) -> Server | None:
        return next((server for server in self.all() if server.role == role), None)

    def remove(self, servers: Iterable[Server]) -> None:
        """Remove containers, and the volumes that none uses any more."""
        for server in servers:
            server.remove()
        used = {name for server in self.all() for name in server.volumes}
        for volume in self.client.volumes.list(filters=self._filters):
            if volume.name not in used:
                volume.remove()

    def settle(self) -> None:
        """Decide what an interrupted command left undecided: the new server stays if it answers."""
        serving, old = self.get(SERVES), self.get(OLD)
        if old is not None and (serving is None or serving.answers() is None):
            _restore(self, old)
            old.start()
            with contextlib.suppress(PipelineError):
                old.wait()  # one that does not become ready is replaced like any that is not
        elif old is not None:
            old.stop()
        self.remove(server for server in self.all() if server.role != SERVES)


def _switch(fleet: _Fleet, wanted: Wanted) -> tuple[_Proved, _Former | None]:
    """Start, prove and switch; on any error what was there before serves as before."""
    known = fleet.get(SERVES)
    former = None if known is None else _former(known, wanted.placement.home)
    if (
        former is not None
        and former.deployment is not None
        and former.server.is_like(wanted)
        and _healthy(former.deployment, wanted)
    ):
        return _Proved(former.server, former.deployment), former
    try:
        return _Proved(*_start(fleet.client, wanted, former)), former
    except BaseException:
        _take_back(fleet, former)
        raise


def _start(
    client: DockerClient, wanted: Wanted, former: _Former | None
) -> tuple[Server, Deployment]:
    volume = fill(client, wanted)
    port, in_the_way = wanted.placement.section.port, False
    if former is not None:
        at_address = former.server.at_address_of(wanted)
        in_the_way = at_address or former.deployment is None
        if at_address:
            port = port or former.server.port or 0
        if in_the_way and former.deployment is not None:
            _rehearse(client, wanted, volume)
    new = create(client, wanted, volume, NEXT, port)
    if former is not None:
        if in_the_way:
            former.server.stop()
        former.server.become(OLD)
    new.become(SERVES)
    new.start()
    url = new.prove(wanted)
    new.keep_running()
    return new, new.deployment(url, wanted.placement.home)


def _rehearse(client: DockerClient, wanted: Wanted, volume: str) -> None:
    """Prove the new version in a container that is gone afterwards."""
    trial = create(client, wanted, volume, NEW, 0)
    try:
        trial.start()
        trial.prove(wanted)
    finally:
        trial.remove()


def _take_back(fleet: _Fleet, former: _Former | None) -> None:
    """Remove what was started, and let what was there before serve again."""
    if former is None:
        fleet.remove(fleet.all())
        return
    _restore(fleet, former.server)
    if not former.running:
        return
    try:
        with engine.errors():
            former.server.start()
            if former.deployment is not None:
                former.server.wait()
    except PipelineError as error:
        raise EnvironmentFault(
            f"the former server, version {former.server.version}, does not serve again: {error}"
        ) from error


def _restore(fleet: _Fleet, server: Server) -> None:
    """Give a container its place back, and remove all others."""
    fleet.remove(other for other in fleet.all() if other.id != server.id)
    if server.role != SERVES:
        server.become(SERVES)


def _former(server: Server, home: Home) -> _Former:
    url = server.answers()
    deployment = None if url is None else server.deployment(url, home)
    return _Former(server, deployment, server.running)


def _healthy(deployment: Deployment, wanted: Wanted) -> bool:
    try:
        checks.probe(deployment.url, wanted.bundle, wanted.version, wanted.token)
    except Refused:
        return False
    return True


def _known_scope(home: Home) -> str | None:
    """Return what tells this home's containers from others'; None where it never had one."""
    path = home / FILE
    try:
        text = path.read_text().strip()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise EnvironmentFault(f"cannot read {path}: {error}") from None
    if not SCOPE.fullmatch(text):
        raise EnvironmentFault(
            f"{path} holds {text[:40]!r}",
            expected="eight digits, those in the labels of this home's containers",
        )
    return text


def _scope(home: Home) -> str:
    scope = _known_scope(home)
    if scope is None:
        scope = secrets.token_hex(4)
        workdir.write_text(home / FILE, scope + "\n")
    return scope
