"""The live shadow of a server in a container: a reader in its own container.

The reader shares a folder in memory with production's server, which contains the control socket,
and joins only the challenger's private network. So production's container and network stay
unchanged, and the reader has its own memory and a small CPU share. Its name is that of the server
with ``.shadow.CHALLENGER`` in place of the colour; it has no environment label.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.core import workdir
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.tar_archive import add_bytes, add_folder, open_stream
from ml_pipeline.targets.base import CopyCounts, ShadowSpec
from ml_pipeline.targets.docker import gateway
from ml_pipeline.targets.docker.container import (
    CONTENT_FOLDER,
    CONTROL_FOLDER,
    HARDENING,
    LABEL,
    USER,
    ServerContainer,
)
from ml_pipeline.targets.process.live_shadow import LAST_SECONDS, counts_of
from ml_pipeline.traffic.mirror_reader import COUNTS, MirrorReaderSettings

if TYPE_CHECKING:
    import docker.models.containers
    from docker import DockerClient
    from docker.models.networks import Network

PYTHON = ("/opt/ml-pipeline/bin/python", "-P", "-m")
SOCKET = f"{CONTROL_FOLDER}/server.sock"
"""Path in docker/serve.py."""
VOLUME = "/var/lib/ml-pipeline-shadow"
FOLDER = f"{VOLUME}/own"
RECORDS = f"{FOLDER}/records.jsonl"
COPY = f"{FOLDER}/copy.jsonl"
TOKEN = f"{CONTENT_FOLDER}/token"
MEMORY = "256m"
PROCESSES = 32
CPU_SHARES = 64
"""A sixteenth of a server's CPU share."""
OOM_SCORE = 500
START_SECONDS = 30.0


@dataclass(frozen=True)
class ShadowKey:
    """Identifies the container of a live shadow."""

    scope: str
    environment: str
    """The champion's environment."""
    challenger: str
    """The challenger's environment."""

    @property
    def labels(self) -> dict[str, str]:
        return {
            f"{LABEL}scope": self.scope,
            f"{LABEL}shadow-of": self.environment,
            f"{LABEL}shadow": self.challenger,
        }


class ReaderContainer:
    """The container that sends the copies to the challenger."""

    def __init__(self, client: DockerClient, container: docker.models.containers.Container) -> None:
        self._client = client
        self._container = container

    @classmethod
    def find(cls, client: DockerClient, key: ShadowKey) -> ReaderContainer | None:
        return next(iter(_readers(client, key.labels)), None)

    def counts(self) -> CopyCounts | None:
        """Return the counts of the server; None if it no longer copies."""
        output = self._run(*PYTHON, "ml_pipeline.serving.control_socket", SOCKET, "mirror")
        return None if output is None else counts_of(json.loads(output))

    def end(self, timeout: float) -> CopyCounts | None:
        """Let it end the copying, and wait until the last response is recorded."""
        from docker.errors import NotFound

        if not self._running:
            return None
        self._container.stop(timeout=int(timeout + LAST_SECONDS))
        with contextlib.suppress(NotFound):
            return counts_of(json.loads(b"".join(self._unpack(f"{FOLDER}/{COUNTS}"))))
        return None

    def fetch(self, path: Path) -> None:
        """Write its records so far to ``path``."""
        from docker.errors import NotFound

        # the engine can archive only files that do not grow meanwhile
        name = RECORDS if self._run("cp", RECORDS, COPY) is None else COPY
        with contextlib.suppress(NotFound):  # it ended before it wrote the file
            pieces = self._unpack(name)
            first = next(pieces, b"")
            with workdir.atomic_path(path) as file, file.open("wb") as out:
                for piece in itertools.chain([first], pieces):
                    out.write(piece)
            path.chmod(0o600)

    def remove(self) -> None:
        """Remove it with its records, and the volumes of removed servers."""
        from docker.errors import APIError, NotFound

        with contextlib.suppress(NotFound):
            self._container.remove(v=True, force=True)
        for name in self.volumes:
            with contextlib.suppress(APIError):  # a server still uses it
                self._client.volumes.get(name).remove()

    def discard(self) -> None:
        """End the copying, and remove it with its records."""
        if self._running:
            self._container.stop(timeout=int(LAST_SECONDS))
        self.remove()

    def start(self, settings: MirrorReaderSettings) -> None:
        """Start it, and wait until the server copies to it.

        Raises:
            EnvironmentFault: it does not; has the log's last line.
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
        """Return the output of a command in it; None if it has ended, or the command fails."""
        from docker.errors import APIError

        if not self._running:
            return None
        try:
            code, output = self._container.exec_run(list(command), stderr=False)
        except APIError:
            if self._running:
                raise
            return None  # it has ended meanwhile
        return output if code == 0 and isinstance(output, bytes) else None

    def _unpack(self, name: str) -> Iterator[bytes]:
        pieces, _ = self._container.get_archive(name)
        with open_stream(pieces) as archive:
            for entry in archive:
                content = archive.extractfile(entry)
                while content is not None and (piece := content.read(1 << 20)):
                    yield piece
        for _ in pieces:
            pass  # read to the end, so that the connection is released


def start(
    client: DockerClient,
    key: ShadowKey,
    champion: ServerContainer,
    challenger: ServerContainer,
    network: Network,
    spec: ShadowSpec,
) -> None:
    """Start a reader, and let the champion's server copy to it.

    Args:
        client: of the engine.
        key: identifies the shadow.
        champion: the server whose requests are copied.
        challenger: the server that gets the copies.
        network: the challenger's private network.
        spec: the live shadow.

    Raises:
        EnvironmentFault: the server does not copy.
    """
    from docker.types import Mount

    if champion.control is None:
        raise EnvironmentFault(
            f"{key.environment}'s container was created by a version without live shadows",
            hint=f"end it with 'ml-pipeline stop {key.environment}' and deploy it again",
        )
    container = client.containers.create(
        champion.image,
        [f"{FOLDER}/settings.json"],
        entrypoint=[*PYTHON, "ml_pipeline.traffic.mirror_reader"],
        name=champion.name.removesuffix(champion.role) + f".shadow.{key.challenger}",
        labels=key.labels,
        user=f"{USER}:{USER}",
        mem_limit=MEMORY,
        memswap_limit=MEMORY,
        pids_limit=PROCESSES,
        cpu_shares=CPU_SHARES,
        oom_score_adj=OOM_SCORE,
        healthcheck={"test": ["NONE"]},
        mounts=[
            Mount(CONTROL_FOLDER, champion.control, type="volume"),
            Mount(CONTENT_FOLDER, challenger.content, type="volume", read_only=True),
            Mount(VOLUME, None, type="volume"),
        ],
        network=network.name,
        **HARDENING,
    )
    reader = ReaderContainer(client, container)
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
        reader.discard()
        raise


def discard(client: DockerClient, scope: str, environment: str) -> None:
    """End the shadows of which an environment is the champion or the challenger."""
    for part in ("shadow-of", "shadow"):
        for reader in _readers(client, {f"{LABEL}scope": scope, LABEL + part: environment}):
            reader.discard()


def volumes(client: DockerClient, scope: str) -> set[str]:
    """Return the names of the volumes that the readers of a home use."""
    every = _readers(client, {f"{LABEL}scope": scope, f"{LABEL}shadow": None})
    return {name for each in every for name in each.volumes}


def _readers(
    client: DockerClient, labels: dict[str, str | None] | dict[str, str]
) -> list[ReaderContainer]:
    filters: dict[str, Any] = {
        "label": [key if text is None else f"{key}={text}" for key, text in labels.items()]
    }
    found = client.containers.list(all=True, filters=filters, ignore_removed=True)
    return [ReaderContainer(client, each) for each in found]


def _pack(settings: MirrorReaderSettings) -> bytes:
    content = settings.to_json().encode()
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        name = FOLDER.rpartition("/")[2]
        add_folder(archive, name, 0o700, owner=USER)
        add_bytes(archive, f"{name}/settings.json", content, 0o444)
    return stream.getvalue()
