"""``python -m ml_pipeline.traffic.mirror_reader CONFIG [FD]``: sends a challenger copied requests.

Reads copies of answered requests from the socket ``FD`` (``ml_pipeline.serving.mirror``), sends
each to the challenger, and appends both responses as a line of JSON. It ends when the server has
closed its end and the last response has arrived or timed out. Without ``FD`` it requests the copies
itself over the control socket of the server, and ends them at SIGTERM; the server's counts are then
in ``counts.json`` beside the records.

The image of docker/server.Dockerfile contains this module and its imports.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from ml_pipeline.serving import control_socket, mirror
from ml_pipeline.serving.access import read_token
from ml_pipeline.tasks.loader import read_task
from ml_pipeline.traffic.open_loop import ConnectionPool, Endpoint, TimedResponse
from ml_pipeline.traffic.prediction_requests import (
    PredictionResponse,
    parse_predictions,
    parse_response,
)

IN_FLIGHT = 64
"""Concurrent requests to the challenger; others wait in the socket, or are dropped."""
COUNTS = "counts.json"
MAX_RECORDED = 200_000
MAX_RECORDED_BYTES = 1 << 27
"""Limits of the records; later requests are read and discarded."""


@dataclass(frozen=True)
class MirrorReaderSettings:
    """Settings of the command. ``positions`` maps the challenger's features to the champion's.

    The token is in the variable ``token_env`` or in the file ``token_file``. With ``control`` the
    reader requests ``share`` of the requests over that control socket.
    """

    url: str
    version: int | None
    timeout: float
    positions: tuple[int | None, ...] | None
    records: str
    token_env: str | None = None
    token_file: str | None = None
    contract: str | None = None
    """The contract digest that the challenger requires for rows by position, if any."""
    control: str = ""
    share: float = 1.0
    task: dict[str, Any] | None = None
    """The challenger's record of its task; None for binary classification."""

    @classmethod
    def read(cls, path: Path) -> MirrorReaderSettings:
        values = json.loads(path.read_text())
        positions = values.pop("positions")
        return cls(**values, positions=None if positions is None else tuple(positions))

    @property
    def token(self) -> str | None:
        if self.token_file is not None:
            return Path(self.token_file).read_text(encoding="ascii")
        return read_token("127.0.0.1", self.token_env)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"


class MirrorReader:
    """Forwards copies from the socket, as long as the challenger keeps up."""

    def __init__(self, queue: socket.socket, settings: MirrorReaderSettings, out: TextIO) -> None:
        self._queue = queue
        self._settings = settings
        self._out = out
        self._task = read_task(settings.task)
        self._endpoint = Endpoint.of(settings.url, settings.token)
        self._client = ConnectionPool(
            self._endpoint, connections=IN_FLIGHT, timeout=settings.timeout
        )
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()
        self._recorded = 0
        self._written = 0

    async def run(self) -> None:
        """Return when the other end was closed and the last response is recorded."""
        self._queue.setblocking(False)
        self._loop.add_reader(self._queue, self._receive)
        await self._ended.wait()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._client.close()

    def _receive(self) -> None:
        while len(self._tasks) < IN_FLIGHT:
            try:
                message = self._queue.recv(mirror.MAX_MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if not message:
                self._loop.remove_reader(self._queue)
                self._ended.set()
                return
            if self._recorded < MAX_RECORDED and self._written < MAX_RECORDED_BYTES:
                self._recorded += 1
                task = self._loop.create_task(self._forward(mirror.decode(message)))
                self._tasks.add(task)
                task.add_done_callback(self._done)
        self._loop.remove_reader(self._queue)

    def _done(self, task: asyncio.Task[None]) -> None:
        full = len(self._tasks) >= IN_FLIGHT
        self._tasks.discard(task)
        if full and not self._ended.is_set():
            self._loop.add_reader(self._queue, self._receive)

    async def _forward(self, copied: mirror.MirroredRequest) -> None:
        request_id, body, champion_body, ms = copied
        start = time.perf_counter()
        request = self._endpoint.request(
            reorder_request(body, self._settings.positions, self._settings.contract), request_id
        )
        status, content, error = await self._client.request(request)
        seconds = time.perf_counter() - start
        challenger = parse_response(
            TimedResponse(0.0, 0.0, seconds, status, content, error),
            self._settings.version,
            self._task,
        )
        champion = PredictionResponse(
            tuple(value for value, _ in parse_predictions(champion_body, self._task)), ms
        )
        line = {"id": request_id, "champion": asdict(champion), "challenger": asdict(challenger)}
        self._written += self._out.write(json.dumps(line) + "\n")


def reorder_request(
    body: bytes, positions: Sequence[int | None] | None, contract: str | None = None
) -> bytes:
    """Return a request with its features at ``positions``; unchanged if that is None.

    ``contract`` is the digest to add, if the challenger requires one. The server copies every
    request by position, whatever format the client used. A feature whose position is None is
    missing.
    """
    if positions is None and contract is None:
        return body
    features = json.loads(body)["features"]
    contract_key = {} if contract is None else {"contract": contract}
    if positions is None:
        return json.dumps({"features": features} | contract_key).encode()
    many = bool(features) and isinstance(features[0], list)
    rows: list[Any] = features if many else [features]
    reordered = [reorder_row(row, positions) for row in rows]
    return json.dumps({"features": reordered if many else reordered[0]} | contract_key).encode()


def reorder_row(row: Sequence[Any], positions: Sequence[int | None]) -> list[Any]:
    """Return the values of a row at ``positions``; None for a position that is None."""
    return [None if position is None else row[position] for position in positions]


def main(arguments: Sequence[str]) -> None:
    settings = MirrorReaderSettings.read(Path(arguments[0]))
    requests_copies = len(arguments) == 1

    async def run(queue: socket.socket, out: TextIO) -> None:
        if requests_copies:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _end, settings)
        await MirrorReader(queue, settings, out).run()

    with (
        Path(settings.records).open("a", buffering=1, encoding="utf-8") as out,
        _request_copies(settings)
        if requests_copies
        else socket.socket(fileno=int(arguments[1])) as queue,
    ):
        asyncio.run(run(queue, out))


def _request_copies(settings: MirrorReaderSettings) -> socket.socket:
    """Pass the server one end of a queue, and return the other."""
    server_end, reader_end = mirror.socket_pair()
    with server_end:
        control_socket.send_command(
            Path(settings.control), "mirror", server_end, share=settings.share
        )
    return reader_end


def _end(settings: MirrorReaderSettings) -> None:
    """End the copying, and write the server's counts to a file."""
    try:
        counts, _ = control_socket.send_command(Path(settings.control), "unmirror")
    except OSError as error:
        sys.stderr.write(f"error: {error}\n")
        return
    Path(settings.records).with_name(COUNTS).write_text(json.dumps(counts))


if __name__ == "__main__":
    main(sys.argv[1:])
