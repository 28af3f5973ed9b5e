"""The docker target: servers as containers behind a gateway, on the engine of ``DOCKER_HOST``.

Without ``DOCKER_HOST`` it is this machine's. What runs where stands in the containers' labels; the
home keeps only what tells its containers from those of another home. A rollover starts the new
server beside the old one, proves it, and lets the gateway lead to it: no one waits. A published
port is fixed when a container is made, so where the gateway itself is replaced at its address, or
takes the place of a server that holds the port (as they all did before there were gateways),
nobody answers for a second.
"""

from __future__ import annotations

import contextlib
import logging
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.core import workdir
from ml_pipeline.core.errors import EnvironmentFault, PipelineError, Refused, UsageError
from ml_pipeline.core.home import Home
from ml_pipeline.serving.access import read_token
from ml_pipeline.targets import copy_prediction_log, environment_lock, server_arguments
from ml_pipeline.targets.base import CopyCounts, Deployment, Placement, ShadowSpec
from ml_pipeline.targets.docker import container, engine, gateway
from ml_pipeline.targets.docker import live_shadow as container_shadow
from ml_pipeline.targets.docker.container import (
    COLOURS,
    DIRECT,
    DIRECT_OLD,
    Container,
    Server,
    Wanted,
)
from ml_pipeline.targets.docker.gateway import HELD, HOLDS, TRIAL, Gateway
from ml_pipeline.targets.handover import BaseHandover
from ml_pipeline.targets.released_bundles import release
from ml_pipeline.traffic import probe

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.networks import Network
    from docker.models.volumes import Volume

    from ml_pipeline.core.locks import Lock

FILE = "servers/containers"
SCOPE = re.compile(r"[0-9a-f]{8}")

logger = logging.getLogger(__name__)


class DockerTarget:
    """Servers as containers, one an environment and home."""

    def handover(self, placement: Placement, bundle: Path, version: int | None) -> DockerHandover:
        """See ``Target.handover``. Nobody else deploys to the environment until it is decided."""
        section, home = placement.section, placement.home
        token = read_token(section.host, placement.serving.token_env)
        client = engine.connect()
        lock: Lock | None = None
        try:
            lock = environment_lock.hold(placement)
            fleet = _Fleet(client, _scope(home), placement.name)
            with engine.errors():
                wanted = Wanted(
                    placement=placement,
                    bundle=release(bundle, home),
                    version=version,
                    scope=fleet.scope,
                    token=token,
                    image=engine.image_id(
                        client, section.image, engine.server_image(section, placement.serving)
                    ),
                    gateway=engine.image_id(client, section.gateway_image, engine.GATEWAY),
                )
                fleet.recover()
                new, former = _switch(fleet, wanted)
        except BaseException:
            if lock is not None:
                lock.release()
            client.close()
            raise
        return DockerHandover(fleet, lock, new, former)

    def status(self, placement: Placement) -> Deployment | None:
        home = placement.home
        scope = _known_scope(home)
        if scope is None:
            return None
        with engine.connected() as client:
            former = _Fleet(client, scope, placement.name).former(home)
        return None if former is None else former.deployment

    def stop(self, placement: Placement) -> bool:
        scope = _known_scope(placement.home)
        if scope is None:
            return False
        with engine.connected() as client, environment_lock.hold(placement):
            fleet = _Fleet(client, scope, placement.name)
            running = any(each.running for each in fleet.servers())
            for each in [*fleet.gateways(), *fleet.servers()]:
                each.stop()
            fleet.bring_log(placement)
            fleet.clear()
            fleet.forget_log()
            return running

    def fetch_predictions(self, placement: Placement) -> None:
        """See ``HasRemotePredictionLog.fetch_predictions``."""
        scope = _known_scope(placement.home)
        if scope is not None:
            with engine.connected() as client:
                _Fleet(client, scope, placement.name).bring_log(placement)

    # --- CopiesRequests -----------------------------------------------------------------------

    def start_shadow(self, placement: Placement, spec: ShadowSpec) -> dict[str, Any]:
        other = spec.challenger
        if other.section.target != "docker":
            raise UsageError(
                f"{other.name} has the target {other.section.target}, which a container of "
                f"{placement.name} does not reach",
                expected=f"target docker, as that of {placement.name}",
                hint="replay instead: 'ml-pipeline shadow ENV' without --start",
            )
        records = placement.home / f"shadow/{other.name}.jsonl"
        with engine.connected() as client:
            whose = container_shadow.ShadowKey(_scope(placement.home), placement.name, other.name)
            left = container_shadow.Reader.find(client, whose)
            if left is not None:
                left.withdraw()
            workdir.write_text(records, "")
            champion, _ = _serving(client, whose.scope, placement, spec.champion)
            challenger, network = _serving(client, whose.scope, other, spec.served)
            container_shadow.start(client, whose, champion, challenger, network, spec)
        told = {"timeout": spec.timeout, "records": str(records)}
        return told | {"whose": asdict(whose)}

    def shadow_counts(self, shadow: dict[str, Any]) -> CopyCounts | None:
        with engine.connected() as client:
            reader = _reader(client, shadow)
            return None if reader is None else reader.counts()

    def shadow_records(self, shadow: dict[str, Any]) -> Path:
        path = Path(shadow["records"])
        with engine.connected() as client:
            reader = _reader(client, shadow)
            if reader is not None:
                reader.fetch(path)
        return path

    def end_shadow(self, shadow: dict[str, Any]) -> CopyCounts | None:
        with engine.connected() as client:
            reader = _reader(client, shadow)
            if reader is None:
                return None
            counts = reader.end(shadow["timeout"])
            reader.fetch(Path(shadow["records"]))
            reader.remove()
            return counts


@dataclass(frozen=True)
class _Proved:
    """A server that is healthy behind its gateway, and what it serves."""

    front: Gateway
    server: Server
    deployment: Deployment


@dataclass(frozen=True)
class _Former:
    """What was there before."""

    front: Container
    """The container with the published port: a gateway, or the server itself."""
    server: Server | None
    deployment: Deployment | None
    """None where it was not healthy."""
    running: bool


class DockerHandover(BaseHandover):
    """The new container serves; the former one, if it was in its way, can start again."""

    def __init__(self, fleet: _Fleet, lock: Lock, new: _Proved, former: _Former | None) -> None:
        super().__init__(lock)
        self._fleet = fleet
        self._new = new
        self._former = former

    @property
    def deployment(self) -> Deployment:
        return self._new.deployment

    @property
    def former(self) -> Deployment | None:
        return None if self._former is None else self._former.deployment

    @property
    def changed(self) -> bool:
        return self._former is None or self._new.server is not self._former.server

    def _keep(self) -> None:
        with engine.errors():
            self._fleet.keep_only(self._new.front, self._new.server)

    def _revert(self) -> None:
        with engine.errors():
            _take_back(self._fleet, self._former)

    def _close(self) -> None:
        super()._close()
        self._fleet.client.close()


class _Fleet:
    """The containers, volumes and the network of an environment."""

    def __init__(self, client: DockerClient, scope: str, environment: str) -> None:
        self.client = client
        self.scope = scope
        self.had_log = True
        """Whether there was a prediction log before this command."""
        self.environment = environment
        self._labels = container.labels(scope, environment)
        self._filters: dict[str, str | list[str] | bool] = {
            "label": [f"{key}={text}" for key, text in self._labels.items()]
        }

    # --- what there is ------------------------------------------------------------------------

    def all(self) -> list[Container]:
        found = self.client.containers.list(all=True, filters=self._filters, ignore_removed=True)
        every = [Container(self.client, each) for each in found]
        return [
            (Gateway if one.role in (HOLDS, HELD, TRIAL) else Server)(self.client, each)
            for one, each in zip(every, found, strict=True)
        ]

    def servers(self) -> list[Server]:
        return [each for each in self.all() if isinstance(each, Server)]

    def gateways(self) -> list[Gateway]:
        return [each for each in self.all() if isinstance(each, Gateway)]

    def get(self, role: str) -> Container | None:
        return next((each for each in self.all() if each.role == role), None)

    def server(self, colour: str) -> Server | None:
        return next((each for each in self.servers() if each.colour == colour != ""), None)

    def network(self) -> Network | None:
        return gateway.find_network(self.client, self._labels)

    def addresses(self) -> Mapping[str, str]:
        network = self.network()
        return {} if network is None else gateway.addresses(network)

    def former(self, home: Home) -> _Former | None:
        """Return what serves, or would if it were healthy."""
        front = self.get(HOLDS) or self.get(DIRECT)
        if front is None:
            return None
        told = front.ask()
        if isinstance(front, Server):
            server: Server | None = front
        elif told is not None:
            server = self.server(told.colour)
        else:
            server = next((each for each in self.servers() if each.colour), None)
        healthy = told is not None and told.ready and server is not None and server.running
        deployment = server.deployment(told.url, home) if healthy and told and server else None
        return _Former(front, server, deployment, front.running)

    # --- the prediction log -------------------------------------------------------------------

    def logs(self) -> list[Volume]:
        """Return the volume of the prediction log, if there is one."""
        every = self.client.volumes.list(filters=self._filters)
        return [each for each in every if _keeps_log(each)]

    def bring_log(self, placement: Placement) -> None:
        """Copy what was logged into the folder that the configuration names."""
        if placement.serving.prediction_log.enabled:
            for each in [each for each in self.servers() if each.logs][:1]:
                copy_prediction_log.bring(
                    each.predictions(), server_arguments.log_folder(placement), placement.serving
                )

    def forget_log(self) -> None:
        for each in self.logs():
            each.remove()

    # --- what goes ----------------------------------------------------------------------------

    def remove(self, containers: Iterable[Container]) -> None:
        """Remove containers, and the volumes that none uses any more, but not the log's."""
        for each in containers:
            each.remove()
        used = {name for each in self.all() for name in each.volumes}
        used |= container_shadow.volumes(self.client, self.scope)
        for volume in self.client.volumes.list(filters=self._filters):
            if volume.name not in used and not _keeps_log(volume):
                volume.remove()

    def clear(self) -> None:
        """Remove all that there is but the log."""
        container_shadow.withdraw(self.client, self.scope, self.environment)
        self.remove(self.all())
        network = self.network()
        if network is not None:
            network.remove()

    def keep_only(self, front: Container, server: Server | None) -> None:
        """End all but these after their open requests."""
        kept = {front.id, *([] if server is None else [server.id])}
        others = [each for each in self.all() if each.id not in kept]
        for each in others:
            if each.running:
                each.stop()
        self.remove(others)

    # --- what an interrupted command left -----------------------------------------------------

    def recover(self) -> None:
        """Decide what was left undecided: a new server that has the requests keeps them."""
        self.had_log = bool(self.logs())
        waiting = self.get(HELD) or self.get(DIRECT_OLD)
        front = self.get(HOLDS)
        if waiting is not None:
            if (told := None if front is None else front.ask()) is None or not told.ready:
                self.restore(waiting)
            else:
                self.remove([waiting])
        elif (direct := self.get(DIRECT)) is not None and len(self.all()) > 1:
            self.restore(direct)
        front = self.get(HOLDS)
        if isinstance(front, Gateway):
            self._recover_servers(front)
        elif front is None and self.get(DIRECT) is None:
            self.clear()
        self.remove(each for each in self.all() if each.role in (TRIAL, container.FILL))

    def restore(self, front: Container) -> None:
        """Give a container the published port back. It is replaced if it does not start."""
        self.remove(
            each
            for each in self.all()
            if each.id != front.id and (isinstance(each, Gateway) or isinstance(front, Server))
        )
        _regain(front)
        with contextlib.suppress(PipelineError), engine.errors():
            if not front.running:
                front.start()
            if isinstance(front, Server):
                front.wait(front)

    def _recover_servers(self, front: Gateway) -> None:
        """Leave one server, and a configuration that says what nginx does."""
        if not front.running:
            with contextlib.suppress(PipelineError), engine.errors():
                front.start()
        servers = [each for each in self.servers() if each.colour]
        told = front.awaited()
        if len(servers) < len(COLOURS):
            if told is not None and told.colour == "":
                self.clear()
            return
        if told is None:
            self.remove(servers[1:])
            return
        ready = [each for each in servers if _is_ready(front, each)]
        serving = next((each for each in ready if each.colour == told.colour), None)
        kept = serving or next(iter(ready), self.server(told.colour) or servers[0])
        front.switch(kept, self.addresses())
        kept.keep_running()
        self.keep_only(front, kept)


def _is_ready(front: Gateway, server: Server) -> bool:
    told = front.ask(front.trial(server))
    return told is not None and told.ready


def _regain(front: Container) -> None:
    """Give a container that waited its name back."""
    role = HOLDS if isinstance(front, Gateway) else DIRECT
    if front.role != role:
        front.become(role)


def _switch(fleet: _Fleet, wanted: Wanted) -> tuple[_Proved, _Former | None]:
    """Start, prove and switch; on any error what was there before serves as before."""
    home = wanted.placement.home
    former = fleet.former(home)
    if former is not None and former.deployment is not None and former.server is not None:
        front, server = former.front, former.server
        same = front.has(wanted.gateway_labels) and server.has(wanted.labels)
        if isinstance(front, Gateway) and same and _healthy(former.deployment, wanted):
            return _Proved(front, server, former.deployment), former
    try:
        return _start(fleet, wanted, former), former
    except BaseException:
        _take_back(fleet, former)
        raise


def _start(fleet: _Fleet, wanted: Wanted, former: _Former | None) -> _Proved:
    """Start a server of the free colour, prove it, and let it have the requests."""
    network = gateway.make_network(fleet.client, wanted)
    addresses = gateway.addresses(network)
    used = {each.colour for each in fleet.servers()}
    colour = next(each for each in COLOURS if each not in used)
    volume = container.fill(fleet.client, wanted)
    own = addresses[colour]
    server = container.create(fleet.client, wanted, volume, colour, network, own)
    server.start()
    known = None if former is None else former.front
    if isinstance(known, Gateway) and known.has(wanted.gateway_labels) and known.running:
        front, leads = known, False
    else:
        front, leads = _publish(fleet, wanted, server, network, former)
    if not leads:
        _prove(front, server, wanted, front.trial(server))
        front.switch(server, addresses)
    url = _prove(front, server, wanted)
    for each in (front, server):
        each.keep_running()
    return _Proved(front, server, server.deployment(url, wanted.placement.home))


def _publish(
    fleet: _Fleet, wanted: Wanted, server: Server, network: Network, former: _Former | None
) -> tuple[Gateway, bool]:
    """Start a gateway at the wanted address; say whether it leads to the server, proved before."""
    port = wanted.placement.section.port
    if former is None:
        return _gateway(fleet, wanted, HOLDS, port, network), False
    in_the_way = former.front.at_address_of(wanted)
    proved = in_the_way and former.deployment is not None
    port = port or (in_the_way and former.front.port) or 0
    if proved:
        trial = _gateway(fleet, wanted, TRIAL, 0, network)
        _prove(trial, server, wanted, trial.trial(server))
        fleet.remove([trial])
        logger.warning(
            "%s: a new gateway takes the port over, once: nobody answers for about a second",
            wanted.placement.name,
        )
    if in_the_way or former.deployment is None:
        former.front.stop()
    former.front.become(HELD if isinstance(former.front, Gateway) else DIRECT_OLD)
    return _gateway(fleet, wanted, HOLDS, port, network, server if proved else None), proved


def _gateway(
    fleet: _Fleet,
    wanted: Wanted,
    role: str,
    port: int,
    network: Network,
    server: Server | None = None,
) -> Gateway:
    """Start a gateway that leads to the server, or to none yet."""
    made = gateway.create(fleet.client, wanted, role, port, network)
    made.lay(server, gateway.addresses(network))
    made.start()
    return made


def _prove(
    front: Gateway, server: Server, wanted: Wanted, headers: Mapping[str, str] | None = None
) -> str:
    """Wait until the server is ready and has given its golden predictions; return where.

    Raises:
        Refused: it rejects the bundle, or its answers are wrong.
        EnvironmentFault: it ended or was not ready in time; the log's last line is told.
    """
    url = server.wait(front, headers)
    probe.probe(url, wanted.bundle, wanted.version, wanted.token, headers)
    return url


def _take_back(fleet: _Fleet, former: _Former | None) -> None:
    """Remove what was started, and let what was there before serve again."""
    if former is None:
        fleet.clear()
        if not fleet.had_log:
            fleet.forget_log()
        return
    front, server = former.front, former.server
    try:
        with engine.errors():
            if isinstance(front, Gateway) and front.switched:
                front.switch(server, fleet.addresses())
                fleet.keep_only(front, server)
            kept = {front.id, *([] if server is None else [server.id])}
            fleet.remove(each for each in fleet.all() if each.id not in kept)
            _regain(front)
            if former.running and not front.running:
                front.start()
            if former.deployment is not None and server is not None:
                server.wait(front)
    except PipelineError as error:
        version = None if server is None else server.version
        raise EnvironmentFault(
            f"the former server, version {version}, does not serve again: {error}"
        ) from error


def _keeps_log(volume: Volume) -> bool:
    labels = volume.attrs.get("Labels") or {}
    return container.KEEPS_LOG.items() <= labels.items()


def _healthy(deployment: Deployment, wanted: Wanted) -> bool:
    try:
        probe.probe(deployment.url, wanted.bundle, wanted.version, wanted.token)
    except Refused:
        return False
    return True


def _reader(client: DockerClient, shadow: dict[str, Any]) -> container_shadow.Reader | None:
    return container_shadow.Reader.find(client, container_shadow.ShadowKey(**shadow["whose"]))


def _serving(
    client: DockerClient, scope: str, placement: Placement, wanted: Deployment
) -> tuple[Server, Network]:
    """Return the server of an environment and its network, if it is what was asked for."""
    fleet = _Fleet(client, scope, placement.name)
    former, network = fleet.former(placement.home), fleet.network()
    server = None if former is None or former.deployment is None else former.server
    if server is None or server.label("digest") != wanted.digest:
        raise EnvironmentFault(f"{placement.name} does not serve any more what it did")
    if network is None or not server.colour:
        raise EnvironmentFault(
            f"{placement.name}'s server is one of before there were gateways",
            hint=f"deploy it again: 'ml-pipeline deploy {placement.name}'",
        )
    return server, network


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
