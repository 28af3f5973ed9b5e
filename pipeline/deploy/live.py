"""A live shadow: production's server copies its requests to a challenger until it is told to stop.

What runs is remembered in ``home/shadow/<environment>.json``, so that one command starts it and
another one, on another agent of the same home, judges it.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline import workdir
from pipeline.deploy import launch, state
from pipeline.deploy.base import Deployment
from pipeline.deploy.mirroring import Settings
from pipeline.errors import EnvironmentFault, Refused, UsageError
from pipeline.home import Home
from pipeline.report import ModelRef
from pipeline.serving import control, mirror

SCHEMA = "ml-pipeline/shadow/1"
LAST_SECONDS = 10.0
"""After the longest wait for the challenger, for the reader to end."""


@dataclass(frozen=True)
class Live:
    """A shadow that was started. Times in seconds since the epoch."""

    started: float
    reader: int
    reader_created: float
    control: str
    """The control socket of the champion's server."""
    champion_version: int | None
    champion_digest: str
    challenger: ModelRef
    timeout: float
    records: str

    @property
    def minutes(self) -> float:
        return (time.time() - self.started) / 60


def start(
    home: Home,
    name: str,
    champion: Deployment,
    challenger: Deployment,
    model: ModelRef,
    positions: Sequence[int] | None,
    *,
    environment: str,
    share: float,
    timeout: float,
    token_env: str | None,
) -> Live:
    """Let the champion's server copy its requests to the challenger from now on.

    A shadow of this environment that runs already is ended, and what it saw forgotten.

    Args:
        home: where its state and its records lie.
        name: the challenger's environment.
        champion: a server process of this machine.
        challenger: who is asked.
        model: which model that is.
        positions: of its features in the champion's, where they differ.
        environment: the champion's.
        share: of the requests, 0 to 1.
        timeout: seconds that the challenger may take.
        token_env: names the variable with the servers' token.

    Raises:
        EnvironmentFault: the server does not answer its control socket, or the system lacks it.
    """
    former = read(home, name)
    if former is not None:
        end(former)
    serving = state.read(home / f"servers/{environment}.json").serving
    if serving is None or serving.digest != champion.digest:
        raise EnvironmentFault(f"{environment} serves nothing that can copy its requests")
    folder = home / "shadow"
    folder.mkdir(mode=0o700, exist_ok=True)
    records = folder / f"{name}.jsonl"
    workdir.write_text(records, "")
    records.chmod(0o600)
    settings = Settings(
        url=challenger.url,
        version=challenger.version,
        token_env=token_env,
        timeout=timeout,
        positions=None if positions is None else tuple(positions),
        records=str(records),
    )
    try:
        ours, theirs = mirror.pair()
    except OSError as error:
        raise EnvironmentFault(f"this system cannot copy requests: {error}") from None
    with ours, theirs:
        pid, created = _reader(folder / name, settings, theirs)
        theirs.close()
        try:
            control.ask(Path(serving.control), "mirror", ours, share=share)
        except OSError as error:
            raise EnvironmentFault(f"{environment} does not copy its requests: {error}") from None
    live = Live(
        started=time.time(),
        reader=pid,
        reader_created=created,
        control=serving.control,
        champion_version=champion.version,
        champion_digest=champion.digest,
        challenger=model,
        timeout=timeout,
        records=str(records),
    )
    values = {"schema": SCHEMA} | asdict(live) | {"challenger": model.model_dump()}
    workdir.write_text(folder / f"{name}.json", json.dumps(values, indent=2) + "\n")
    return live


def read(home: Home, name: str) -> Live | None:
    """Return the shadow of an environment that was started and not ended.

    Raises:
        EnvironmentFault: its file is not one that this module wrote.
    """
    path = home / f"shadow/{name}.json"
    try:
        values: dict[str, Any] = json.loads(path.read_bytes())
        schema = values.pop("schema")
        model = ModelRef(**values.pop("challenger"))
        live = Live(**values, challenger=model)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EnvironmentFault(
            f"cannot read {path}: {error}", hint="remove it and start the shadow again"
        ) from None
    if schema != SCHEMA:
        raise EnvironmentFault(f"{path}: schema {schema!r}", expected=repr(SCHEMA))
    return live


def copied(live: Live) -> tuple[int, int] | None:
    """Return how many requests were offered and dropped; None if the copying has ended."""
    return _counts(live, "mirror")


def end(live: Live) -> tuple[int, int] | None:
    """End the copying, wait until the last answer is written down, and return the counts."""
    counts = _counts(live, "unmirror")
    process = _process(live)
    if process is not None:
        import psutil

        try:
            process.wait(live.timeout + LAST_SECONDS)
        except psutil.TimeoutExpired:
            process.kill()
    return counts


def forget(home: Home, name: str) -> None:
    """Remove the state; the records stay until the next start."""
    (home / f"shadow/{name}.json").unlink(missing_ok=True)


def positions(champion: Sequence[str], challenger: Sequence[str]) -> tuple[int, ...] | None:
    """Return where the challenger's features are among the champion's; None if at the same places.

    Raises:
        Refused: the champion's requests lack one.
    """
    lacking = [name for name in challenger if name not in champion]
    if lacking:
        raise Refused(
            f"requests for the champion lack the challenger's feature '{lacking[0]}'",
            expected="a challenger whose features are among the champion's",
            hint="replay the holdout instead, where each has features of its own",
        )
    if tuple(champion) == tuple(challenger):
        return None
    return tuple(list(champion).index(name) for name in challenger)


def _counts(live: Live, command: str) -> tuple[int, int] | None:
    try:
        told, _ = control.ask(Path(live.control), command)
    except OSError:
        return None
    return (int(told["offered"]), int(told["dropped"])) if "offered" in told else None


def _reader(place: Path, settings: Settings, queue: socket.socket) -> tuple[int, float]:
    """Start the process that asks the challenger; it outlives this command."""
    import psutil

    config = workdir.write_text(place.with_suffix(".settings.json"), settings.to_json())
    command = [sys.executable, "-P", "-m", "pipeline.deploy.mirroring"]
    with place.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(
            [*command, str(config), str(queue.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=place.parent,
            env=dict(launch.environment(settings.token_env)),
            pass_fds=[queue.fileno()],
        )
    process.returncode = 0  # it is the system's to wait for from here on
    return process.pid, psutil.Process(process.pid).create_time()


def _process(live: Live) -> Any:
    import psutil

    try:
        process = psutil.Process(live.reader)
        same = abs(process.create_time() - live.reader_created) <= state.CLOCK_SECONDS
        if same and process.status() != psutil.STATUS_ZOMBIE:
            return process
    except psutil.Error:
        pass  # it has ended
    return None


def check_target(target: str, environment: str) -> None:
    """Refuse targets whose servers cannot be told to copy their requests.

    Raises:
        UsageError: it is no process of this machine.
    """
    if target != "process":
        raise UsageError(
            f"{environment} has the target {target}, whose servers cannot be told to copy requests",
            expected="target process",
            hint="replay instead: 'ml-pipeline shadow ENV' without --start",
        )
