"""The containers of the docker target.

The labels of a container have what it serves, the end of its name has its role:

==================== =======================================================================
``.blue`` ``.green`` a server; the gateway forwards requests to one of the two
``.gateway``         has the published port: ``ml_pipeline.targets.docker.gateway``
``.gateway.old``     the former gateway, until the switch is decided
``.gateway.trial``   forwards to a new server while another container has the published port
(none) ``.old``      a server with the published port itself, of versions without gateways
``.fill``            never started; used to write the bundle into the volume
==================== =======================================================================
"""

from __future__ import annotations

import hashlib
import json
import secrets
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core.errors import EnvironmentFault, PipelineError
from ml_pipeline.core.home import Home
from ml_pipeline.core.tar_archive import add_bytes, add_folder, add_read_only
from ml_pipeline.serving.access import LOOPBACK
from ml_pipeline.targets import container_detection, ports, server_arguments
from ml_pipeline.targets.base import Deployment, Placement
from ml_pipeline.targets.docker import engine
from ml_pipeline.targets.server_exit import startup_error
from ml_pipeline.targets.server_records import address
from ml_pipeline.traffic import probe

if TYPE_CHECKING:
    import docker.models.containers
    from docker import DockerClient
    from docker.models.networks import Network

DIRECT_ROLE, OLD_DIRECT_ROLE, FILL_ROLE = "", ".old", ".fill"
BLUE, GREEN = "blue", "green"
COLOURS = BLUE, GREEN

LABEL = "ml-pipeline."
LOG_LABEL = {f"{LABEL}keeps": "predictions"}
"""Label of the volume with the prediction log, which rollovers keep."""
PORT = "8000/tcp"
CONTENT_FOLDER = "/srv/ml-pipeline"
"""Port and folder of docker/serve.py."""
CONTROL_FOLDER = "/run/ml-pipeline"
"""Folder in memory with the server's control socket, shared with a live shadow: docker/serve.py"""
IN_MEMORY = {"type": "tmpfs", "device": "tmpfs", "o": "size=64k,mode=0777,nosuid,nodev,noexec"}
USER = 10001
PROCESSES = 128
START_SECONDS = 60.0
CHECK_SECONDS = 0.2
"""Interval of checks whether the gateway still runs."""
END_SECONDS = 40
"""Longer than the server takes to drain, so that only a hung one is killed."""
READY_SECONDS = 2.0
SERVED_BY = "x-served-by"
"""Response header of a gateway with the colour of the server that responded."""
HARDENING: Any = {
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
}
WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - read, not bound
PORT_IN_USE = ("port is already allocated", "address already in use", "ports are not available")


@dataclass(frozen=True)
class ContainerSpec:
    """What is to be served, and where."""

    placement: Placement
    bundle: Bundle
    version: int | None
    scope: str
    """Identifier of the home in the names and labels of its containers."""
    token: str | None
    image: str

    gateway: str
    """Id of the gateway's image."""
    redact_key: bytes | None = None
    """The key of ``serving.redact``, if the server needs it."""

    @property
    def name(self) -> str:
        return f"{self.bundle.project}-{self.placement.name}-{self.scope}"

    @property
    def log(self) -> str | None:
        """The volume of the prediction log, which outlives its servers; None if disabled."""
        return f"{self.name}-log" if self.placement.serving.prediction_log.enabled else None

    @property
    def arguments(self) -> list[str]:
        """The arguments of the server from the configuration."""
        placement = self.placement
        return [
            *server_arguments.limit_arguments(placement.serving),
            *server_arguments.raw_rows_arguments(
                placement.name, placement.section, placement.serving
            ),
            *server_arguments.worker_arguments(placement.section, placement.serving),
        ]

    @property
    def labels(self) -> dict[str, str]:
        """The labels of the server."""
        section, serving = self.placement.section, self.placement.serving
        settings = [self.image, section.memory_limit, section.host, serving.token_env]
        settings += server_arguments.prediction_log_arguments(serving, server_arguments.LOG_FOLDER)
        return labels(self.scope, self.placement.name) | {
            f"{LABEL}project": self.bundle.project,
            f"{LABEL}version": "" if self.version is None else str(self.version),
            f"{LABEL}digest": self.bundle.digest,
            f"{LABEL}max-body": str(serving.max_body),
            f"{LABEL}settings": _digest(*settings, *self.arguments),
        }

    @property
    def gateway_labels(self) -> dict[str, str]:
        section = self.placement.section
        return labels(self.scope, self.placement.name) | {
            f"{LABEL}project": self.bundle.project,
            f"{LABEL}address": f"{section.host} {section.port}",
            f"{LABEL}url": section.url or "",
            f"{LABEL}settings": _digest(self.gateway, section.network),
        }


def _digest(*values: str | None) -> str:
    """Return a digest of settings that cannot change in a running container."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Readiness:
    """Whether an address is ready, and which server responds there."""

    url: str
    ready: bool
    colour: str
    """Colour of the server that responds; empty without a server or a gateway."""


class Container:
    """One container of an environment."""

    kind = "container"
    serves_bundle = False
    """Whether it runs ``ml_pipeline.serving``."""

    def __init__(self, client: DockerClient, container: docker.models.containers.Container) -> None:
        self._client = client
        self._container = container

    @property
    def id(self) -> str:
        return str(self._container.id)

    @property
    def role(self) -> str:
        return str(self._container.name).rpartition(self.label("scope"))[2]

    @property
    def volumes(self) -> list[str]:
        return [each["Name"] for each in self._container.attrs["Mounts"] if "Name" in each]

    @property
    def logs(self) -> bool:
        """Whether its server keeps a prediction log."""
        mounts = self._container.attrs["Mounts"]
        return any(each["Destination"] == server_arguments.LOG_VOLUME for each in mounts)

    def predictions(self) -> Iterator[bytes]:
        """Return the folder of its prediction log as a tar; the container need not run."""
        return self._container.get_archive(str(server_arguments.LOG_FOLDER))[0]

    @property
    def name(self) -> str:
        return str(self._container.name)

    @property
    def running(self) -> bool:
        return bool(self._container.status == "running")

    @property
    def port(self) -> int | None:
        """The published port, while it runs."""
        return next((port for _, port in self._published()), None)

    def has_address_of(self, spec: ContainerSpec) -> bool:
        return self.label("address") == spec.gateway_labels[f"{LABEL}address"]

    def has_labels(self, labels: Mapping[str, str]) -> bool:
        """Whether it has these labels."""
        return all(self._container.labels.get(key) == text for key, text in labels.items())

    def label(self, name: str) -> str:
        return str(self._container.labels.get(LABEL + name, ""))

    # --- lifecycle ----------------------------------------------------------------------------

    def start(self) -> None:
        """Start it.

        Raises:
            EnvironmentFault: its port is in use.
        """
        from docker.errors import APIError

        try:
            self._container.start()
        except APIError as error:
            message = str(error.explanation or error).lower()
            if any(text in message for text in PORT_IN_USE):
                raise self._port_in_use_error() from error
            raise
        self._container.reload()

    def stop(self) -> None:
        """End it after its open requests; kill it only if it hangs."""
        self._container.stop(timeout=END_SECONDS)
        self._container.reload()

    def remove(self) -> None:
        from docker.errors import NotFound

        try:
            self._container.remove(v=True, force=True)
        except NotFound:
            return

    def rename_role(self, role: str) -> None:
        self._container.reload()
        base = str(self._container.name).removesuffix(self.role)
        self._container.rename(base + role)
        self._container.reload()

    def keep_running(self) -> None:
        """Let the engine restart it after a failure or a reboot."""
        policy: Any = {"Name": "unless-stopped"}
        self._container.update(restart_policy=policy)

    def refresh(self) -> None:
        """Read again how it is; it has to run.

        Raises:
            Refused: it has ended, and said no to its bundle.
            EnvironmentFault: it has ended; its log's last line is told.
        """
        self.reload()
        if not self.running:
            raise self._start_error()

    def reload(self) -> None:
        self._container.reload()

    # --- addresses ----------------------------------------------------------------------------

    def check_ready(self, headers: Mapping[str, str] | None = None) -> Readiness | None:
        """Check whether it is ready, at the first address that responds."""
        import httpx

        if not self.running:
            return None
        unready = None
        for url in self.addresses():
            try:
                with probe.client(url, timeout=READY_SECONDS) as api:
                    response = api.get("/health/ready", headers=headers)
            except httpx.HTTPError:
                continue
            ready = response.status_code == httpx.codes.OK
            readiness = Readiness(url, ready, response.headers.get(SERVED_BY, ""))
            if ready:
                return readiness
            unready = unready or readiness
        return unready

    def addresses(self) -> list[str]:
        """Return the addresses that may be reachable from here, the likeliest first.

        With a remote engine, loopback addresses are those of this machine and not used. With a
        local engine the container's own address is reachable, too, also from a container.
        """
        if url := self.label("url"):
            return [url.rstrip("/")]
        remote = engine.remote_host()
        beside = remote is None and container_detection.container_marker() is None
        published = []
        for host, port in self._published():
            if host in WILDCARDS and remote is not None:
                published.append(f"http://{address(remote)}:{port}")
            elif beside or host not in (*LOOPBACK, *WILDCARDS):
                published.append(f"http://{address(host)}:{port}")
        private = str(self._container.name).removesuffix(self.role)
        networks = self._container.attrs["NetworkSettings"]["Networks"].items()
        own = [
            f"http://{address(each['IPAddress'])}:8000"
            for name, each in networks
            if each["IPAddress"] and name != private
        ]
        return published if remote is not None else [*published, *own]

    def _published(self) -> Iterator[tuple[str, int]]:
        bound = self._container.attrs["NetworkSettings"]["Ports"].get(PORT) or []
        for each in bound:
            yield each["HostIp"], int(each["HostPort"])

    def _port_in_use_error(self) -> EnvironmentFault:
        host, port = self._requested_address()
        others = self._client.containers.list(ignore_removed=True)
        owner = next((f"container {o.name}" for o in others if publishes(o, port)), None)
        if owner is None:
            beside = engine.remote_host() is None and container_detection.container_marker() is None
            owner = (
                ports.describe_owner(port) if beside else "another process on the engine's machine"
            )
        return EnvironmentFault(
            f"port {port} of {host} is in use by {owner}",
            hint="end it, or set another port for the environment",
        )

    def _requested_address(self) -> tuple[str, int]:
        bound = self._container.attrs["HostConfig"]["PortBindings"][PORT][0]
        return bound["HostIp"], int(bound["HostPort"])

    def _start_error(self) -> PipelineError:
        state = self._container.attrs["State"]
        if state.get("OOMKilled"):
            return EnvironmentFault(
                f"the {self.kind} did not start: it ran out of memory",
                hint="raise environments.NAME.memory",
            )
        output = self._container.logs(tail=1).decode(errors="replace")
        return startup_error(
            state["ExitCode"], output, program=self.kind, serves_bundle=self.serves_bundle
        )


class ServerContainer(Container):
    """The container of a server."""

    kind = "server"
    serves_bundle = True

    @property
    def colour(self) -> str:
        """Empty if it has the published port itself."""
        return self.role.removeprefix(".") if self.role.removeprefix(".") in COLOURS else ""

    @property
    def version(self) -> int | None:
        text = self.label("version")
        return int(text) if text else None

    @property
    def image(self) -> str:
        """Id of its image."""
        return str(self._container.attrs["Image"])

    @property
    def content(self) -> str:
        """The volume with its bundle and token."""
        return self._volumes[CONTENT_FOLDER]

    @property
    def control(self) -> str | None:
        """The volume with its control socket; None if it was created without one."""
        return self._volumes.get(CONTROL_FOLDER)

    @property
    def _volumes(self) -> dict[str, str]:
        mounts = self._container.attrs["Mounts"]
        return {each["Destination"]: each["Name"] for each in mounts if "Name" in each}

    @property
    def max_body(self) -> int:
        return int(self.label("max-body"))

    def deployment(self, url: str, home: Home) -> Deployment:
        digest = self.label("digest")
        return Deployment(
            url=url,
            version=self.version,
            digest=digest,
            pid=int(self._container.attrs["State"]["Pid"]),
            bundle=home / "released" / digest,
        )

    def wait(self, front: Container, headers: Mapping[str, str] | None = None) -> str:
        """Wait until it is ready behind ``front``; return its URL.

        Raises:
            Refused: it rejects the bundle.
            EnvironmentFault: it ended or was not ready in time; has the log's last line.
        """
        started = looked = time.monotonic()
        while (now := time.monotonic()) < started + START_SECONDS:
            self.refresh()
            if now > looked + CHECK_SECONDS:
                front.refresh()
                looked = now
            found = front.check_ready(headers)
            if found is not None and found.ready:
                # a likelier address may be ready by now
                again = front.check_ready(headers)
                return again.url if again is not None and again.ready else found.url
            time.sleep(0.05)
        tried = ", ".join(front.addresses()) or "no reachable address"
        raise EnvironmentFault(
            f"the server was not ready within {START_SECONDS:g} s; tried {tried}",
            hint="set a host, network or url of the environment that this machine can reach",
        )


def labels(scope: str, environment: str) -> dict[str, str]:
    """Return what all containers and volumes of an environment have in common."""
    return {f"{LABEL}scope": scope, f"{LABEL}environment": environment}


def publishes(container: docker.models.containers.Container, port: int) -> bool:
    bound = container.attrs["NetworkSettings"]["Ports"].values()
    return any(each["HostPort"] == str(port) for one in bound for each in one or [])


def create(
    client: DockerClient, spec: ContainerSpec, volume: str, colour: str, network: Network, own: str
) -> ServerContainer:
    """Create the container of a server with the address ``own`` on ``network``.

    Non-root without capabilities, on a read-only root, with limits on memory and processes.
    """
    from docker.types import Mount

    section = spec.placement.section
    host = "127.0.0.1" if section.host == "localhost" else section.host
    common = labels(spec.scope, spec.placement.name)
    control = f"{volume}-control"
    client.volumes.create(control, driver="local", driver_opts=IN_MEMORY, labels=common)
    command = ["--published", host]
    command += spec.arguments
    command += server_arguments.prediction_log_arguments(
        spec.placement.serving, server_arguments.LOG_FOLDER
    )
    command += [] if spec.version is None else ["--version", str(spec.version)]
    mounts = [Mount(CONTENT_FOLDER, volume, type="volume", read_only=True)]
    if spec.log is not None:
        mounts.append(Mount(server_arguments.LOG_VOLUME, spec.log, type="volume"))
    joined: Any = {network.name: client.api.create_endpoint_config(ipv4_address=own)}
    return ServerContainer(
        client,
        client.containers.create(
            spec.image,
            command,
            name=f"{spec.name}.{colour}",
            labels=spec.labels,
            user=f"{USER}:{USER}",
            volumes={control: {"bind": CONTROL_FOLDER, "mode": "rw"}},
            mem_limit=section.memory_limit,
            memswap_limit=section.memory_limit,
            tmpfs=scratch(spec.placement),
            pids_limit=PROCESSES,
            mounts=mounts,
            network=network.name,
            networking_config=joined,
            **HARDENING,
        ),
    )


def scratch(placement: Placement) -> dict[str, str] | None:
    """Return the tmpfs mount of the feature worker; None without raw rows."""
    if not server_arguments.computes_features(placement.section, placement.serving):
        return None
    options = f"size={server_arguments.SCRATCH_MIB}m,mode=1777,nosuid,nodev,noexec"
    return {server_arguments.SCRATCH: options}


def create_content_volume(client: DockerClient, spec: ContainerSpec) -> str:
    """Write bundle and token to a new volume, and return its name; create that of the log, too.

    They are sent through the engine's API, so that it may run on another machine. The container
    that receives them is never started.
    """
    from docker.types import Mount

    common = labels(spec.scope, spec.placement.name)
    name = f"{spec.name}-{secrets.token_hex(4)}"
    client.volumes.create(name, labels=common)
    mounts = [Mount(CONTENT_FOLDER, name, type="volume")]
    if spec.log is not None:
        client.volumes.create(spec.log, labels=common | LOG_LABEL)
        mounts.append(Mount(server_arguments.LOG_VOLUME, spec.log, type="volume"))
    carrier = client.containers.create(
        spec.image, name=spec.name + FILL_ROLE, labels=common, mounts=mounts
    )
    try:
        with tempfile.TemporaryFile() as stream:
            _pack(spec, stream)
            stream.seek(0)
            carrier.put_archive("/", stream)
    finally:
        carrier.remove(force=True)
    return name


def _pack(spec: ContainerSpec, stream: IO[bytes]) -> None:
    """Write a tar of the bundle, the secrets, and the log's folder for the server's user.

    It is one archive, since the engine starts a process for each.
    """
    place = CONTENT_FOLDER.removeprefix("/")
    with tarfile.open(fileobj=stream, mode="w") as archive:
        add_read_only(archive, f"{place}/bundle", spec.bundle.path, spec.bundle.files)
        if spec.log is not None:
            log = str(server_arguments.LOG_FOLDER).removeprefix("/")
            add_folder(archive, log, 0o700, owner=USER, mtime=int(time.time()))
        if spec.token is not None:
            add_bytes(archive, f"{place}/token", spec.token.encode(), 0o400, owner=USER)
        if spec.redact_key is not None:
            add_bytes(archive, f"{place}/redact-key", spec.redact_key, 0o400, owner=USER)
