"""The registry as a SQLite file: where it is, and whether it was lost."""

from __future__ import annotations

import json
import re
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

from ml_pipeline.core import locks
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.home import HISTORY, Home

SQLITE = "sqlite:///"
DRIVER = "sqlite+pysqlite:///"
SPECIAL = {"%": "%25", "?": "%3F", "#": "%23"}
"""Characters of a path that mean something else in an address."""
ADDRESS = re.compile(r"sqlite(?:\+\w+)?:///([^?]+)")
SHOWN = 5
"""Versions that a message names; the newest ones."""


def address(file: Path | str) -> str:
    """Return the address of a SQLite file, whatever characters its path has.

    SQLAlchemy decodes ``%XX`` in an address and lets ``?`` begin its options. MLflow makes the
    folder that the address spells undecoded, unless the address names the driver.
    """
    path = str(file)
    if not any(character in path for character in SPECIAL):
        return f"{SQLITE}{path}"
    return f"{DRIVER}{''.join(SPECIAL.get(character, character) for character in path)}"


def file_of(uri: str) -> Path | None:
    """Return the file of a SQLite address; None for every other one."""
    found = ADDRESS.match(uri)
    return None if found is None or found[1] == ":memory:" else Path(unquote(found[1]))


def has_database(file: Path, home: Home) -> bool:
    """Return whether the file is there with content; a new project has none yet.

    Raises:
        EnvironmentFault: it is gone or empty, though the home's history tells of promotions. A new
            one in its place would give the numbers of their versions to other models.
    """
    if file.exists() and (not file.is_file() or file.stat().st_size > 0):
        return True
    versions = _promoted_versions(home)
    if versions is None:
        return False
    raise EnvironmentFault(
        f"registry {file} is {'empty' if file.exists() else 'gone'}, though this home's history "
        f"knows {versions}",
        hint="restore the file from a backup; without one 'ml-pipeline reconcile production "
        "--restore-registry' registers again what this home released",
    )


def create_database(file: Path, home: Home, *, again: bool = False) -> None:
    """Make MLflow's database: whole or not there, by whichever process comes first.

    With ``again`` also where it is lost, which ``has_database`` refuses.

    MLflow's migrations are no transaction: two processes that run them at once, or one that is
    killed meanwhile, would leave a file that no later process can open.
    """
    from mlflow import MlflowClient

    file.parent.mkdir(parents=True, exist_ok=True)
    with (
        locks.locked(file.with_name(f"{file.name}.lock")),
        tempfile.TemporaryDirectory(prefix=f".{file.name}-", dir=file.parent) as folder,
    ):
        exists = file.exists() and file.stat().st_size > 0 if again else has_database(file, home)
        if exists:
            return
        migrated, copy = Path(folder) / "migrated.db", Path(folder) / "copy.db"
        client = MlflowClient(tracking_uri=address(migrated), registry_uri=address(migrated))
        client.search_experiments(max_results=1)
        client.search_registered_models(max_results=1)
        # MLflow keeps the file of its address open: a copy of it becomes the registry.
        with closing(sqlite3.connect(migrated)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        copy.replace(file)


def _promoted_versions(home: Home) -> str | None:
    """Return in words which versions the history names; None without a history.

    Lines that are broken count, without a number: who reads the history tells of them.
    """
    path = home / HISTORY
    if not path.exists():
        return None
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    if not lines:
        return None
    numbers = sorted({number for line in lines if (number := _number(line)) is not None})
    if not numbers:
        return "promotions"
    shown = ", ".join(str(number) for number in numbers[-SHOWN:])
    dots = "..., " if len(numbers) > SHOWN else ""
    return f"version{'s' if len(numbers) > 1 else ''} {dots}{shown}"


def _number(line: str) -> int | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    number = value.get("version") if isinstance(value, dict) else None
    return number if isinstance(number, int) else None
