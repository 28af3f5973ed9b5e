"""``home/released/<digest>``: copies of bundles that servers read."""

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
"""A copy, or the remains of one after a killed command."""
USED_FOLDER = "released-used"
"""Folder with the time of last use of each copy, by ``ml_pipeline.core.clock``."""
MIN_AGE_SECONDS = 3600.0
"""A copy used more recently may belong to a deployment that is not recorded yet."""


def release(path: Path, home: Home) -> Bundle:
    """Verify a bundle, copy it into the home and return the copy, verified.

    An existing copy is used if it is the same bundle and verifies; otherwise it is replaced.

    Raises:
        Refused: the bundle does not verify.
    """
    bundle = Bundle.open(path)
    copy = home / FOLDER / bundle.digest
    with _copies_locked(home):
        _mark_used(home, copy.name)
        if copy.is_symlink():
            copy.unlink()
        elif copy.is_dir():
            with suppress(Refused):
                existing = open_copy(home, copy)
                if existing.digest == bundle.digest:
                    return existing
        with workdir.atomic_folder(copy) as folder:
            for name in bundle.files:
                shutil.copyfile(path / name, folder / name)
            if Bundle.open(folder).digest != bundle.digest:
                raise Refused(f"{path} changed while it was copied")
    return Bundle.open(copy)


def open_copy(home: Home, copy: Path) -> Bundle:
    """Open a copy, and protect it from removal for an hour.

    Raises:
        Refused: it does not verify.
    """
    bundle = Bundle.open(copy)
    _mark_used(home, copy.name)
    return bundle


def remove_unused(home: Home, in_use: Callable[[], Collection[str]]) -> list[str]:
    """Remove the copies that are not in use and were not used in the last hour.

    A copy that was used on another machine, or before a restart, is kept for another hour.

    Args:
        home: that holds the copies.
        in_use: returns the digests to keep; called only if there is something to remove.

    Returns:
        The names of the removed copies.

    Raises:
        OSError: a copy cannot be removed; the others are.
    """
    if not (home / FOLDER).is_dir():
        return []
    with _copies_locked(home):
        old_copies = [
            (path, match[1])
            for path in sorted((home / FOLDER).iterdir())
            if (match := COPY_NAME.fullmatch(path.name)) and _is_old(home, path)
        ]
        digests_in_use = in_use() if old_copies else ()
        removable = [
            path
            for path, digest in old_copies
            if path.name != digest or digest not in digests_in_use
        ]
        errors = []
        for path in removable:
            try:
                shutil.rmtree(path)
                (home / USED_FOLDER / path.name).unlink(missing_ok=True)
            except OSError as error:
                errors.append(error)
    if errors:
        raise errors[0]
    return [path.name for path in removable]


def _mark_used(home: Home, name: str) -> None:
    """Record that a copy is used now."""
    path = home / USED_FOLDER / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    workdir.write_text(path, json.dumps(clock.marks()) + "\n")


def _is_old(home: Home, copy: Path) -> bool:
    """Whether a copy was last used more than an hour ago; if unknown, record it as used now.

    The wall clock is used only if the system has no other clock.
    """
    if clock.reading() is None:
        return copy.stat().st_mtime < time.time() - MIN_AGE_SECONDS
    try:
        age = clock.age(documents.read_json(home / USED_FOLDER / copy.name))
    except (OSError, DocumentError, TypeError):
        age = None
    if age is None:
        _mark_used(home, copy.name)
        return False
    return age > MIN_AGE_SECONDS


@contextmanager
def _copies_locked(home: Home) -> Iterator[None]:
    """Lock the copies, so that none is removed while it is being opened."""
    home.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locks.locked(home / f"{FOLDER}.lock"):
        yield
