"""``home/released/<digest>``: the copy of a bundle that a server reads."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core import clock, documents, locks, workdir
from ml_pipeline.core.documents import DocumentError
from ml_pipeline.core.errors import Refused
from ml_pipeline.core.home import Home

FOLDER = "released"
COPY_NAME = re.compile(r"\.?([0-9a-f]{64})(\..+)?")
"""A copy, or what a killed command left of one."""
USED = "released-used"
"""Folder with a file for each copy: when it was used last, by ``ml_pipeline.core.clock``."""
MIN_AGE_SECONDS = 3600.0
"""A copy that was used since then may be another deployment's, which is not written down yet."""


def release(path: Path, home: Home) -> Bundle:
    """Verify a bundle, copy it into the home and return the copy, verified.

    A copy that is there already is used if it is this very bundle and verifies, otherwise it is
    replaced.

    Raises:
        Refused: the bundle does not verify.
    """
    bundle = Bundle.open(path)
    copy = home / FOLDER / bundle.digest
    with _alone(home):
        _mark(home, copy.name)
        if copy.is_symlink():
            copy.unlink()
        elif copy.is_dir():
            with suppress(Refused):
                kept = used(home, copy)
                if kept.digest == bundle.digest:
                    return kept
        with workdir.atomic_folder(copy) as folder:
            for name in bundle.files:
                shutil.copyfile(path / name, folder / name)
            if Bundle.open(folder).digest != bundle.digest:
                raise Refused(f"{path} changed while it was copied")
    return Bundle.open(copy)


def used(home: Home, copy: Path) -> Bundle:
    """Open a copy and keep it from being removed for an hour.

    Raises:
        Refused: it does not verify.
    """
    bundle = Bundle.open(copy)
    _mark(home, copy.name)
    return bundle


def remove_unused(home: Home, in_use: Callable[[], Collection[str]]) -> list[str]:
    """Remove the copies that are in use nowhere and were not used in the last hour.

    A copy that was used on another machine, or before a restart, stays for an hour from now on.

    Args:
        home: that holds the copies.
        in_use: returns the digests that stay; asked only if there is something to remove.

    Returns:
        The names of what was removed.

    Raises:
        OSError: something cannot be removed; the rest is.
    """
    if not (home / FOLDER).is_dir():
        return []
    with _alone(home):
        old = [
            (path, match[1])
            for path in sorted((home / FOLDER).iterdir())
            if (match := COPY_NAME.fullmatch(path.name)) and _is_old(home, path)
        ]
        kept = in_use() if old else ()
        gone = [path for path, digest in old if path.name != digest or digest not in kept]
        failed = []
        for path in gone:
            try:
                shutil.rmtree(path)
                (home / USED / path.name).unlink(missing_ok=True)
            except OSError as error:
                failed.append(error)
    if failed:
        raise failed[0]
    return [path.name for path in gone]


def _mark(home: Home, name: str) -> None:
    """Note that a copy is used now."""
    path = home / USED / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    workdir.write_text(path, json.dumps(clock.marks()) + "\n")


def _is_old(home: Home, copy: Path) -> bool:
    """Whether a copy was used last more than an hour ago; where nothing is known, note it as now.

    The wall clock is believed only where the system has no other.
    """
    if clock.reading() is None:
        return copy.stat().st_mtime < time.time() - MIN_AGE_SECONDS
    try:
        age = clock.age(documents.read_json(home / USED / copy.name))
    except (OSError, DocumentError, TypeError):
        age = None
    if age is None:
        _mark(home, copy.name)
        return False
    return age > MIN_AGE_SECONDS


@contextmanager
def _alone(home: Home) -> Iterator[None]:
    """Hold the copies, so that none is removed while it is being taken into use."""
    home.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locks.locked(home / f"{FOLDER}.lock"):
        yield
