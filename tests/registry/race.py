"""Two processes that claim the same numbers at the same time."""

from __future__ import annotations

import multiprocessing
import secrets
from pathlib import Path

from ml_pipeline.core.home import Home
from ml_pipeline.registry.registry import Registry

NUMBERS = 25
NAMES = ("asha", "bela")


def race(uri: str | None, home: Path) -> dict[str, list[tuple[bool, str]]]:
    """Return, for each claimant, whether it won each number, and who it was told holds it."""
    spawn = multiprocessing.get_context("spawn")
    barrier, answers = spawn.Barrier(len(NAMES)), spawn.Queue()
    runners = [spawn.Process(target=claimant, args=(uri, home, n, barrier, answers)) for n in NAMES]
    for runner in runners:
        runner.start()
    found = dict(answers.get(timeout=120) for _ in runners)
    for runner in runners:
        runner.join(30)
        assert runner.exitcode == 0
    return found


def claimant(uri, home, name, barrier, answers) -> None:
    registry = Registry(uri, "raced", Home(home))
    registry.read()
    told = []
    for number in range(1, NUMBERS + 1):
        barrier.wait(60)
        claim = registry.leases.acquire(
            number, secrets.token_hex(16), by=name, run_id=f"run-{name}"
        )
        told.append((bool(claim), claim.holder.by))
    answers.put((name, told))


def check(found: dict[str, list[tuple[bool, str]]]) -> None:
    """Of each number exactly one is the winner, and both know who."""
    for (one, one_told), (other, other_told) in zip(*(found[name] for name in NAMES), strict=True):
        assert one != other
        assert one_told == other_told == NAMES[0 if one else 1]
