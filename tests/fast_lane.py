"""The tests of ``bin/test fast``: those that need neither engine, JVM, database nor waiting.

A test is left out if it is marked ``slow``, lies in a folder of ``FOLDERS``, or uses a fixture of
``FIXTURES``, its own or one that another fixture uses. What remains is held to it: a test that
starts one of ``PROGRAMS``, opens a registry's database or sleeps longer than ``MOST_SLEEP`` at once
(by ``time.sleep``; a coroutine's sleep may be cancelled) fails, with the mark to set.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent

FOLDERS = {
    "docker": "a Docker engine",
    "examples": "whole deliveries of the example",
    "integration": "whole deliveries",
    "jenkins": "a JVM",
    "project": "projects whose tests and linters run",
    "stages": "registries and servers",
}
"""Folder of ``tests``: what most of its tests need."""

FIXTURES = {
    "registry_database": "a registry's database",
    "engine": "a Docker engine",
    "jenkins": "a JVM",
    "promtool": "Prometheus",
    **dict.fromkeys(("place", "docker_place", "kubernetes_place"), "servers"),
    **dict.fromkeys(("target_place", "machine_target_place"), "servers"),
}
"""Fixture: what it needs."""

PROGRAMS = frozenset({"docker", "dockerd", "java", "kubectl", "mvn", "postgres"})
DATABASES = frozenset({"mlflow.db", "mlflow.db?mode=ro"})
MOST_SLEEP = 0.25
"""Longest single sleep of a test, in seconds; the number of polls depends on the load."""

COLLECTED = pytest.StashKey[list[str]]()
"""Ids of all tests, before deselection."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--lane",
        choices=("fast", "rest"),
        help="only the tests of bin/test fast, or only the others",
    )


def is_fast_lane(config: pytest.Config) -> bool:
    return config.getoption("--lane") == "fast"


def need_of(item: pytest.Item) -> str:
    """Return what a test needs beyond Python; "" if it is in the fast lane."""
    if item.get_closest_marker("slow"):
        return "time"
    if item.path.is_relative_to(ROOT):
        folder = item.path.relative_to(ROOT).parts[0]
        if folder in FOLDERS:
            return FOLDERS[folder]
    elif item.path.is_relative_to(ROOT.parent):
        return "a distribution of its own"
    used = FIXTURES.keys() & set(getattr(item, "fixturenames", ()))
    return FIXTURES[min(used)] if used else ""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    config.stash[COLLECTED] = [item.nodeid for item in items]
    if lane := config.getoption("--lane"):
        left_out = [item for item in items if bool(need_of(item)) == (lane == "fast")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if bool(need_of(item)) != (lane == "fast")]


class Watch:
    """Forbidden actions of the running test."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self.seen: list[str] = []
        self.longest = 0.0

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen":
            program = Path(os.fsdecode(arguments[0] or arguments[1][0])).name
            if program in PROGRAMS:
                self.seen.append(f"starts {program}")
        elif event == "sqlite3.connect":
            name = Path(os.fsdecode(arguments[0])).name
            if name in DATABASES:
                self.seen.append(f"opens the database {name}")

    def sleep(self, sleep: Callable[[float], None]) -> Callable[[float], None]:
        def counted(seconds: float) -> None:
            self.longest = max(self.longest, seconds)
            sleep(seconds)

        return counted

    def faults(self) -> list[str]:
        slept = [f"sleeps {self.longest:g} s"] if self.longest > MOST_SLEEP else []
        return [*dict.fromkeys(self.seen), *slept]


watch = Watch()


def pytest_configure(config: pytest.Config) -> None:
    if is_fast_lane(config):
        sys.addaudithook(watch.audit)
        time.sleep = watch.sleep(time.sleep)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    watch.restart()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, None, None]:
    yield
    if is_fast_lane(item.config) and (faults := watch.faults()):
        pytest.fail(f"{' and '.join(faults)}: mark the test with pytest.mark.slow", pytrace=False)
