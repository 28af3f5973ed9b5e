"""The server process: verifies the bundle, listens, and drains before it ends."""

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

import msgspec
import uvicorn

from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.serving import control_socket
from ml_pipeline.serving.access import read_token
from ml_pipeline.serving.app import RequestLimits, ServerProcessState, make_app
from ml_pipeline.serving.feature_worker_process import RawRowLimits, RawRowsContext
from ml_pipeline.serving.mirror import Mirror
from ml_pipeline.serving.prediction_log import LoggedModel, PredictionLog, Rotation
from ml_pipeline.serving.protocol_choice import check_server, choose_protocol
from ml_pipeline.serving.redaction import Redaction, RowRedaction
from ml_pipeline.serving.sockets import BACKLOG, bind

if TYPE_CHECKING:
    from starlette.types import ASGIApp

LINGER_SECONDS = 1.0
"""Time in which open connections may send a last request when the process ends."""
DRAIN_SECONDS = 30
MAX_CONNECTIONS = 1000
PLAIN_MAX_HEADER_BYTES = 64 << 10
"""Bytes of a request line and headers with uvicorn's plain protocol."""
PAUSE_SECONDS = 0.1
"""Pause after a failed control connection, for example without a free descriptor."""


logger = logging.getLogger("ml_pipeline.serving")


class ModelServer(uvicorn.Server):
    """uvicorn with a public socket that can be replaced, and a shutdown that drops no request."""

    def __init__(
        self,
        config: uvicorn.Config,
        state: ServerProcessState,
        status: dict[str, Any],
        control_path: Path | None,
        commands: frozenset[str] = control_socket.COMMANDS,
    ) -> None:
        super().__init__(config)
        self._state = state
        self._status = status
        self._control_path = control_path
        self._commands = commands
        self.public: socket.socket | None = None
        self._listener: asyncio.Server | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept requests, then commands."""
        await super().startup(sockets)
        if self._control_path is not None:
            loop = asyncio.get_running_loop()
            ControlThread(self._control_path, self, loop, self._status, self._commands).start()

    async def listen(self, public: socket.socket | None) -> None:
        """Accept connections on ``public``, or again on the previous public socket.

        The loopback port that the server started on is closed.

        Raises:
            OSError: there is no public socket.
        """
        if public is not None:
            self._stop_listening()
            if self.public is not None:
                self.public.close()
            self.public = public
        if self.public is None:
            raise OSError(0, "no public socket to listen on")
        if self._listener is None:
            listening = self.public.dup()
            listening.setblocking(False)
            loop = asyncio.get_running_loop()
            self._listener = await loop.create_server(
                self._protocol, sock=listening, backlog=BACKLOG
            )
            self.servers.append(self._listener)
            for server in [item for item in self.servers if item is not self._listener]:
                server.close()
                self.servers.remove(server)
        self._state.draining = False

    async def pause(self) -> None:
        """Accept no new connections; close open ones after their next response."""
        self._stop_listening()
        self._state.draining = True

    async def mirror(self, queue: socket.socket | None, share: float) -> dict[str, Any]:
        """Start to copy answered requests to ``queue``, if given; return the counts."""
        if queue is not None:
            await self.unmirror()
            self._state.mirror = Mirror(queue, share)
        return self._state.mirror.counts if self._state.mirror else {"mirroring": False}

    async def unmirror(self) -> dict[str, Any]:
        """Stop copying; return the counts of offered and dropped requests."""
        mirror, self._state.mirror = self._state.mirror, None
        if mirror is None:
            return {"mirroring": False}
        mirror.close()
        self._state.offered += mirror.offered
        self._state.dropped += mirror.dropped
        return mirror.counts | {"mirroring": False}

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self.servers.remove(self._listener)
            self._listener = None

    def _protocol(self) -> asyncio.Protocol:
        protocol: Any = self.config.http_protocol_class
        instance: asyncio.Protocol = protocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return instance

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, serve a last request of each open connection, then close them."""
        if self._control_path is not None:
            self._control_path.unlink(missing_ok=True)
        for server in self.servers:
            server.close()
        self._state.draining = True
        loop = asyncio.get_running_loop()
        end = loop.time() + LINGER_SECONDS
        while self.server_state.connections and loop.time() < end:  # noqa: ASYNC110  # uvicorn's set has no event
            await asyncio.sleep(0.02)
        await super().shutdown(sockets)
        if self._state.features is not None:
            await self._state.features.close()


class ControlThread(threading.Thread):
    """Executes commands of the deploying process: ``ml_pipeline.serving.control_socket``."""

    def __init__(
        self,
        path: Path,
        server: ModelServer,
        loop: asyncio.AbstractEventLoop,
        status: dict[str, Any],
        commands: frozenset[str] = control_socket.COMMANDS,
    ) -> None:
        super().__init__(name="control", daemon=True)
        self._server = server
        self._loop = loop
        self._status = status
        self._commands = commands
        self._socket = control_socket.listen(path)
        self._socket.setblocking(True)

    def run(self) -> None:
        while True:
            try:
                self._handle_connection()
            except OSError as error:
                logging.getLogger("ml_pipeline.serving").warning("control: %s", error)
                time.sleep(PAUSE_SECONDS)

    def _handle_connection(self) -> None:
        connection, _ = self._socket.accept()
        with connection:
            connection.settimeout(5.0)
            message, passed_socket = control_socket.receive(connection)
            self._execute(connection, message, passed_socket)

    def _execute(
        self,
        connection: socket.socket,
        message: dict[str, Any],
        passed_socket: socket.socket | None,
    ) -> None:
        command = str(message.get("command"))
        if command not in self._commands:
            control_socket.send(connection, {"refused": command})
        elif command == "serve":
            self._await(self._server.listen(passed_socket))
            control_socket.send(connection, {"serving": True})
        elif command == "pause":
            self._await(self._server.pause())
            control_socket.send(connection, {"serving": False})
        elif command == "lend":
            control_socket.send(connection, self._status, self._server.public)
        elif command == "mirror":
            share = float(message.get("share", 1.0))
            control_socket.send(connection, self._await(self._server.mirror(passed_socket, share)))
        elif command == "unmirror":
            control_socket.send(connection, self._await(self._server.unmirror()))
        else:
            control_socket.send(connection, self._status)

    def _await(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=5.0)


def run(
    path: Path,
    *,
    version: int | None,
    limits: RequestLimits,
    host: str,
    port: int,
    published: str | None = None,
    token_env: str | None = None,
    control_path: Path | None = None,
    shadow_path: Path | None = None,
    predictions: Rotation | None = None,
    redaction: Redaction | None = None,
    log_requests: float = 0.0,
    raw: RawRowLimits | None = None,
    raw_context: RawRowsContext | None = None,
) -> None:
    """Verify the bundle and serve it until SIGTERM or SIGINT.

    Args:
        path: folder of the bundle.
        version: the registered version, if any.
        limits: on requests.
        host: to listen on, unless ``control_path`` is given.
        port: to listen on, unless ``control_path`` is given.
        published: the host on which clients reach the port of a container; the rule about tokens
            applies to it instead of ``host``.
        token_env: name of the environment variable with the bearer token.
        control_path: control socket. With it the server listens on a free loopback port, and on
            the public socket after the command ``serve``.
        shadow_path: control socket that accepts the commands of a live shadow only.
        predictions: where the prediction log is written; complete on disk when this returns.
        redaction: of the prediction log; with it no error message about a request is logged.
        log_requests: share of the successful requests that are logged, 0 to 1.
        raw: limits of raw rows; None: raw rows are not accepted.
        raw_context: the environment, for messages about raw rows.

    Raises:
        Refused: the bundle does not verify or fails its golden predictions.
        UsageError: the host is not loopback and no token is configured, or the token is invalid.
        EnvironmentFault: the address is in use, the prediction log cannot be written, or the
            installed uvicorn lacks what the server uses.
    """
    check_server()
    token = read_token(published or host, token_env)
    bundle = Bundle.open(path)
    bundle.check_golden()
    state = ServerProcessState()
    log = None if predictions is None else _prediction_log(predictions, bundle, version, redaction)
    app = make_app(
        bundle,
        version,
        limits,
        state,
        token,
        log=log,
        log_requests=log_requests,
        log_errors=redaction is None,
        raw=raw,
        raw_context=raw_context,
    )
    address = ("127.0.0.1", 0) if control_path else (host, port)
    listener = bind(*address)
    status = {
        "pid": os.getpid(),
        "version": version,
        "digest": bundle.digest,
        "port": listener.getsockname()[1],
    }
    config = _config(app)
    commands = control_socket.COMMANDS if control_path else control_socket.SHADOW_COMMANDS
    server = ModelServer(config, state, status, control_path or shadow_path, commands)
    gc.collect()
    gc.freeze()
    try:
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(server.serve([listener]))
    finally:
        if log is not None:
            log.close()


def _prediction_log(
    rotation: Rotation, bundle: Bundle, version: int | None, redaction: Redaction | None
) -> PredictionLog:
    names = bundle.schema.names
    model = LoggedModel(bundle.project, version, bundle.digest, list(names))
    if redaction is None:
        return PredictionLog(rotation, model, bundle.task.log_key)
    redact = RowRedaction(redaction, names)
    if redact.unknown:
        unknown = ", ".join(redact.unknown)
        logger.warning("serving.redact names what is no feature of this model: %s", unknown)
    model = msgspec.structs.replace(
        model, features=redact.features, hashed=redact.hashed, omitted=redact.omitted
    )
    return PredictionLog(rotation, model, bundle.task.log_key, redact)


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=choose_protocol(),
        h11_max_incomplete_event_size=PLAIN_MAX_HEADER_BYTES,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        backlog=BACKLOG,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
