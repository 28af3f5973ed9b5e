"""The live shadow of a server in a container: a reader in a container of its own.

It shares a folder in memory with production's server, where that one's control socket is, and
joins the challenger's private network and no other. So production's container and network stay as
they are, and the reader has its own memory and the smaller share of the processor. Its name is the
server's with ``.shadow.CHALLENGER`` in place of the colour; it has no label of an environment.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import tarfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.core import workdir
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.tar_archive import add_bytes, add_folder
from ml_pipeline.targets.base import CopyCounts, ShadowSpec
from ml_pipeline.targets.docker import gateway
from ml_pipeline.targets.docker.container import CONFINED, CONTROL, LABEL, PLACE, USER, Server
from ml_pipeline.targets.process.live_shadow import LAST_SECONDS, counts_of
from ml_pipeline.traffic.mirror_reader import COUNTS, MirrorReaderSettings

if TYPE_CHECKING:
    import docker.models.containers
    from docker import DockerClient
    from docker.models.networks import Network

PYTHON = ("/opt/ml-pipeline/bin/python", "-P", "-m")
SOCKET = f"{CONTROL}/server.sock"
"""As docker/serve.py names it."""
VOLUME = "/var/lib/ml-pipeline-shadow"
FOLDER = f"{VOLUME}/own"
RECORDS = f"{FOLDER}/records.jsonl"
COPY = f"{FOLDER}/copy.jsonl"
TOKEN = f"{PLACE}/token"
MEMORY = "256m"
PROCESSES = 32
CPU_SHARES = 64
"""A sixteenth of what a server weighs where the processor is short."""
OOM_SCORE = 500
START_SECONDS = 30.0


@dataclass(frozen=True)
class ShadowKey:
    """What the containers of a shadow are found by."""

    scope: str
    environment: str
    """The champion's."""
    challenger: str
    """The challenger's environment."""

    @property
    def labels(self) -> dict[str, str]:
        return {
            f"{LABEL}scope": self.scope,
            f"{LABEL}shadow-of": self.environment,
            f"{LABEL}shadow": self.challenger,
        }


class Reader:
    """The container that asks the challenger."""

    def __init__(self, client: DockerClient, container: docker.models.containers.Container) -> None:
        self._client = client
        self._container = container

    @classmethod
    def find(cls, client: DockerClient, whose: ShadowKey) -> Reader | None:
        return next(iter(_readers(client, whose.labels)), None)

    def counts(self) -> CopyCounts | None:
        """Return what the server copied to it so far; None if it does not any more."""
        told = self._run(*PYTHON, "ml_pipeline.serving.control_socket", SOCKET, "mirror")
        return None if told is None else counts_of(json.loads(told))

    def end(self, timeout: float) -> CopyCounts | None:
        """Let it end the copying, and wait until the last answer is written down."""
        from docker.errors import NotFound

        if not self._running:
            return None
        self._container.stop(timeout=int(timeout + LAST_SECONDS))
        with contextlib.suppress(NotFound):
            return counts_of(json.loads(b"".join(self._unpack(f"{FOLDER}/{COUNTS}"))))
        return None

    def fetch(self, path: Path) -> None:
        """Write what it wrote down so far to ``path``."""
        from docker.errors import NotFound

        # the engine's archives need a file that does not grow meanwhile
        name = RECORDS if self._run("cp", RECORDS, COPY) is None else COPY
        with contextlib.suppress(NotFound):  # it ended before it began, and there is none
            pieces = self._unpack(name)
            first = next(pieces, b"")
            with workdir.atomic_path(path) as file, file.open("wb") as out:
                for piece in itertools.chain([first], pieces):
                    out.write(piece)
            path.chmod(0o600)

    def remove(self) -> None:
        """Remove it with its records, and volumes of servers that are gone."""
        from docker.errors import APIError, NotFound

        with contextlib.suppress(NotFound):
            self._container.remove(v=True, force=True)
        for name in self.volumes:
            with contextlib.suppress(APIError):  # a server has it still
                self._client.volumes.get(name).remove()

    def withdraw(self) -> None:
        """End the copying and remove it with what it wrote down."""
        if self._running:
            self._container.stop(timeout=int(LAST_SECONDS))
        self.remove()

    def start(self, settings: MirrorReaderSettings) -> None:
        """Start it, and wait until the server copies to it.

        Raises:
            EnvironmentFault: it does not; the log's last line is told.
        """
        self._container.put_archive(VOLUME, _pack(settings))
        self._container.start()
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.counts() is not None:
                return
            if not self._running:
                break
            time.sleep(0.05)
        lines = self._container.logs(tail=1).decode(errors="replace").strip().splitlines()
        last = lines[-1] if lines else f"no answer within {START_SECONDS:g} s"
        raise EnvironmentFault(f"production does not copy its requests: {last}")

    @property
    def volumes(self) -> list[str]:
        return [each["Name"] for each in self._container.attrs["Mounts"] if "Name" in each]

    @property
    def _running(self) -> bool:
        self._container.reload()
        return bool(self._container.status == "running")

    def _run(self, *command: str) -> bytes | None:
        """Return what a command in it prints; None where it has ended, or the command fails."""
        from docker.errors import APIError

        if not self._running:
            return None
        try:
            code, told = self._container.exec_run(list(command), stderr=False)
        except APIError:
            if self._running:
                raise
            return None  # it ended in between
        return told if code == 0 and isinstance(told, bytes) else None

    def _unpack(self, name: str) -> Iterator[bytes]:
        pieces, _ = self._container.get_archive(name)
        with tarfile.open(fileobj=_Stream(pieces), mode="r|") as archive:
            for entry in archive:
                content = archive.extractfile(entry)
                while content is not None and (piece := content.read(1 << 20)):
                    yield piece
        for _ in pieces:
            pass  # to its end, so that the connection is free


class _Stream(io.RawIOBase):
    """Pieces of bytes as a file."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        while len(self._rest) < size and (piece := next(self._pieces, b"")):
            self._rest += piece
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken


def start(
    client: DockerClient,
    whose: ShadowKey,
    champion: Server,
    challenger: Server,
    network: Network,
    spec: ShadowSpec,
) -> None:
    """Start a reader, and let the champion's server copy to it.

    Args:
        client: of the engine.
        whose: what it is found by from here on.
        champion: the server that copies.
        challenger: the server that is asked.
        network: the challenger's private one.
        spec: what goes where.

    Raises:
        EnvironmentFault: the server does not copy.
    """
    from docker.types import Mount

    if champion.control is None:
        raise EnvironmentFault(
            f"{whose.environment}'s container was made before servers could copy their requests",
            hint=f"end it with 'ml-pipeline stop {whose.environment}' and deploy it again",
        )
    container = client.containers.create(
        champion.image,
        [f"{FOLDER}/settings.json"],
        entrypoint=[*PYTHON, "ml_pipeline.traffic.mirror_reader"],
        name=champion.name.removesuffix(champion.role) + f".shadow.{whose.challenger}",
        labels=whose.labels,
        user=f"{USER}:{USER}",
        mem_limit=MEMORY,
        memswap_limit=MEMORY,
        pids_limit=PROCESSES,
        cpu_shares=CPU_SHARES,
        oom_score_adj=OOM_SCORE,
        healthcheck={"test": ["NONE"]},
        mounts=[
            Mount(CONTROL, champion.control, type="volume"),
            Mount(PLACE, challenger.content, type="volume", read_only=True),
            Mount(VOLUME, None, type="volume"),
        ],
        network=network.name,
        **CONFINED,
    )
    reader = Reader(client, container)
    address = gateway.addresses(network)[challenger.colour]
    has_token = spec.challenger.serving.token_env is not None
    settings = MirrorReaderSettings(
        url=f"http://{address}:8000",
        version=spec.served.version,
        timeout=spec.timeout,
        positions=spec.positions,
        contract=spec.contract,
        task=spec.task,
        records=RECORDS,
        token_file=TOKEN if has_token else None,
        control=SOCKET,
        share=spec.share,
    )
    try:
        reader.start(settings)
    except BaseException:
        reader.withdraw()
        raise


def withdraw(client: DockerClient, scope: str, environment: str) -> None:
    """End the shadows that an environment has a part in."""
    for part in ("shadow-of", "shadow"):
        for reader in _readers(client, {f"{LABEL}scope": scope, LABEL + part: environment}):
            reader.withdraw()


def volumes(client: DockerClient, scope: str) -> set[str]:
    """Return the names of the volumes that the readers of a home use."""
    every = _readers(client, {f"{LABEL}scope": scope, f"{LABEL}shadow": None})
    return {name for each in every for name in each.volumes}


def _readers(client: DockerClient, labels: dict[str, str | None] | dict[str, str]) -> list[Reader]:
    wanted: dict[str, Any] = {
        "label": [key if text is None else f"{key}={text}" for key, text in labels.items()]
    }
    found = client.containers.list(all=True, filters=wanted, ignore_removed=True)
    return [Reader(client, each) for each in found]


def _pack(settings: MirrorReaderSettings) -> bytes:
    content = settings.to_json().encode()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        name = FOLDER.rpartition("/")[2]
        add_folder(archive, name, 0o700, owner=USER)
        add_bytes(archive, f"{name}/settings.json", content, 0o444)
    return stream.getvalue()
