"""A PostgreSQL of Debian's packages for tests, with a data folder and a password of its own.

Each lane of a run starts one, in a folder of its own, reached by a socket in that folder: lanes
share no name and no port. With CI=true, as root, a missing PostgreSQL is installed; otherwise a
test is skipped with the command that would enable it.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from tests.docker.engine import one_at_a_time
from tests.docker.machine import ci, install, lacking

USER = "tester"
HOW = "apt-get install postgresql   (as root; CI=true does so itself)"
SERVER_USERS = ("postgres", "nobody")
"""PostgreSQL refuses to run as root."""


@dataclass(frozen=True)
class Postgres:
    """A running server. ``url`` has ``{password}`` in the place of the password."""

    folder: Path
    password: str

    def url(self, database: str, *, password: str = "{password}") -> str:
        return f"postgresql+psycopg://{USER}:{password}@/{database}?host={quote(str(self.folder))}"

    def connect(self, database: str) -> psycopg.Connection:
        return psycopg.connect(
            host=str(self.folder), user=USER, password=self.password, dbname=database
        )

    def create(self, database: str) -> str:
        """Create an empty database and return its name."""
        with psycopg.connect(
            host=str(self.folder), user=USER, password=self.password, dbname="postgres",
            autocommit=True,
        ) as connection:  # fmt: skip
            connection.execute(psycopg.sql.SQL("create database {}").format(_name(database)))
        return database


def _name(text: str) -> psycopg.sql.Identifier:
    return psycopg.sql.Identifier(text)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with one_at_a_time("postgres"):
        programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="ml-pipeline-pg-"))  # short: it holds a socket
    as_user = _as_user(folder)
    password = secrets.token_hex(16)
    secret = folder / "password"
    secret.write_text(password)
    if as_user:
        shutil.chown(secret, *_owner())
    data, log = folder / "data", folder / "log"
    settings = (
        f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off "
        "-c synchronous_commit=off -c full_page_writes=off -c shared_buffers=32MB"
    )
    control = [*as_user, str(programs / "pg_ctl"), "-D", str(data), "-s", "-w"]
    try:
        _run(
            [
                *as_user, str(programs / "initdb"), "-D", str(data), "-U", USER, "-A",
                "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8", "--no-locale", "--no-sync",
            ]
        )  # fmt: skip
        _run([*control, "-l", str(log), "-o", settings, "start"], log)
        try:
            yield Postgres(folder, password)
        finally:
            _run([*control, "-m", "fast", "stop"], log)
    finally:
        shutil.rmtree(folder)


def _programs() -> Path:
    """Return the folder of initdb and pg_ctl, which Debian keeps out of PATH."""
    installed = _installed()
    if installed is None:
        if not ci() or os.geteuid() != 0:
            lacking("PostgreSQL", HOW)
        install("postgresql")
        installed = _installed()
    assert installed is not None, "apt-get install postgresql installed no initdb"
    return installed


def _installed() -> Path | None:
    versions = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3])
    )
    if versions:
        return versions[-1].parent
    program = shutil.which("initdb")
    return None if program is None else Path(program).resolve().parent


def _owner() -> tuple[int, int]:
    for name in SERVER_USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    pytest.fail(f"no user of the system to run PostgreSQL as: {' or '.join(SERVER_USERS)}")


def _as_user(folder: Path) -> list[str]:
    """Return the words before a command that make it run as the owner of the folder."""
    if os.geteuid() != 0:
        return []
    uid, gid = _owner()
    shutil.chown(folder, uid, gid)
    return ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--"]


def _run(command: list[str], log: Path | None = None) -> None:
    done = subprocess.run(
        command,
        cwd="/",
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    log_text = log.read_text() if done.returncode and log is not None and log.exists() else ""
    assert done.returncode == 0, f"{command}: {done.stderr}{log_text}"
