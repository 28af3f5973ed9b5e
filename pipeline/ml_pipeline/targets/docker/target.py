"""The docker target: servers as containers behind a gateway, on the engine of ``DOCKER_HOST``.

Without ``DOCKER_HOST`` the engine is that of this machine. What is served is recorded in the labels
of the containers; the home has only the identifier of its containers. A rollover starts the new
server beside the old one, verifies it, and lets the gateway forward to it without a gap. A
published port is fixed when a container is created. So when the gateway itself is replaced at its
address, or replaces a server with the published port (of versions without gateways), the port is
closed for about a second.
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
from ml_pipeline.targets import (
    copy_prediction_log,
    environment_lock,
    redaction_key,
    server_arguments,
)
from ml_pipeline.targets.base import CopyCounts, Deployment, Placement, ShadowSpec
from ml_pipeline.targets.docker import container, engine, gateway
from ml_pipeline.targets.docker import live_shadow as container_shadow
from ml_pipeline.targets.docker.container import (
    COLOURS,
    DIRECT_ROLE,
    OLD_DIRECT_ROLE,
    Container,
    ContainerSpec,
    ServerContainer,
)
from ml_pipeline.targets.docker.gateway import GATEWAY_ROLE, OLD_GATEWAY_ROLE, TRIAL_ROLE, Gateway
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
    """Servers as containers, one for each environment and home."""

    def handover(self, placement: Placement, bundle: Path, version: int | None) -> DockerHandover:
        """See ``Target.handover``. The environment stays locked until it is decided."""
        section, home = placement.section, placement.home
        token = read_token(section.host, placement.serving.token_env)
        key = redaction_key.require_key(placement.serving, home)
        client = engine.connect()
        lock: Lock | None = None
        try:
            lock = environment_lock.acquire(placement)
            containers = _EnvironmentContainers(client, _scope(home), placement.name)
            with engine.errors():
                spec = ContainerSpec(
                    placement=placement,
                    bundle=release(bundle, home),
                    version=version,
                    scope=containers.scope,
                    token=token,
                    image=engine.image_id(
                        client, section.image, engine.server_image(section, placement.serving)
                    ),
                    gateway=engine.image_id(client, section.gateway_image, engine.GATEWAY),
                    redact_key=key,
                )
                containers.recover()
                new, former = _switch(containers, spec)
        except BaseException:
            if lock is not None:
                lock.release()
            client.close()
            raise
        return DockerHandover(containers, lock, new, former)

    def status(self, placement: Placement) -> Deployment | None:
        home = placement.home
        scope = _known_scope(home)
        if scope is None:
            return None
        with engine.connected() as client:
            former = _EnvironmentContainers(client, scope, placement.name).former(home)
        return None if former is None else former.deployment

    def stop(self, placement: Placement) -> bool:
        scope = _known_scope(placement.home)
        if scope is None:
            return False
        with engine.connected() as client, environment_lock.acquire(placement):
            containers = _EnvironmentContainers(client, scope, placement.name)
            running = any(each.running for each in containers.servers())
            for each in [*containers.gateways(), *containers.servers()]:
                each.stop()
            containers.fetch_log(placement)
            containers.clear()
            containers.remove_log()
            return running

    def fetch_predictions(self, placement: Placement) -> None:
        """See ``HasRemotePredictionLog.fetch_predictions``."""
        scope = _known_scope(placement.home)
        if scope is not None:
            with engine.connected() as client:
                _EnvironmentContainers(client, scope, placement.name).fetch_log(placement)

    # --- CopiesRequests -----------------------------------------------------------------------

    def start_shadow(self, placement: Placement, spec: ShadowSpec) -> dict[str, Any]:
        other = spec.challenger
        if other.section.target != "docker":
            raise UsageError(
                f"{other.name} has the target {other.section.target}, which a container of "
                f"{placement.name} cannot reach",
                expected=f"target docker, as that of {placement.name}",
                hint="replay instead: 'ml-pipeline shadow ENV' without --start",
            )
        records = placement.home / f"shadow/{other.name}.jsonl"
        with engine.connected() as client:
            key = container_shadow.ShadowKey(_scope(placement.home), placement.name, other.name)
            left = container_shadow.ReaderContainer.find(client, key)
            if left is not None:
                left.discard()
            workdir.write_text(records, "")
            champion, _ = _serving(client, key.scope, placement, spec.champion)
            challenger, network = _serving(client, key.scope, other, spec.served)
            container_shadow.start(client, key, champion, challenger, network, spec)
        reference = {"timeout": spec.timeout, "records": str(records)}
        return reference | {"whose": asdict(key)}

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
class _HealthyServer:
    """A server that is healthy behind its gateway, and what it serves."""

    front: Gateway
    server: ServerContainer
    deployment: Deployment


@dataclass(frozen=True)
class _FormerServer:
    """The gateway and server before the switch."""

    front: Container
    """The container with the published port: a gateway, or the server itself."""
    server: ServerContainer | None
    deployment: Deployment | None
    """None if it was not healthy."""
    running: bool


class DockerHandover(BaseHandover):
    """The new container serves; the former one can be started again."""

    def __init__(
        self,
        containers: _EnvironmentContainers,
        lock: Lock,
        new: _HealthyServer,
        former: _FormerServer | None,
    ) -> None:
        super().__init__(lock)
        self._containers = containers
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
            self._containers.keep_only(self._new.front, self._new.server)

    def _revert(self) -> None:
        with engine.errors():
            _revert_switch(self._containers, self._former)

    def _close(self) -> None:
        super()._close()
        self._containers.client.close()


class _EnvironmentContainers:
    """The containers, volumes and the network of an environment."""

    def __init__(self, client: DockerClient, scope: str, environment: str) -> None:
        self.client = client
        self.scope = scope
        self.had_log = True
        """Whether a prediction log existed before this command."""
        self.environment = environment
        self._labels = container.labels(scope, environment)
        self._filters: dict[str, str | list[str] | bool] = {
            "label": [f"{key}={text}" for key, text in self._labels.items()]
        }

    # --- queries ------------------------------------------------------------------------------

    def all(self) -> list[Container]:
        found = self.client.containers.list(all=True, filters=self._filters, ignore_removed=True)
        every = [Container(self.client, each) for each in found]
        return [
            (
                Gateway
                if one.role in (GATEWAY_ROLE, OLD_GATEWAY_ROLE, TRIAL_ROLE)
                else ServerContainer
            )(self.client, each)
            for one, each in zip(every, found, strict=True)
        ]

    def servers(self) -> list[ServerContainer]:
        return [each for each in self.all() if isinstance(each, ServerContainer)]

    def gateways(self) -> list[Gateway]:
        return [each for each in self.all() if isinstance(each, Gateway)]

    def get(self, role: str) -> Container | None:
        return next((each for each in self.all() if each.role == role), None)

    def server(self, colour: str) -> ServerContainer | None:
        return next((each for each in self.servers() if each.colour == colour != ""), None)

    def network(self) -> Network | None:
        return gateway.find_network(self.client, self._labels)

    def addresses(self) -> Mapping[str, str]:
        network = self.network()
        return {} if network is None else gateway.addresses(network)

    def former(self, home: Home) -> _FormerServer | None:
        """Return what serves, healthy or not."""
        front = self.get(GATEWAY_ROLE) or self.get(DIRECT_ROLE)
        if front is None:
            return None
        readiness = front.check_ready()
        if isinstance(front, ServerContainer):
            server: ServerContainer | None = front
        elif readiness is not None:
            server = self.server(readiness.colour)
        else:
            server = next((each for each in self.servers() if each.colour), None)
        healthy = (
            readiness is not None and readiness.ready and server is not None and server.running
        )
        deployment = (
            server.deployment(readiness.url, home) if healthy and readiness and server else None
        )
        return _FormerServer(front, server, deployment, front.running)

    # --- the prediction log -------------------------------------------------------------------

    def logs(self) -> list[Volume]:
        """Return the volume of the prediction log, if it exists."""
        every = self.client.volumes.list(filters=self._filters)
        return [each for each in every if _keeps_log(each)]

    def fetch_log(self, placement: Placement) -> None:
        """Copy the prediction log to the configured folder."""
        if placement.serving.prediction_log.enabled:
            for each in [each for each in self.servers() if each.logs][:1]:
                copy_prediction_log.copy_log(
                    each.predictions(), server_arguments.log_folder(placement), placement.serving
                )

    def remove_log(self) -> None:
        for each in self.logs():
            each.remove()

    # --- removal ------------------------------------------------------------------------------

    def remove(self, containers: Iterable[Container]) -> None:
        """Remove containers and unused volumes, except that of the log."""
        for each in containers:
            each.remove()
        used = {name for each in self.all() for name in each.volumes}
        used |= container_shadow.volumes(self.client, self.scope)
        for volume in self.client.volumes.list(filters=self._filters):
            if volume.name not in used and not _keeps_log(volume):
                volume.remove()

    def clear(self) -> None:
        """Remove everything except the log."""
        container_shadow.discard(self.client, self.scope, self.environment)
        self.remove(self.all())
        network = self.network()
        if network is not None:
            network.remove()

    def keep_only(self, front: Container, server: ServerContainer | None) -> None:
        """End all other containers after their open requests."""
        kept = {front.id, *([] if server is None else [server.id])}
        others = [each for each in self.all() if each.id not in kept]
        for each in others:
            if each.running:
                each.stop()
        self.remove(others)

    # --- recovery of an interrupted command ---------------------------------------------------

    def recover(self) -> None:
        """Decide an interrupted switch: a server that the gateway forwards to is kept."""
        self.had_log = bool(self.logs())
        waiting = self.get(OLD_GATEWAY_ROLE) or self.get(OLD_DIRECT_ROLE)
        front = self.get(GATEWAY_ROLE)
        if waiting is not None:
            if (
                readiness := None if front is None else front.check_ready()
            ) is None or not readiness.ready:
                self.restore(waiting)
            else:
                self.remove([waiting])
        elif (direct := self.get(DIRECT_ROLE)) is not None and len(self.all()) > 1:
            self.restore(direct)
        front = self.get(GATEWAY_ROLE)
        if isinstance(front, Gateway):
            self._recover_servers(front)
        elif front is None and self.get(DIRECT_ROLE) is None:
            self.clear()
        self.remove(each for each in self.all() if each.role in (TRIAL_ROLE, container.FILL_ROLE))

    def restore(self, front: Container) -> None:
        """Give the published port back to a container, and start it if possible."""
        self.remove(
            each
            for each in self.all()
            if each.id != front.id
            and (isinstance(each, Gateway) or isinstance(front, ServerContainer))
        )
        _restore_name(front)
        with contextlib.suppress(PipelineError), engine.errors():
            if not front.running:
                front.start()
            if isinstance(front, ServerContainer):
                front.wait(front)

    def _recover_servers(self, front: Gateway) -> None:
        """Keep one server, and write a configuration that matches nginx's state."""
        if not front.running:
            with contextlib.suppress(PipelineError), engine.errors():
                front.start()
        servers = [each for each in self.servers() if each.colour]
        readiness = front.wait_for_readiness()
        if len(servers) < len(COLOURS):
            if readiness is not None and readiness.colour == "":
                self.clear()
            return
        if readiness is None:
            self.remove(servers[1:])
            return
        ready = [each for each in servers if _is_ready(front, each)]
        serving = next((each for each in ready if each.colour == readiness.colour), None)
        kept = serving or next(iter(ready), self.server(readiness.colour) or servers[0])
        front.switch(kept, self.addresses())
        kept.keep_running()
        self.keep_only(front, kept)


def _is_ready(front: Gateway, server: ServerContainer) -> bool:
    readiness = front.check_ready(front.trial(server))
    return readiness is not None and readiness.ready


def _restore_name(front: Container) -> None:
    """Give a former container its name back."""
    role = GATEWAY_ROLE if isinstance(front, Gateway) else DIRECT_ROLE
    if front.role != role:
        front.rename_role(role)


def _switch(
    containers: _EnvironmentContainers, spec: ContainerSpec
) -> tuple[_HealthyServer, _FormerServer | None]:
    """Start, verify and switch; on any error the former server serves as before."""
    home = spec.placement.home
    former = containers.former(home)
    if former is not None and former.deployment is not None and former.server is not None:
        front, server = former.front, former.server
        same = front.has_labels(spec.gateway_labels) and server.has_labels(spec.labels)
        if isinstance(front, Gateway) and same and _healthy(former.deployment, spec):
            return _HealthyServer(front, server, former.deployment), former
    try:
        return _start(containers, spec, former), former
    except BaseException:
        _revert_switch(containers, former)
        raise


def _start(
    containers: _EnvironmentContainers, spec: ContainerSpec, former: _FormerServer | None
) -> _HealthyServer:
    """Start a server of the free colour, verify it, and switch to it."""
    network = gateway.make_network(containers.client, spec)
    addresses = gateway.addresses(network)
    used = {each.colour for each in containers.servers()}
    colour = next(each for each in COLOURS if each not in used)
    volume = container.create_content_volume(containers.client, spec)
    own = addresses[colour]
    server = container.create(containers.client, spec, volume, colour, network, own)
    server.start()
    known = None if former is None else former.front
    if isinstance(known, Gateway) and known.has_labels(spec.gateway_labels) and known.running:
        front, leads = known, False
    else:
        front, leads = _publish(containers, spec, server, network, former)
    if not leads:
        _verify(front, server, spec, front.trial(server))
        front.switch(server, addresses)
    url = _verify(front, server, spec)
    for each in (front, server):
        each.keep_running()
    return _HealthyServer(front, server, server.deployment(url, spec.placement.home))


def _publish(
    containers: _EnvironmentContainers,
    spec: ContainerSpec,
    server: ServerContainer,
    network: Network,
    former: _FormerServer | None,
) -> tuple[Gateway, bool]:
    """Start a gateway at the address; return whether it forwards to the server already."""
    port = spec.placement.section.port
    if former is None:
        return _gateway(containers, spec, GATEWAY_ROLE, port, network), False
    in_the_way = former.front.has_address_of(spec)
    proved = in_the_way and former.deployment is not None
    port = port or (in_the_way and former.front.port) or 0
    if proved:
        trial = _gateway(containers, spec, TRIAL_ROLE, 0, network)
        _verify(trial, server, spec, trial.trial(server))
        containers.remove([trial])
        logger.warning(
            "%s: the gateway is replaced; the port is closed for about a second",
            spec.placement.name,
        )
    if in_the_way or former.deployment is None:
        former.front.stop()
    former.front.rename_role(
        OLD_GATEWAY_ROLE if isinstance(former.front, Gateway) else OLD_DIRECT_ROLE
    )
    return _gateway(
        containers, spec, GATEWAY_ROLE, port, network, server if proved else None
    ), proved


def _gateway(
    containers: _EnvironmentContainers,
    spec: ContainerSpec,
    role: str,
    port: int,
    network: Network,
    server: ServerContainer | None = None,
) -> Gateway:
    """Start a gateway that forwards to the server, or to none yet."""
    made = gateway.create(containers.client, spec, role, port, network)
    made.write_initial_configuration(server, gateway.addresses(network))
    made.start()
    return made


def _verify(
    front: Gateway,
    server: ServerContainer,
    spec: ContainerSpec,
    headers: Mapping[str, str] | None = None,
) -> str:
    """Wait until the server is ready, and check its golden predictions; return its URL.

    Raises:
        Refused: it rejects the bundle, or its predictions are wrong.
        EnvironmentFault: it ended or was not ready in time; has the log's last line.
    """
    url = server.wait(front, headers)
    probe.probe(url, spec.bundle, spec.version, spec.token, headers)
    return url


def _revert_switch(containers: _EnvironmentContainers, former: _FormerServer | None) -> None:
    """Remove what was started, and let the former server serve again."""
    if former is None:
        containers.clear()
        if not containers.had_log:
            containers.remove_log()
        return
    front, server = former.front, former.server
    try:
        with engine.errors():
            if isinstance(front, Gateway) and front.switched:
                front.switch(server, containers.addresses())
                containers.keep_only(front, server)
            kept = {front.id, *([] if server is None else [server.id])}
            containers.remove(each for each in containers.all() if each.id not in kept)
            _restore_name(front)
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
    return container.LOG_LABEL.items() <= labels.items()


def _healthy(deployment: Deployment, spec: ContainerSpec) -> bool:
    try:
        probe.probe(deployment.url, spec.bundle, spec.version, spec.token)
    except Refused:
        return False
    return True


def _reader(
    client: DockerClient, shadow: dict[str, Any]
) -> container_shadow.ReaderContainer | None:
    return container_shadow.ReaderContainer.find(
        client, container_shadow.ShadowKey(**shadow["whose"])
    )


def _serving(
    client: DockerClient, scope: str, placement: Placement, expected: Deployment
) -> tuple[ServerContainer, Network]:
    """Return the server of an environment and its network, if it serves what is expected."""
    containers = _EnvironmentContainers(client, scope, placement.name)
    former, network = containers.former(placement.home), containers.network()
    server = None if former is None or former.deployment is None else former.server
    if server is None or server.label("digest") != expected.digest:
        raise EnvironmentFault(f"{placement.name} no longer serves bundle {expected.digest[:12]}")
    if network is None or not server.colour:
        raise EnvironmentFault(
            f"{placement.name}'s server has no gateway; it was deployed by an earlier version",
            hint=f"deploy it again: 'ml-pipeline deploy {placement.name}'",
        )
    return server, network


def _known_scope(home: Home) -> str | None:
    """Return the identifier of this home's containers; None if it never had one."""
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
            expected="eight hexadecimal digits, as in the labels of this home's containers",
        )
    return text


def _scope(home: Home) -> str:
    scope = _known_scope(home)
    if scope is None:
        scope = secrets.token_hex(4)
        workdir.write_text(home / FILE, scope + "\n")
    return scope
