"""The embedded target: a server process on this machine, which outlives the command.

A rollover refuses no connection. The new server answers on a port of its own until it has proved
itself; then it is handed the public socket of the old one, so that both take from one queue; then
the old one stops taking, finishes its requests and ends. A new server that fails is never handed
the socket.
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
    server_arguments,
    server_records,
)
from ml_pipeline.targets.base import CopyCounts, Deployment, Placement, ShadowSpec
from ml_pipeline.targets.handover import BaseHandover
from ml_pipeline.targets.process import live_shadow as process_shadow
from ml_pipeline.targets.process import priority, server_process
from ml_pipeline.targets.released_bundles import release
from ml_pipeline.targets.server_records import Server, State
from ml_pipeline.traffic import probe

if TYPE_CHECKING:
    import psutil

STATUS_SECONDS = 2.0

logger = logging.getLogger(__name__)


class ProcessTarget:
    """Servers as processes of this machine, one an environment."""

    def handover(self, placement: Placement, bundle: Path, version: int | None) -> ProcessHandover:
        """See ``Target.handover``. Nobody else deploys to the environment until it is decided."""
        place = _Slot(placement)
        token = read_token(placement.section.host, placement.serving.token_env)
        _refuse_inside_container(placement)
        lock = environment_lock.hold(placement)
        try:
            known = _without_leftovers(place)
            released = release(bundle, placement.home)
            former = known.serving if _answers(known.serving) else None
            wanted = _Wanted(placement, released, version, token)
            if former is not None and wanted.is_served_by(former):
                return ProcessHandover(place, lock, former, former, former)
            if former is None and known.serving is not None:
                _end_silent(known.serving)
            new = _start(place, wanted, former)
        except BaseException:
            lock.release()
            raise
        return ProcessHandover(place, lock, new, former, known.serving)

    def status(self, placement: Placement) -> Deployment | None:
        serving = server_records.read(_Slot(placement).state).serving
        return serving.deployment if serving is not None and _answers(serving) else None

    def stop(self, placement: Placement) -> bool:
        place = _Slot(placement)
        if not place.state.parent.is_dir():
            return False
        with environment_lock.hold(placement):
            known = server_records.read(place.state)
            _end_unknown(place, known)
            running = [
                process
                for server in (known.serving, known.former)
                if server is not None and (process := _running(server)) is not None
            ]
            for process in running:
                server_process.end(process)
            server_records.write(place.state, State())
        return bool(running)

    # --- CopiesRequests -----------------------------------------------------------------------

    def start_shadow(self, placement: Placement, spec: ShadowSpec) -> dict[str, Any]:
        serving = server_records.read(_Slot(placement).state).serving
        if serving is None or serving.digest != spec.champion.digest:
            raise EnvironmentFault(f"{placement.name} serves nothing that can copy its requests")
        records = placement.home / f"shadow/{spec.challenger.name}.jsonl"
        return process_shadow.start(serving.control, records, spec).to_json()

    def shadow_counts(self, shadow: dict[str, Any]) -> CopyCounts | None:
        return process_shadow.Reader.of(shadow).counts

    def shadow_records(self, shadow: dict[str, Any]) -> Path:
        return Path(process_shadow.Reader.of(shadow).records)

    def end_shadow(self, shadow: dict[str, Any]) -> CopyCounts | None:
        return process_shadow.Reader.of(shadow).end()


class ProcessHandover(BaseHandover):
    """The new server serves, the former one waits with its socket closed to new connections."""

    def __init__(
        self,
        place: _Slot,
        lock: Lock,
        new: Server,
        former: Server | None,
        known: Server | None,
    ) -> None:
        super().__init__(lock)
        self._place = place
        self._new = new
        self._former = former
        self._known = known

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
        server_records.write(self._place.state, State(self._new))
        if self._former is not None:
            server_process.end(_running(self._former))

    def _revert(self) -> None:
        _take_back(self._place, self._new, self._former, self._known)


class _Slot:
    """The files of an environment in the home."""

    def __init__(self, placement: Placement) -> None:
        folder = placement.home / "servers"
        self.state = folder / f"{placement.name}.json"
        self.log = folder / f"{placement.name}.log"


def _refuse_inside_container(placement: Placement) -> None:
    marker = container_detection.container()
    if marker is not None:
        name = placement.name
        raise UsageError(
            f"{name}: this is a container ({marker}), and a server process would end with it",
            expected="target docker, or an agent without a container",
            hint=f"set environments.{name}.target to docker, or, if the container stays, the "
            f"environment variable {container_detection.ALLOW_VARIABLE} to allow",
        )


@dataclass(frozen=True)
class _Wanted:
    """What is to be served, where and how."""

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
            *server_arguments.limits(self.placement.serving),
            *server_arguments.raw_rows(
                self.placement.name, self.placement.section, self.placement.serving
            ),
            *server_arguments.prediction_log(
                self.placement.serving, server_arguments.log_folder(self.placement)
            ),
        ]

    def server(self, started: server_process.Started, port: int) -> Server:
        return Server(
            pid=started.pid,
            started=started.started,
            version=self.version,
            digest=self.bundle.digest,
            bundle=str(self.bundle.path),
            host=self.host,
            asked_port=self.port,
            port=port,
            control=str(started.control),
            token_env=self.token_env,
            settings=shlex.join(self.settings),
        )

    def at_address_of(self, server: Server) -> bool:
        return (self.host, self.port) == (server.host, server.asked_port)

    def is_served_by(self, server: Server) -> bool:
        """Whether a server that answers is this very one, healthy by its golden predictions."""
        alike = replace(
            server,
            version=self.version,
            digest=self.bundle.digest,
            host=self.host,
            asked_port=self.port,
            token_env=self.token_env,
            settings=shlex.join(self.settings),
        )
        if alike != server:
            return False
        try:
            probe.probe(server.url, self.bundle, self.version, self.token)
        except Refused:
            return False
        return True


def _start(place: _Slot, wanted: _Wanted, former: Server | None) -> Server:
    """Start, prove and switch; on any error what was there before serves as before."""
    with _public_socket(wanted, former) as public:
        started = server_process.start(
            wanted.bundle,
            wanted.version,
            host=wanted.host,
            token_env=wanted.token_env,
            settings=wanted.settings,
            log=place.log,
            gives_way=former is not None,
        )
        new = wanted.server(started, public.getsockname()[1])
        before = server_records.read(place.state)
        try:
            probe.probe(started.url, wanted.bundle, wanted.version, wanted.token)
            priority.restore(started.pid)
            server_records.write(place.state, State(new, former))
            control_socket.send_command(started.control, "serve", public)
            if former is not None:
                control_socket.send_command(Path(former.control), "pause")
            probe.probe(new.url, wanted.bundle, wanted.version, wanted.token)
        except OSError as error:
            _take_back(place, new, former, before.serving)
            raise EnvironmentFault(f"the switch to the new server failed: {error}") from error
        except BaseException:
            _take_back(place, new, former, before.serving)
            raise
    return new


def _public_socket(wanted: _Wanted, former: Server | None) -> socket.socket:
    """Return the socket that the former server listens on, or a new one at the address."""
    if former is not None and wanted.at_address_of(former):
        lent = control_socket.send_command(Path(former.control), "lend")[1]
        if lent is not None:
            return lent
    try:
        return bind(wanted.host, wanted.port)
    except EnvironmentFault as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE:
            ours = ports.own_server(wanted.port)
            if ours is not None:
                home, name = ours
                raise UsageError(
                    f"port {wanted.port} is held by {ports.named(home, name)}",
                    hint=f"set environments.{wanted.placement.name}.port to another, or end that "
                    f"server with 'ML_HOME={home} ml-pipeline stop {name}' in its project",
                ) from None
            raise EnvironmentFault(
                f"port {wanted.port} of {wanted.host} is in use by {ports.owner(wanted.port)}",
                hint="end that, or give the environment another port",
            ) from None
        raise


def _take_back(place: _Slot, new: Server, former: Server | None, known: Server | None) -> None:
    """Let the former server take connections again, then end the new one."""
    lost: OSError | None = None
    if former is not None:
        try:
            control_socket.send_command(Path(former.control), "serve")
        except OSError as error:
            lost = error
    server_process.end(_running(new))
    server_records.write(place.state, State(known))
    if former is not None and lost is not None and _running(former) is None:
        raise EnvironmentFault(
            f"the former server, version {former.version}, ended meanwhile: {lost}",
            hint=f"start it again; see {place.log}",
        )


def _without_leftovers(place: _Slot) -> State:
    """Return the state; end what an interrupted command left waiting beside the server."""
    known = server_records.read(place.state)
    _end_unknown(place, known)
    if known.former is None:
        return known
    if known.serving is not None and _answers(known.serving):
        server_process.end(_running(known.former))
        recovered = State(known.serving)
    else:
        if known.serving is not None:
            _end_silent(known.serving)
        try:
            control_socket.send_command(Path(known.former.control), "serve")
        except OSError:
            server_process.end(_running(known.former))
        recovered = State(known.former)
    server_records.write(place.state, recovered)
    return recovered


def _end_silent(server: Server) -> None:
    """End a server that does not answer, if it still runs."""
    process = _running(server)
    if process is not None:
        logger.warning("the server (process %d) does not answer: it is ended", process.pid)
        server_process.end(process, server_process.HUNG_SECONDS)


def _running(server: Server) -> psutil.Process | None:
    """Return the process of a server; one that its record does not fit may still say it is it."""
    import psutil

    process = server.process()
    if process is not None:
        return process
    try:
        facts, _ = control_socket.send_command(
            Path(server.control), "status", timeout=STATUS_SECONDS
        )
        if (facts.get("pid"), facts.get("digest")) == (server.pid, server.digest):
            return psutil.Process(server.pid)
    except (OSError, psutil.NoSuchProcess):
        return None
    return None


def _end_unknown(place: _Slot, known: State) -> None:
    """End servers that were started by a command that was killed before it wrote them down."""
    import psutil

    own = re.compile(re.escape(place.log.stem) + r"-[0-9a-f]{8}\.sock")
    recorded = {server.control for server in (known.serving, known.former) if server is not None}
    for path in place.log.parent.glob("*.sock"):
        if not own.fullmatch(path.name) or str(path) in recorded:
            continue
        try:
            facts, _ = control_socket.send_command(path, "status", timeout=STATUS_SECONDS)
            server_process.end(psutil.Process(int(facts["pid"])))
        except (OSError, KeyError, psutil.NoSuchProcess):
            pass  # nobody listens there any more
        path.unlink(missing_ok=True)


def _answers(server: Server | None) -> bool:
    """Whether the process that was started answers on its control socket, and at its address."""
    if server is None:
        return False
    try:
        facts, _ = control_socket.send_command(
            Path(server.control), "status", timeout=STATUS_SECONDS
        )
        with probe.client(server.url, timeout=STATUS_SECONDS) as api:
            response = api.get("/health/ready")
    except (OSError, httpx.HTTPError, PipelineError):
        return False
    return (facts.get("pid"), facts.get("digest")) == (
        server.pid,
        server.digest,
    ) and response.status_code == httpx.codes.OK
