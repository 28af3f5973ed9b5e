"""The process target: a server process on this machine, which outlives the command.

A rollover refuses no connection. The new server starts on a loopback port and is verified there;
then it gets the public socket of the old one, so that both accept from one queue; then the old one
stops accepting, finishes its requests and ends. A new server that fails never gets the socket.
"""

from __future__ import annotations

import errno
import logging
import re
import shlex
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core.errors import EnvironmentFault, PipelineError, Refused, UsageError
from ml_pipeline.core.locks import Lock
from ml_pipeline.serving import control_socket
from ml_pipeline.serving.access import read_token
from ml_pipeline.serving.sockets import bind
from ml_pipeline.targets import (
    container_detection,
    environment_lock,
    ports,
    redaction_key,
    server_arguments,
    server_records,
)
from ml_pipeline.targets.base import CopyCounts, Deployment, Placement, ShadowSpec
from ml_pipeline.targets.handover import BaseHandover
from ml_pipeline.targets.process import live_shadow as process_shadow
from ml_pipeline.targets.process import priority, server_process
from ml_pipeline.targets.released_bundles import release
from ml_pipeline.targets.server_records import EnvironmentRecord, ServerRecord
from ml_pipeline.traffic import probe

if TYPE_CHECKING:
    import psutil

STATUS_SECONDS = 2.0

logger = logging.getLogger(__name__)


class ProcessTarget:
    """Servers as processes of this machine, one for each environment."""

    def handover(self, placement: Placement, bundle: Path, version: int | None) -> ProcessHandover:
        """See ``Target.handover``. The environment stays locked until it is decided."""
        files = _EnvironmentFiles(placement)
        token = read_token(placement.section.host, placement.serving.token_env)
        redaction_key.require_key(placement.serving, placement.home)
        _refuse_inside_container(placement)
        lock = environment_lock.acquire(placement)
        try:
            record = _recover(files)
            released = release(bundle, placement.home)
            former = record.serving if _is_serving(record.serving) else None
            spec = _ServerSpec(placement, released, version, token)
            if former is not None and spec.is_served_by(former):
                return ProcessHandover(files, lock, former, former, former)
            if former is None and record.serving is not None:
                _end_unresponsive(record.serving)
            new = _start(files, spec, former)
        except BaseException:
            lock.release()
            raise
        return ProcessHandover(files, lock, new, former, record.serving)

    def status(self, placement: Placement) -> Deployment | None:
        serving = server_records.read(_EnvironmentFiles(placement).record).serving
        return serving.deployment if serving is not None and _is_serving(serving) else None

    def stop(self, placement: Placement) -> bool:
        files = _EnvironmentFiles(placement)
        if not files.record.parent.is_dir():
            return False
        with environment_lock.acquire(placement):
            record = server_records.read(files.record)
            _end_unrecorded(files, record)
            running = [
                process
                for server in (record.serving, record.former)
                if server is not None and (process := _running(server)) is not None
            ]
            for process in running:
                server_process.end(process)
            server_records.write(files.record, EnvironmentRecord())
        return bool(running)

    # --- CopiesRequests -----------------------------------------------------------------------

    def start_shadow(self, placement: Placement, spec: ShadowSpec) -> dict[str, Any]:
        serving = server_records.read(_EnvironmentFiles(placement).record).serving
        if serving is None or serving.digest != spec.champion.digest:
            raise EnvironmentFault(
                f"{placement.name} no longer serves the champion, so its requests cannot be copied"
            )
        records = placement.home / f"shadow/{spec.challenger.name}.jsonl"
        return process_shadow.start(serving.control, records, spec).to_json()

    def shadow_counts(self, shadow: dict[str, Any]) -> CopyCounts | None:
        return process_shadow.ReaderProcess.of(shadow).counts

    def shadow_records(self, shadow: dict[str, Any]) -> Path:
        return Path(process_shadow.ReaderProcess.of(shadow).records)

    def end_shadow(self, shadow: dict[str, Any]) -> CopyCounts | None:
        return process_shadow.ReaderProcess.of(shadow).end()


class ProcessHandover(BaseHandover):
    """The new server serves, the former one waits with its socket closed to new connections."""

    def __init__(
        self,
        files: _EnvironmentFiles,
        lock: Lock,
        new: ServerRecord,
        former: ServerRecord | None,
        record: ServerRecord | None,
    ) -> None:
        super().__init__(lock)
        self._files = files
        self._new = new
        self._former = former
        self._previous = record

    @property
    def deployment(self) -> Deployment:
        return self._new.deployment

    @property
    def former(self) -> Deployment | None:
        return None if self._former is None else self._former.deployment

    @property
    def changed(self) -> bool:
        return self._new is not self._former

    def _keep(self) -> None:
        server_records.write(self._files.record, EnvironmentRecord(self._new))
        if self._former is not None:
            server_process.end(_running(self._former))

    def _revert(self) -> None:
        _revert_switch(self._files, self._new, self._former, self._previous)


class _EnvironmentFiles:
    """Paths of an environment's files in the home."""

    def __init__(self, placement: Placement) -> None:
        folder = placement.home / "servers"
        self.record = folder / f"{placement.name}.json"
        self.log = folder / f"{placement.name}.log"


def _refuse_inside_container(placement: Placement) -> None:
    marker = container_detection.container_marker()
    if marker is not None:
        name = placement.name
        raise UsageError(
            f"{name}: this is a container ({marker}), and a server process would end with it",
            expected="target docker, or an agent without a container",
            hint=f"set environments.{name}.target to docker, or, if the container stays, the "
            f"environment variable {container_detection.ALLOW_VARIABLE} to allow",
        )


@dataclass(frozen=True)
class _ServerSpec:
    """The server to be started."""

    placement: Placement
    bundle: Bundle
    version: int | None
    token: str | None

    @property
    def host(self) -> str:
        return self.placement.section.host

    @property
    def port(self) -> int:
        return self.placement.section.port

    @property
    def token_env(self) -> str | None:
        return self.placement.serving.token_env

    @property
    def settings(self) -> list[str]:
        return [
            *server_arguments.limit_arguments(self.placement.serving),
            *server_arguments.raw_rows_arguments(
                self.placement.name, self.placement.section, self.placement.serving
            ),
            *server_arguments.prediction_log_arguments(
                self.placement.serving, server_arguments.log_folder(self.placement)
            ),
            *redaction_key.server_key_arguments(self.placement.serving, self.placement.home),
        ]

    def server(self, process: server_process.StartedServer, port: int) -> ServerRecord:
        return ServerRecord(
            pid=process.pid,
            started=process.started,
            version=self.version,
            digest=self.bundle.digest,
            bundle=str(self.bundle.path),
            host=self.host,
            asked_port=self.port,
            port=port,
            control=str(process.control),
            token_env=self.token_env,
            settings=shlex.join(self.settings),
        )

    def has_address_of(self, server: ServerRecord) -> bool:
        return (self.host, self.port) == (server.host, server.asked_port)

    def is_served_by(self, server: ServerRecord) -> bool:
        """Whether a running server equals this specification and is healthy."""
        expected = replace(
            server,
            version=self.version,
            digest=self.bundle.digest,
            host=self.host,
            asked_port=self.port,
            token_env=self.token_env,
            settings=shlex.join(self.settings),
        )
        if expected != server:
            return False
        try:
            probe.probe(server.url, self.bundle, self.version, self.token)
        except Refused:
            return False
        return True


def _start(
    files: _EnvironmentFiles, spec: _ServerSpec, former: ServerRecord | None
) -> ServerRecord:
    """Start, verify and switch; on any error the former server serves as before."""
    with _public_socket(spec, former) as public:
        process = server_process.start(
            spec.bundle,
            spec.version,
            host=spec.host,
            token_env=spec.token_env,
            key_env=spec.placement.serving.redact_key_env,
            settings=spec.settings,
            log=files.log,
            low_priority=former is not None,
        )
        new = spec.server(process, public.getsockname()[1])
        before = server_records.read(files.record)
        try:
            probe.probe(process.url, spec.bundle, spec.version, spec.token)
            priority.restore(process.pid)
            server_records.write(files.record, EnvironmentRecord(new, former))
            control_socket.send_command(process.control, "serve", public)
            if former is not None:
                control_socket.send_command(Path(former.control), "pause")
            probe.probe(new.url, spec.bundle, spec.version, spec.token)
        except OSError as error:
            _revert_switch(files, new, former, before.serving)
            raise EnvironmentFault(f"the switch to the new server failed: {error}") from error
        except BaseException:
            _revert_switch(files, new, former, before.serving)
            raise
    return new


def _public_socket(spec: _ServerSpec, former: ServerRecord | None) -> socket.socket:
    """Return the listening socket of the former server, or a new one at the address."""
    if former is not None and spec.has_address_of(former):
        public = control_socket.send_command(Path(former.control), "lend")[1]
        if public is not None:
            return public
    try:
        return bind(spec.host, spec.port)
    except EnvironmentFault as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE:
            own = ports.own_server(spec.port)
            if own is not None:
                home, name = own
                raise UsageError(
                    f"port {spec.port} is held by {ports.describe_server(home, name)}",
                    hint=f"set environments.{spec.placement.name}.port to another, or end that "
                    f"server with 'ML_HOME={home} ml-pipeline stop {name}' in its project",
                ) from None
            raise EnvironmentFault(
                f"port {spec.port} of {spec.host} is in use by {ports.describe_owner(spec.port)}",
                hint="end it, or set another port for the environment",
            ) from None
        raise


def _revert_switch(
    files: _EnvironmentFiles,
    new: ServerRecord,
    former: ServerRecord | None,
    record: ServerRecord | None,
) -> None:
    """Let the former server accept connections again, then end the new one."""
    error_of_former: OSError | None = None
    if former is not None:
        try:
            control_socket.send_command(Path(former.control), "serve")
        except OSError as error:
            error_of_former = error
    server_process.end(_running(new))
    server_records.write(files.record, EnvironmentRecord(record))
    if former is not None and error_of_former is not None and _running(former) is None:
        raise EnvironmentFault(
            f"the former server, version {former.version}, ended meanwhile: {error_of_former}",
            hint=f"start it again; see {files.log}",
        )


def _recover(files: _EnvironmentFiles) -> EnvironmentRecord:
    """Return the record, after undoing what an interrupted command left."""
    record = server_records.read(files.record)
    _end_unrecorded(files, record)
    if record.former is None:
        return record
    if record.serving is not None and _is_serving(record.serving):
        server_process.end(_running(record.former))
        record_after = EnvironmentRecord(record.serving)
    else:
        if record.serving is not None:
            _end_unresponsive(record.serving)
        try:
            control_socket.send_command(Path(record.former.control), "serve")
        except OSError:
            server_process.end(_running(record.former))
        record_after = EnvironmentRecord(record.former)
    server_records.write(files.record, record_after)
    return record_after


def _end_unresponsive(server: ServerRecord) -> None:
    """End a server that does not respond, if it still runs."""
    process = _running(server)
    if process is not None:
        logger.warning("the server (process %d) does not respond: it is ended", process.pid)
        server_process.end(process, server_process.HUNG_SECONDS)


def _running(server: ServerRecord) -> psutil.Process | None:
    """Return the process of a server, identified by its record or over its control socket."""
    import psutil

    process = server.process()
    if process is not None:
        return process
    try:
        status, _ = control_socket.send_command(
            Path(server.control), "status", timeout=STATUS_SECONDS
        )
        if (status.get("pid"), status.get("digest")) == (server.pid, server.digest):
            return psutil.Process(server.pid)
    except (OSError, psutil.NoSuchProcess):
        return None
    return None


def _end_unrecorded(files: _EnvironmentFiles, record: EnvironmentRecord) -> None:
    """End servers of a command that was killed before it recorded them."""
    import psutil

    name_pattern = re.compile(re.escape(files.log.stem) + r"-[0-9a-f]{8}\.sock")
    recorded = {server.control for server in (record.serving, record.former) if server is not None}
    for path in files.log.parent.glob("*.sock"):
        if not name_pattern.fullmatch(path.name) or str(path) in recorded:
            continue
        try:
            status, _ = control_socket.send_command(path, "status", timeout=STATUS_SECONDS)
            server_process.end(psutil.Process(int(status["pid"])))
        except (OSError, KeyError, psutil.NoSuchProcess):
            pass  # no server listens there
        path.unlink(missing_ok=True)


def _is_serving(server: ServerRecord | None) -> bool:
    """Whether the recorded server responds on its control socket and at its address."""
    if server is None:
        return False
    try:
        status, _ = control_socket.send_command(
            Path(server.control), "status", timeout=STATUS_SECONDS
        )
        with probe.client(server.url, timeout=STATUS_SECONDS) as api:
            response = api.get("/health/ready")
    except (OSError, httpx.HTTPError, PipelineError):
        return False
    return (status.get("pid"), status.get("digest")) == (
        server.pid,
        server.digest,
    ) and response.status_code == httpx.codes.OK
