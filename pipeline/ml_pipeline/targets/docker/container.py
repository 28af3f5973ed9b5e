"""The containers of the docker target: made, started, asked and ended.

What one serves stands in its labels, and its part in the end of its name:

==================== =======================================================================
``.blue`` ``.green`` a server; the gateway says which of the two has the requests
``.gateway``         holds the published port: ``ml_pipeline.targets.docker.gateway``
``.gateway.old``     held it before, and waits until the switch is decided
``.gateway.trial``   leads to a new server while another container holds the published port
(nothing) ``.old``   a server that holds the published port itself, of before there were gateways
``.fill``            never started; the bundle is laid through it into the volume
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

DIRECT, DIRECT_OLD, FILL = "", ".old", ".fill"
BLUE, GREEN = "blue", "green"
COLOURS = BLUE, GREEN

LABEL = "ml-pipeline."
KEEPS_LOG = {f"{LABEL}keeps": "predictions"}
"""Label of the volume with the prediction log, which no rollover removes."""
PORT = "8000/tcp"
PLACE = "/srv/ml-pipeline"
"""Port and folder of docker/serve.py."""
CONTROL = "/run/ml-pipeline"
"""Folder in memory with the server's control socket, which a live shadow shares: docker/serve.py"""
IN_MEMORY = {"type": "tmpfs", "device": "tmpfs", "o": "size=64k,mode=0777,nosuid,nodev,noexec"}
USER = 10001
PROCESSES = 128
START_SECONDS = 60.0
LOOK_SECONDS = 0.2
"""How often the engine is asked meanwhile whether the gateway still runs."""
END_SECONDS = 40
"""Longer than the server takes to drain, so that only a hung one is killed."""
READY_SECONDS = 2.0
SERVED_BY = "x-served-by"
"""Header in which a gateway tells the colour that has the requests."""
CONFINED: Any = {
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
}
WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - read, not bound
TAKEN = ("port is already allocated", "address already in use", "ports are not available")


@dataclass(frozen=True)
class Wanted:
    """What is to be served, and where."""

    placement: Placement
    bundle: Bundle
    version: int | None
    scope: str
    """Tells the containers of one home from those of another."""
    token: str | None
    image: str

    gateway: str
    """Id of the gateway's image."""

    @property
    def name(self) -> str:
        return f"{self.bundle.project}-{self.placement.name}-{self.scope}"

    @property
    def log(self) -> str | None:
        """The volume of the prediction log, which outlives its servers; None where it is off."""
        return f"{self.name}-log" if self.placement.serving.prediction_log.enabled else None

    @property
    def arguments(self) -> list[str]:
        """Those of the server that the configuration gives."""
        placement = self.placement
        return [
            *server_arguments.limits(placement.serving),
            *server_arguments.raw_rows(placement.name, placement.section, placement.serving),
            *server_arguments.worker_bounds(placement.section, placement.serving),
        ]

    @property
    def labels(self) -> dict[str, str]:
        """Those of the server."""
        section, serving = self.placement.section, self.placement.serving
        settings = [self.image, section.memory_limit, section.host, serving.token_env]
        settings += server_arguments.prediction_log(serving, server_arguments.LOG_FOLDER)
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
    """Return a digest of what a running container cannot be given."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Answer:
    """What an address said of itself."""

    url: str
    ready: bool
    colour: str
    """Of the server that has the requests; empty where there is none, or no gateway."""


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
        """Return the folder of its prediction log as a tar; it need not run."""
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

    def at_address_of(self, wanted: Wanted) -> bool:
        return self.label("address") == wanted.gateway_labels[f"{LABEL}address"]

    def has(self, wanted: Mapping[str, str]) -> bool:
        """Whether it carries these labels."""
        return all(self._container.labels.get(key) == text for key, text in wanted.items())

    def label(self, name: str) -> str:
        return str(self._container.labels.get(LABEL + name, ""))

    # --- its life -----------------------------------------------------------------------------

    def start(self) -> None:
        """Start it.

        Raises:
            EnvironmentFault: its port belongs to somebody else.
        """
        from docker.errors import APIError

        try:
            self._container.start()
        except APIError as error:
            told = str(error.explanation or error).lower()
            if any(text in told for text in TAKEN):
                raise self._taken() from error
            raise
        self._container.reload()

    def stop(self) -> None:
        """Let it finish its requests and end; kill it only if it hangs."""
        self._container.stop(timeout=END_SECONDS)
        self._container.reload()

    def remove(self) -> None:
        from docker.errors import NotFound

        try:
            self._container.remove(v=True, force=True)
        except NotFound:
            return

    def become(self, role: str) -> None:
        self._container.reload()
        base = str(self._container.name).removesuffix(self.role)
        self._container.rename(base + role)
        self._container.reload()

    def keep_running(self) -> None:
        """Let the engine start it again when it fails or the machine starts."""
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
            raise self._ended()

    def reload(self) -> None:
        self._container.reload()

    # --- where it is --------------------------------------------------------------------------

    def ask(self, headers: Mapping[str, str] | None = None) -> Answer | None:
        """Ask whether it is ready, at the likeliest address where something answers."""
        import httpx

        if not self.running:
            return None
        unready = None
        for url in self.addresses():
            try:
                with probe.client(url, timeout=READY_SECONDS) as api:
                    told = api.get("/health/ready", headers=headers)
            except httpx.HTTPError:
                continue
            ready = told.status_code == httpx.codes.OK
            answer = Answer(url, ready, told.headers.get(SERVED_BY, ""))
            if ready:
                return answer
            unready = unready or answer
        return unready

    def addresses(self) -> list[str]:
        """Return the addresses that may be reached from here, the likeliest first.

        On a machine that is not the engine's, a loopback address is another server's. Beside a
        local engine the container's own address is reached too, from a container as well.
        """
        if url := self.label("url"):
            return [url.rstrip("/")]
        remote = engine.remote_host()
        beside = remote is None and container_detection.container() is None
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

    def _taken(self) -> EnvironmentFault:
        host, port = self._asked()
        others = self._client.containers.list(ignore_removed=True)
        owner = next((f"container {o.name}" for o in others if publishes(o, port)), None)
        if owner is None:
            beside = engine.remote_host() is None and container_detection.container() is None
            owner = ports.owner(port) if beside else "something else on the engine's machine"
        return EnvironmentFault(
            f"port {port} of {host} is in use by {owner}",
            hint="end that, or give the environment another port",
        )

    def _asked(self) -> tuple[str, int]:
        bound = self._container.attrs["HostConfig"]["PortBindings"][PORT][0]
        return bound["HostIp"], int(bound["HostPort"])

    def _ended(self) -> PipelineError:
        state = self._container.attrs["State"]
        if state.get("OOMKilled"):
            return EnvironmentFault(
                f"the {self.kind} did not start: it needs more memory than it may take",
                hint="raise environments.NAME.memory",
            )
        output = self._container.logs(tail=1).decode(errors="replace")
        return startup_error(
            state["ExitCode"], output, program=self.kind, serves_bundle=self.serves_bundle
        )


class Server(Container):
    """One that answers from a bundle."""

    kind = "server"
    serves_bundle = True

    @property
    def colour(self) -> str:
        """Empty where it holds the published port itself."""
        return self.role.removeprefix(".") if self.role.removeprefix(".") in COLOURS else ""

    @property
    def version(self) -> int | None:
        text = self.label("version")
        return int(text) if text else None

    @property
    def image(self) -> str:
        """Id of the image that it was made of."""
        return str(self._container.attrs["Image"])

    @property
    def content(self) -> str:
        """The volume with its bundle and token."""
        return self._volumes[PLACE]

    @property
    def control(self) -> str | None:
        """The volume with its control socket; None where it was made without."""
        return self._volumes.get(CONTROL)

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
        """Wait until it is ready behind ``front``; return where it is reached.

        Raises:
            Refused: it rejects the bundle.
            EnvironmentFault: it ended or was not ready in time; the log's last line is told.
        """
        started = looked = time.monotonic()
        while (now := time.monotonic()) < started + START_SECONDS:
            self.refresh()
            if now > looked + LOOK_SECONDS:
                front.refresh()
                looked = now
            found = front.ask(headers)
            if found is not None and found.ready:
                # a likelier address may have been asked a moment too early
                again = front.ask(headers)
                return again.url if again is not None and again.ready else found.url
            time.sleep(0.05)
        tried = ", ".join(front.addresses()) or "no address that is reached from here"
        raise EnvironmentFault(
            f"the server was not ready within {START_SECONDS:g} s; tried {tried}",
            hint="give the environment a host, a network or a url that this machine reaches",
        )


def labels(scope: str, environment: str) -> dict[str, str]:
    """Return what all containers and volumes of an environment have in common."""
    return {f"{LABEL}scope": scope, f"{LABEL}environment": environment}


def publishes(container: docker.models.containers.Container, port: int) -> bool:
    bound = container.attrs["NetworkSettings"]["Ports"].values()
    return any(each["HostPort"] == str(port) for one in bound for each in one or [])


def create(
    client: DockerClient, wanted: Wanted, volume: str, colour: str, network: Network, own: str
) -> Server:
    """Make a container that may do nothing but serve, with the address ``own`` on ``network``.

    Non-root without capabilities, on a read-only root, with a limit on memory and processes.
    """
    from docker.types import Mount

    section = wanted.placement.section
    host = "127.0.0.1" if section.host == "localhost" else section.host
    common = labels(wanted.scope, wanted.placement.name)
    control = f"{volume}-control"
    client.volumes.create(control, driver="local", driver_opts=IN_MEMORY, labels=common)
    command = ["--published", host]
    command += wanted.arguments
    command += server_arguments.prediction_log(
        wanted.placement.serving, server_arguments.LOG_FOLDER
    )
    command += [] if wanted.version is None else ["--version", str(wanted.version)]
    mounts = [Mount(PLACE, volume, type="volume", read_only=True)]
    if wanted.log is not None:
        mounts.append(Mount(server_arguments.LOG_VOLUME, wanted.log, type="volume"))
    joined: Any = {network.name: client.api.create_endpoint_config(ipv4_address=own)}
    return Server(
        client,
        client.containers.create(
            wanted.image,
            command,
            name=f"{wanted.name}.{colour}",
            labels=wanted.labels,
            user=f"{USER}:{USER}",
            volumes={control: {"bind": CONTROL, "mode": "rw"}},
            mem_limit=section.memory_limit,
            memswap_limit=section.memory_limit,
            tmpfs=scratch(wanted.placement),
            pids_limit=PROCESSES,
            mounts=mounts,
            network=network.name,
            networking_config=joined,
            **CONFINED,
        ),
    )


def scratch(placement: Placement) -> dict[str, str] | None:
    """Return the folder in memory that the feature worker writes to; None where there is none."""
    if not server_arguments.computes_features(placement.section, placement.serving):
        return None
    options = f"size={server_arguments.SCRATCH_MIB}m,mode=1777,nosuid,nodev,noexec"
    return {server_arguments.SCRATCH: options}


def fill(client: DockerClient, wanted: Wanted) -> str:
    """Lay bundle and token into a new volume, and return its name; make that of the log, too.

    They travel through the engine's API, so that it may run on another machine. The container
    that takes them is never started.
    """
    from docker.types import Mount

    common = labels(wanted.scope, wanted.placement.name)
    name = f"{wanted.name}-{secrets.token_hex(4)}"
    client.volumes.create(name, labels=common)
    mounts = [Mount(PLACE, name, type="volume")]
    if wanted.log is not None:
        client.volumes.create(wanted.log, labels=common | KEEPS_LOG)
        mounts.append(Mount(server_arguments.LOG_VOLUME, wanted.log, type="volume"))
    carrier = client.containers.create(
        wanted.image, name=wanted.name + FILL, labels=common, mounts=mounts
    )
    try:
        with tempfile.TemporaryFile() as stream:
            _pack(wanted, stream)
            stream.seek(0)
            carrier.put_archive("/", stream)
    finally:
        carrier.remove(force=True)
    return name


def _pack(wanted: Wanted, stream: IO[bytes]) -> None:
    """Write an archive of the bundle, the token, and the log's folder, which its server alone uses.

    Each call of the engine that takes one starts a process; so it is one.
    """
    place = PLACE.removeprefix("/")
    with tarfile.open(fileobj=stream, mode="w") as archive:
        add_read_only(archive, f"{place}/bundle", wanted.bundle.path, wanted.bundle.files)
        if wanted.log is not None:
            log = str(server_arguments.LOG_FOLDER).removeprefix("/")
            add_folder(archive, log, 0o700, owner=USER, mtime=int(time.time()))
        if wanted.token is not None:
            add_bytes(archive, f"{place}/token", wanted.token.encode(), 0o400, owner=USER)
