"""The server's process: it verifies first, listens second, and drains before it ends."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn

from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.serving import control_socket
from ml_pipeline.serving.access import token_of
from ml_pipeline.serving.app import Limits, State, make_app
from ml_pipeline.serving.feature_worker_process import RawLimits, RawPlace
from ml_pipeline.serving.mirror import Mirror
from ml_pipeline.serving.prediction_log import PredictionLog, Rotation, Source
from ml_pipeline.serving.protocol_choice import choose_protocol
from ml_pipeline.serving.sockets import BACKLOG, bind

if TYPE_CHECKING:
    from starlette.types import ASGIApp

LINGER_SECONDS = 1.0
"""How long open connections may bring a last request once the process ends."""
DRAIN_SECONDS = 30
CONNECTIONS = 1000
PLAIN_MAX_HEAD = 64 << 10
"""Bytes of a request line and its headers, where uvicorn's plain protocol is used."""
PAUSE_SECONDS = 0.1
"""After a control connection that failed, for example because no descriptor was left for it."""


class Server(uvicorn.Server):
    """uvicorn with a public socket that comes and goes, and an end that drops no request."""

    def __init__(
        self,
        config: uvicorn.Config,
        state: State,
        facts: dict[str, Any],
        control_path: Path | None,
        commands: frozenset[str] = control_socket.COMMANDS,
    ) -> None:
        super().__init__(config)
        self._state = state
        self._facts = facts
        self._control_path = control_path
        self._commands = commands
        self.public: socket.socket | None = None
        self._listener: asyncio.Server | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take requests, then commands."""
        await super().startup(sockets)
        if self._control_path is not None:
            loop = asyncio.get_running_loop()
            Controller(self._control_path, self, loop, self._facts, self._commands).start()

    async def listen(self, public: socket.socket | None) -> None:
        """Take new connections from ``public``, or again from the one that was given before.

        The port on which the server proved itself is closed.

        Raises:
            OSError: none was given.
        """
        if public is not None:
            self._stop_listening()
            if self.public is not None:
                self.public.close()
            self.public = public
        if self.public is None:
            raise OSError(0, "no public socket to listen on")
        if self._listener is None:
            own = self.public.dup()
            own.setblocking(False)
            loop = asyncio.get_running_loop()
            self._listener = await loop.create_server(self._protocol, sock=own, backlog=BACKLOG)
            self.servers.append(self._listener)
            for server in [item for item in self.servers if item is not self._listener]:
                server.close()
                self.servers.remove(server)
        self._state.draining = False

    async def pause(self) -> None:
        """Take no new connections; let clients of open ones go elsewhere after their answer."""
        self._stop_listening()
        self._state.draining = True

    async def mirror(self, queue: socket.socket | None, share: float) -> dict[str, Any]:
        """Copy answered requests to ``queue`` from now on, or tell of what is copied already."""
        if queue is not None:
            await self.unmirror()
            self._state.mirror = Mirror(queue, share)
        return self._state.mirror.facts if self._state.mirror else {"mirroring": False}

    async def unmirror(self) -> dict[str, Any]:
        """End the copying; tell what was offered and dropped."""
        ended, self._state.mirror = self._state.mirror, None
        if ended is None:
            return {"mirroring": False}
        ended.close()
        self._state.offered += ended.offered
        self._state.dropped += ended.dropped
        return ended.facts | {"mirroring": False}

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self.servers.remove(self._listener)
            self._listener = None

    def _protocol(self) -> asyncio.Protocol:
        protocol: Any = self.config.http_protocol_class
        made: asyncio.Protocol = protocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, let open connections bring a last request, then close them."""
        if self._control_path is not None:
            self._control_path.unlink(missing_ok=True)
        for server in self.servers:
            server.close()
        self._state.draining = True
        loop = asyncio.get_running_loop()
        end = loop.time() + LINGER_SECONDS
        while self.server_state.connections and loop.time() < end:  # noqa: ASYNC110  # uvicorn's set tells nobody
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)
        if self._state.features is not None:
            await self._state.features.close()


class Controller(threading.Thread):
    """Answers the deploying process. See ``ml_pipeline.serving.control_socket``."""

    def __init__(
        self,
        path: Path,
        server: Server,
        loop: asyncio.AbstractEventLoop,
        facts: dict[str, Any],
        commands: frozenset[str] = control_socket.COMMANDS,
    ) -> None:
        super().__init__(name="control", daemon=True)
        self._server = server
        self._loop = loop
        self._facts = facts
        self._commands = commands
        self._socket = control_socket.listen(path)
        self._socket.setblocking(True)

    def run(self) -> None:
        while True:
            try:
                self._answer()
            except OSError as error:
                logging.getLogger("ml_pipeline.serving").warning("control: %s", error)
                time.sleep(PAUSE_SECONDS)

    def _answer(self) -> None:
        connection, _ = self._socket.accept()
        with connection:
            connection.settimeout(5.0)
            message, lent = control_socket.receive(connection)
            self._obey(connection, message, lent)

    def _obey(
        self, connection: socket.socket, message: dict[str, Any], lent: socket.socket | None
    ) -> None:
        command = str(message.get("command"))
        if command not in self._commands:
            control_socket.send(connection, {"refused": command})
        elif command == "serve":
            self._await(self._server.listen(lent))
            control_socket.send(connection, {"serving": True})
        elif command == "pause":
            self._await(self._server.pause())
            control_socket.send(connection, {"serving": False})
        elif command == "lend":
            control_socket.send(connection, self._facts, self._server.public)
        elif command == "mirror":
            share = float(message.get("share", 1.0))
            control_socket.send(connection, self._await(self._server.mirror(lent, share)))
        elif command == "unmirror":
            control_socket.send(connection, self._await(self._server.unmirror()))
        else:
            control_socket.send(connection, self._facts)

    def _await(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=5.0)


def run(
    path: Path,
    *,
    version: int | None,
    limits: Limits,
    host: str,
    port: int,
    published: str | None = None,
    token_env: str | None = None,
    control_path: Path | None = None,
    shadow_path: Path | None = None,
    predictions: Rotation | None = None,
    log_requests: float = 0.0,
    raw: RawLimits | None = None,
    raw_place: RawPlace | None = None,
) -> None:
    """Verify the bundle, listen and answer until SIGTERM or SIGINT.

    With ``control_path`` it listens on a loopback port of the system's choice, and on the public
    socket once it is told to; without, on ``host`` and ``port`` at once. ``shadow_path`` is a
    control socket that takes the commands of a live shadow and no others. ``published`` is the host
    that clients of a container reach, by which the rule about tokens then goes. ``predictions`` is
    where answered requests are logged, whole on the disk when this returns; ``log_requests`` the
    share of them that get a line in the server's log; ``raw`` the limits of raw rows, of which None
    takes none; ``raw_place`` names the environment in messages about them.

    Raises:
        Refused: the bundle does not verify or fails its golden predictions.
        UsageError: the address is reachable from elsewhere and there is no token, or it is empty.
        EnvironmentFault: the address is in use, or the prediction log cannot be written.
    """
    token = token_of(published or host, token_env)
    bundle = Bundle.open(path)
    bundle.check_golden()
    state = State()
    log = (
        None
        if predictions is None
        else PredictionLog(predictions, _source(bundle, version), bundle.task.log_key)
    )
    app = make_app(
        bundle,
        version,
        limits,
        state,
        token,
        log=log,
        log_requests=log_requests,
        raw=raw,
        raw_place=raw_place,
    )
    address = ("127.0.0.1", 0) if control_path else (host, port)
    first = bind(*address)
    facts = {
        "pid": os.getpid(),
        "version": version,
        "digest": bundle.digest,
        "port": first.getsockname()[1],
    }
    config = _config(app)
    commands = control_socket.COMMANDS if control_path else control_socket.OF_SHADOWS
    server = Server(config, state, facts, control_path or shadow_path, commands)
    gc.collect()
    gc.freeze()
    try:
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(server.serve([first]))
    finally:
        if log is not None:
            log.close()


def _source(bundle: Bundle, version: int | None) -> Source:
    return Source(bundle.project, version, bundle.digest, list(bundle.schema.names))


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=choose_protocol(),
        h11_max_incomplete_event_size=PLAIN_MAX_HEAD,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        backlog=BACKLOG,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
