"""``python -m ml_pipeline.traffic.mirror_reader CONFIG [FD]``: sends a challenger copied requests.

Reads copies of answered requests from the socket ``FD`` (``ml_pipeline.serving.mirror``), sends
each to the challenger, and appends both answers as a line of JSON. It ends when the server has
closed its end and the last answer is there or its time is over. Without ``FD`` it asks the server
for copies itself, by the control socket that it shares with it, and at SIGTERM to end them; what
the server counted is then in ``counts.json`` beside the records.

The image of docker/server.Dockerfile holds this module and what it imports.
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
from ml_pipeline.traffic.open_loop import Answer, Client, Place
from ml_pipeline.traffic.requests import Reply, read, reply

IN_FLIGHT = 64
"""Requests that the challenger is asked at a time; others wait in the socket, or are dropped."""
COUNTS = "counts.json"
RECORDED = 200_000
RECORDED_BYTES = 1 << 27
"""Requests that are asked and written down at most; later ones are read and let go."""


@dataclass(frozen=True)
class Settings:
    """What the command needs to know. ``positions`` orders features as the challenger does.

    The token is in the variable ``token_env`` or in the file ``token_file``. ``share`` of the
    requests is asked for at the socket ``control``.
    """

    url: str
    version: int | None
    timeout: float
    positions: tuple[int | None, ...] | None
    records: str
    token_env: str | None = None
    token_file: str | None = None
    contract: str | None = None
    """The digest that the challenger needs for rows by position, if it needs one."""
    control: str = ""
    share: float = 1.0
    task: dict[str, Any] | None = None
    """The challenger's record of its task; None for binary classification."""

    @classmethod
    def read(cls, path: Path) -> Settings:
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


class Reader:
    """Takes copies from the socket as long as the challenger keeps up."""

    def __init__(self, queue: socket.socket, settings: Settings, out: TextIO) -> None:
        self._queue = queue
        self._settings = settings
        self._out = out
        self._task = read_task(settings.task)
        self._place = Place.of(settings.url, settings.token)
        self._client = Client(self._place, connections=IN_FLIGHT, timeout=settings.timeout)
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()
        self._recorded = 0
        self._written = 0

    async def run(self) -> None:
        """Return when the other end has been closed and the last answer is written down."""
        self._queue.setblocking(False)
        self._loop.add_reader(self._queue, self._take)
        await self._ended.wait()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._client.close()

    def _take(self) -> None:
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
            if self._recorded < RECORDED and self._written < RECORDED_BYTES:
                self._recorded += 1
                task = self._loop.create_task(self._ask(mirror.decode(message)))
                self._tasks.add(task)
                task.add_done_callback(self._done)
        self._loop.remove_reader(self._queue)

    def _done(self, task: asyncio.Task[None]) -> None:
        full = len(self._tasks) >= IN_FLIGHT
        self._tasks.discard(task)
        if full and not self._ended.is_set():
            self._loop.add_reader(self._queue, self._take)

    async def _ask(self, copy: mirror.MirroredRequest) -> None:
        request_id, body, answer, ms = copy
        start = time.perf_counter()
        request = self._place.request(
            reordered(body, self._settings.positions, self._settings.contract), request_id
        )
        status, content, error = await self._client.ask(request)
        took = time.perf_counter() - start
        found = reply(
            Answer(0.0, 0.0, took, status, content, error), self._settings.version, self._task
        )
        champion = Reply(tuple(value for value, _ in read(answer, self._task)), ms)
        line = {"id": request_id, "champion": asdict(champion), "challenger": asdict(found)}
        self._written += self._out.write(json.dumps(line) + "\n")


def reordered(
    body: bytes, positions: Sequence[int | None] | None, contract: str | None = None
) -> bytes:
    """Return a request with its features at ``positions``; the same one where that is None.

    ``contract`` is the digest that goes along, if the challenger needs one. The server copies every
    request by position, whichever form the client chose. Where a position is None the feature is
    missing.
    """
    if positions is None and contract is None:
        return body
    features = json.loads(body)["features"]
    more = {} if contract is None else {"contract": contract}
    if positions is None:
        return json.dumps({"features": features} | more).encode()
    many = bool(features) and isinstance(features[0], list)
    rows: list[Any] = features if many else [features]
    moved = [arranged(row, positions) for row in rows]
    return json.dumps({"features": moved if many else moved[0]} | more).encode()


def arranged(row: Sequence[Any], positions: Sequence[int | None]) -> list[Any]:
    """Return the values of a row at ``positions``, None where there is none."""
    return [None if at is None else row[at] for at in positions]


def main(arguments: Sequence[str]) -> None:
    settings = Settings.read(Path(arguments[0]))
    own = len(arguments) == 1

    async def run(queue: socket.socket, out: TextIO) -> None:
        if own:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _end, settings)
        await Reader(queue, settings, out).run()

    with (
        Path(settings.records).open("a", buffering=1, encoding="utf-8") as out,
        _asked_for(settings) if own else socket.socket(fileno=int(arguments[1])) as queue,
    ):
        asyncio.run(run(queue, out))


def _asked_for(settings: Settings) -> socket.socket:
    """Return the reader's end of a queue that the server was given."""
    ours, theirs = mirror.socket_pair()
    with ours:
        control_socket.send_command(Path(settings.control), "mirror", ours, share=settings.share)
    return theirs


def _end(settings: Settings) -> None:
    """Let the server close its end, and write down what it counted."""
    try:
        told, _ = control_socket.send_command(Path(settings.control), "unmirror")
    except OSError as error:
        sys.stderr.write(f"error: {error}\n")
        return
    Path(settings.records).with_name(COUNTS).write_text(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1:])
