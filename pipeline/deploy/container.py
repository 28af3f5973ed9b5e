"""One server container: made, started, proved, reached and ended.

What it serves stands in its labels, and its part in a switch in the end of its name:

========= ====================================================================
(nothing) it serves
``.old``  it served before, and waits until the switch is decided
``.next`` made, to serve next
``.new``  proves the new version on a port of its own
``.fill`` never started; the bundle is laid through it into the volume
========= ====================================================================
"""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from pipeline.bundle.reader import MANIFEST, Bundle
from pipeline.deploy import arguments, checks, enclosure, engine, ports
from pipeline.deploy.base import Deployment, Placement
from pipeline.deploy.state import address
from pipeline.errors import EnvironmentFault, Refused, UsageError
from pipeline.home import Home
from pipeline.serving.access import LOOPBACK

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

SERVES, OLD, NEXT, NEW, FILL = "", ".old", ".next", ".new", ".fill"

LABEL = "ml-pipeline."
PORT = "8000/tcp"
PLACE = "/srv/ml-pipeline"
"""Port and folder of docker/serve.py."""
USER = 10001
PROCESSES = 128
START_SECONDS = 60.0
END_SECONDS = 40
"""Longer than the server takes to drain, so that only a hung one is killed."""
READY_SECONDS = 2.0
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

    @property
    def name(self) -> str:
        return f"{self.bundle.project}-{self.placement.name}-{self.scope}"

    @property
    def labels(self) -> dict[str, str]:
        section = self.placement.section
        return labels(self.scope, self.placement.name) | {
            f"{LABEL}project": self.bundle.project,
            f"{LABEL}version": "" if self.version is None else str(self.version),
            f"{LABEL}digest": self.bundle.digest,
            f"{LABEL}address": f"{section.host} {section.port}",
            f"{LABEL}url": section.url or "",
            f"{LABEL}settings": self._settings(),
        }

    def _settings(self) -> str:
        """Return a digest of what else a running container cannot be given."""
        section, serving = self.placement.section, self.placement.serving
        values = [self.image, section.memory, section.network]
        values += [serving.token_env, *arguments.limits(serving)]
        return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


class Server:
    """One container."""

    def __init__(self, client: DockerClient, container: Container) -> None:
        self._client = client
        self._container = container

    @property
    def id(self) -> str:
        return str(self._container.id)

    @property
    def role(self) -> str:
        return str(self._container.name).rpartition(self._label("scope"))[2]

    @property
    def version(self) -> int | None:
        text = self._label("version")
        return int(text) if text else None

    @property
    def volumes(self) -> list[str]:
        return [each["Name"] for each in self._container.attrs["Mounts"] if "Name" in each]

    @property
    def running(self) -> bool:
        return bool(self._container.status == "running")

    @property
    def port(self) -> int | None:
        """The published port, while it runs."""
        return next((port for _, port in self._published()), None)

    def at_address_of(self, wanted: Wanted) -> bool:
        return self._label("address") == wanted.labels[f"{LABEL}address"]

    def is_like(self, wanted: Wanted) -> bool:
        return all(self._container.labels.get(key) == text for key, text in wanted.labels.items())

    def deployment(self, url: str, home: Home) -> Deployment:
        digest = self._label("digest")
        return Deployment(
            url=url,
            version=self.version,
            digest=digest,
            pid=int(self._container.attrs["State"]["Pid"]),
            bundle=home / "released" / digest,
        )

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

    def stop(self) -> None:
        """Let it finish its requests and end; kill it only if it hangs."""
        self._container.stop(timeout=END_SECONDS)

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

    def prove(self, wanted: Wanted) -> str:
        """Wait until it is ready and has given its golden predictions; return where it is reached.

        Raises:
            Refused: it says no to the bundle, or its answers are wrong.
            EnvironmentFault: it ended or was not ready in time; the log's last line is told.
        """
        url = self.wait()
        checks.probe(url, wanted.bundle, wanted.version, wanted.token)
        return url

    def wait(self) -> str:
        """Wait until it is ready; return where it is reached. Raises as ``prove`` does."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self._container.reload()
            if not self.running:
                raise self._ended()
            found = self.answers()
            if found is not None:
                # a likelier address may have been asked a moment too early
                return self.answers() or found
            time.sleep(0.05)
        tried = ", ".join(self._addresses()) or "no address that is reached from here"
        raise EnvironmentFault(
            f"the server was not ready within {START_SECONDS:g} s; tried {tried}",
            hint="give the environment a host, a network or a url that this machine reaches",
        )

    def answers(self) -> str | None:
        """Return the address at which it is ready; None if it is at none."""
        import httpx

        if not self.running:
            return None
        for url in self._addresses():
            try:
                with checks.client(url, timeout=READY_SECONDS) as api:
                    if api.get("/health/ready").status_code == httpx.codes.OK:
                        return url
            except httpx.HTTPError:
                continue
        return None

    # --- where it is --------------------------------------------------------------------------

    def _addresses(self) -> list[str]:
        """Return the addresses that may be reached from here, the likeliest first.

        On a machine that is not the engine's, a loopback address is another server's. Beside a
        local engine the container's own address is reached too, from a container as well.
        """
        if url := self._label("url"):
            return [url.rstrip("/")]
        remote = engine.remote_host()
        beside = remote is None and enclosure.container() is None
        published = []
        for host, port in self._published():
            if host in WILDCARDS and remote is not None:
                published.append(f"http://{address(remote)}:{port}")
            elif beside or host not in (*LOOPBACK, *WILDCARDS):
                published.append(f"http://{address(host)}:{port}")
        networks = self._container.attrs["NetworkSettings"]["Networks"].values()
        own = [
            f"http://{address(each['IPAddress'])}:8000" for each in networks if each["IPAddress"]
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
            beside = engine.remote_host() is None and enclosure.container() is None
            owner = ports.owner(port) if beside else "something else on the engine's machine"
        return EnvironmentFault(
            f"port {port} of {host} is in use by {owner}",
            hint="end that, or give the environment another port",
        )

    def _asked(self) -> tuple[str, int]:
        bound = self._container.attrs["HostConfig"]["PortBindings"][PORT][0]
        return bound["HostIp"], int(bound["HostPort"])

    def _ended(self) -> Exception:
        state = self._container.attrs["State"]
        if state.get("OOMKilled"):
            return EnvironmentFault(
                "the server did not start: it needs more memory than it may take",
                hint="raise environments.NAME.memory",
            )
        lines = self._container.logs(tail=1).decode(errors="replace").strip().splitlines()
        last = lines[-1].removeprefix("error: ") if lines else f"exit code {state['ExitCode']}"
        kinds = {Refused.exit_code: Refused, UsageError.exit_code: UsageError}
        kind = kinds.get(state["ExitCode"], EnvironmentFault)
        return kind(f"the server did not start: {last}")

    def _label(self, name: str) -> str:
        return str(self._container.labels.get(LABEL + name, ""))


def labels(scope: str, environment: str) -> dict[str, str]:
    """Return what all containers and volumes of an environment have in common."""
    return {f"{LABEL}scope": scope, f"{LABEL}environment": environment}


def publishes(container: Container, port: int) -> bool:
    bound = container.attrs["NetworkSettings"]["Ports"].values()
    return any(each["HostPort"] == str(port) for one in bound for each in one or [])


def create(client: DockerClient, wanted: Wanted, volume: str, role: str, port: int) -> Server:
    """Make a container that may do nothing but serve; ``port`` 0 is any, and of it alone.

    Non-root without capabilities, on a read-only root, with a limit on memory and processes.
    """
    from docker.types import Mount

    section = wanted.placement.section
    host = "127.0.0.1" if section.host == "localhost" else section.host
    command = ["--published", host]
    command += arguments.limits(wanted.placement.serving)
    command += [] if wanted.version is None else ["--version", str(wanted.version)]
    own = wanted.labels | ({} if role == NEXT else {f"{LABEL}url": ""})
    published: dict[str, Any] = {PORT: (host, port or None)}
    return Server(
        client,
        client.containers.create(
            wanted.image,
            command,
            name=wanted.name + role,
            labels=own,
            user=f"{USER}:{USER}",
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            mem_limit=section.memory,
            memswap_limit=section.memory,
            pids_limit=PROCESSES,
            mounts=[Mount(PLACE, volume, type="volume", read_only=True)],
            ports=published,
            network=section.network,
        ),
    )


def fill(client: DockerClient, wanted: Wanted) -> str:
    """Lay bundle and token into a new volume, and return its name.

    They travel through the engine's API, so that it may run on another machine. The container
    that takes them is never started.
    """
    from docker.types import Mount

    common = labels(wanted.scope, wanted.placement.name)
    name = f"{wanted.name}-{secrets.token_hex(4)}"
    client.volumes.create(name, labels=common)
    mount = Mount(PLACE, name, type="volume")
    carrier = client.containers.create(
        wanted.image, name=wanted.name + FILL, labels=common, mounts=[mount]
    )
    try:
        with tempfile.TemporaryFile() as stream:
            _pack(wanted, stream)
            stream.seek(0)
            carrier.put_archive(PLACE, stream)
    finally:
        carrier.remove(force=True)
    return name


def _pack(wanted: Wanted, stream: IO[bytes]) -> None:
    with tarfile.open(fileobj=stream, mode="w") as archive:
        folder = tarfile.TarInfo("bundle")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o555
        archive.addfile(folder)
        for name in (MANIFEST, *wanted.bundle.manifest["files"]):
            file = wanted.bundle.path / name
            entry = tarfile.TarInfo(f"bundle/{name}")
            entry.size, entry.mode = file.stat().st_size, 0o444
            with file.open("rb") as content:
                archive.addfile(entry, content)
        if wanted.token is not None:
            secret = wanted.token.encode()
            entry = tarfile.TarInfo("token")
            entry.size, entry.mode = len(secret), 0o400
            entry.uid = entry.gid = USER
            archive.addfile(entry, io.BytesIO(secret))
