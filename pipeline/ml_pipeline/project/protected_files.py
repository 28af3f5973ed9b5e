"""The files that a project's own code must not change, and their comparison.

Tests, linters and feature modules run as the user that the pipeline runs as. Where the system can
confine them (``ml_pipeline.project.isolation``), they cannot write it. In any case what later
stages read is recorded before, in this process's memory alone, and compared when the code and
everything that it started have ended (``ml_pipeline.core.supervisor``).
"""

from __future__ import annotations

import base64
import csv
import ctypes
import hashlib
import os
import site
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ml_pipeline.bundle import identity
from ml_pipeline.config import FILE, Project
from ml_pipeline.core import landlock
from ml_pipeline.core.errors import Refused, UsageError
from ml_pipeline.core.home import KEYS, MARKER, Home
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.core.workdir import Workdir

CHECK = "files that the project's code may not write"
LOCK_FILES = (".lock",)
"""The lock of the working folder."""
WATCH_FILES = ("reports/watch", "junit/watch", "reports/.watch", "junit/.watch")
"""What a watch, which may run meanwhile, writes there."""
HOME_RECORDS = ("mlflow.db", "history.jsonl", "production-model.yaml", "approvals", "released")
"""What a home holds of its versions and of production."""
BYTE_CODE = "__pycache__"
"""Every import may write it."""
SHOWN = 5
GET_DUMPABLE, SET_DUMPABLE = 3, 4
"""Of Linux's prctl."""

SECRETS = frozenset(
    {
        "ML_APPROVAL_KEY",
        "ML_POLICY",
        "ML_JOB_POLICY",
        "MLFLOW_TRACKING_PASSWORD",
        "MLFLOW_TRACKING_TOKEN",
        "MLFLOW_TRACKING_USERNAME",
    }
)
"""Variables that the project's tests and linters do not get."""

MAX_READ_BYTES = 8 << 20
"""Bytes up to which a file's content is read beforehand."""


class Stamp(NamedTuple):
    """Cheap evidence that a file is unchanged."""

    kept: tuple[int, int, int, int]
    """Inode, size, time of the last change of the content, mode."""
    changed: int
    """Time of the last change of content or attributes. No writer can set it, and another
    process moves it when it links the file (``cp -al``, the cache of an installer)."""


@dataclass(frozen=True)
class Protected:
    """The places: the working folder, the project's code and configuration, the home's keys.

    Beside them what Python runs when it starts: it would run in every later stage.
    """

    project: Project
    workdir: Workdir
    home: Home | None = None
    _changed: list[str] = field(default_factory=list, init=False)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Run the project's code inside, by ``IsolatedCopy.command``; then compare."""
        before, digests = self._stamps(), self._digests()
        with nullcontext() if landlock.abi() else _not_traced():
            yield
        after = self._stamps()
        installed: dict[str, bytes] | None = None
        for path in sorted(before.keys() | after.keys()):
            if before.get(path) != after.get(path):
                if path in before and path in after and before[path].kept == after[path].kept:
                    if path not in digests and installed is None:
                        installed = _installed(digests)
                    known = digests.get(path) or (installed or {}).get(path)
                    if known is not None and known == _digest(path):
                        continue
                done = "written" if path in before and path in after else "made"
                self._changed.append(
                    f"{self._name(Path(path))} was {done if path in after else 'removed'}"
                )

    @property
    def changed(self) -> list[str]:
        """What was written, made or removed inside ``watched``, each in a few words."""
        return list(self._changed)

    def require_unchanged(self, code: str, expected: str) -> None:
        """Raise Refused where something was changed; ``code`` names what ran."""
        if self._changed:
            changed = "; ".join(self._changed[:SHOWN])
            raise Refused(f"{code} changed what later stages read: {changed}", expected=expected)

    def check(self) -> Check | None:
        """Return the check that fails where something was changed; None where nothing was."""
        if not self._changed:
            return None
        summary = "; ".join(self._changed[:SHOWN])
        if len(self._changed) > SHOWN:
            summary += f" and {len(self._changed) - SHOWN} more"
        return Check(
            name=CHECK,
            verdict=Verdict.ERROR,
            observed=summary,
            expected="the working folder, the code and the keys as they were",
            why=f"the project's code changed what later stages read: {summary}; tests write below "
            "tmp_path, and what they changed is made again from the stage that made it",
        )

    def _stamps(self) -> dict[str, Stamp]:
        """Return the stamp of every file."""
        found: dict[str, Stamp] = {}
        for path in self._files():
            try:
                seen = os.lstat(path)
            except FileNotFoundError:
                continue
            found[os.fspath(path)] = Stamp(
                (seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_mode), seen.st_ctime_ns
            )
        return found

    def _digests(self) -> dict[str, bytes]:
        """Return what the files hold, for those whose time of change alone may move.

        Of installed packages only the list is read, which holds the digests of their files.
        """
        paths = [*self._files_of_the_pipeline()]
        if not landlock.abi():
            paths += [*self._records(), *_lists_of_installed()]
        found = ((os.fspath(path), _digest(path, MAX_READ_BYTES)) for path in paths)
        return {path: digest for path, digest in found if digest is not None}

    def _files(self) -> Iterator[Path | str]:
        yield from self._files_of_the_pipeline()
        if not landlock.abi():
            yield from self._writable_elsewhere()

    def _files_of_the_pipeline(self) -> Iterator[Path]:
        for path in _files_below(self.workdir.root):
            name = self.workdir.name_of(path)
            if not name.startswith(WATCH_FILES) and not any(
                name == own or name.startswith(f"{own}/") for own in LOCK_FILES
            ):
                yield path
        if self.home is not None:
            yield self.home / MARKER
            yield from _files_below(self.home / KEYS)
        yield from _startup_files()
        yield self.project.root / FILE
        try:
            yield from identity.source_files(self.project)
        except UsageError:
            return  # a module that is missing is reported by the stage that needs it

    def _writable_elsewhere(self) -> Iterator[Path | str]:
        """Yield the many files that are compared only where the system refuses no writes.

        A build of the same model that writes the registry meanwhile is not distinguished.
        """
        yield from self._records()
        for folder in site.getsitepackages():
            for here, folders, files in os.walk(folder):
                folders[:] = [name for name in folders if name != BYTE_CODE]
                yield from (os.path.join(here, name) for name in files)  # noqa: PTH118  ten thousands

    def _records(self) -> Iterator[Path]:
        if self.home is not None:
            for name in HOME_RECORDS:
                yield self.home / name
                yield from _files_below(self.home / name)

    def _name(self, path: Path) -> str:
        for folder in (self.workdir.root, self.project.root):
            if path.is_relative_to(folder):
                return path.relative_to(folder).as_posix()
        return str(path)


def _startup_files() -> Iterator[Path]:
    """Yield the files that every Python of this environment runs when it starts, there or not."""
    folders = [*site.getsitepackages(), site.getusersitepackages()]
    for folder in map(Path, folders):
        yield from sorted(folder.glob("*.pth"))
        yield from (folder / f"{name}customize.py" for name in ("site", "user"))


def _lists_of_installed() -> Iterator[Path]:
    for folder in site.getsitepackages():
        yield from Path(folder).glob("*.dist-info/RECORD")


def _installed(known: dict[str, bytes]) -> dict[str, bytes]:
    """Return the digests of installed files, by the lists that are as they were."""
    found: dict[str, bytes] = {}
    for path in _lists_of_installed():
        if known.get(os.fspath(path)) != _digest(path):
            continue
        folder = os.fspath(path.parent.parent)
        with path.open(newline="", encoding="utf-8") as stream:
            for name, written, *_ in csv.reader(stream):
                kind, _, encoded = written.partition("=")
                if kind == "sha256":
                    place = os.path.normpath(os.path.join(folder, name))  # noqa: PTH118  ten thousands
                    found[place] = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    return found


def _digest(path: Path | str, most: int | None = None) -> bytes | None:
    """Return the SHA-256 of a file's content, or of where a link leads.

    None for what is no file, cannot be read, or has more bytes than ``most``.
    """
    try:
        seen = os.lstat(path)
        if stat.S_ISLNK(seen.st_mode):
            return hashlib.sha256(os.fsencode(os.readlink(path))).digest()  # noqa: PTH115  many
        if not stat.S_ISREG(seen.st_mode) or (most is not None and seen.st_size > most):
            return None
        with open(path, "rb") as stream:  # noqa: PTH123  many
            return hashlib.file_digest(stream, "sha256").digest()
    except OSError:
        return None


def environment_of(project: Project) -> dict[str, str]:
    """Return this process's environment without credentials, but for the token of the server.

    Those are ``SECRETS`` and the variables that ``ml.yaml`` names for passwords.
    """
    config = project.config
    sources = (config.data.source, config.data.ci)
    named = [getattr(source, "password_env", None) for source in sources]
    hidden = SECRETS | {*named, config.score.password_env, config.gitops.token_env}
    return {name: value for name, value in os.environ.items() if name not in hidden}


def _files_below(folder: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(folder):
        folders.sort()
        yield from (Path(here) / name for name in sorted(files))
        yield from (Path(here) / name for name in folders if (Path(here) / name).is_symlink())


@contextmanager
def _not_traced() -> Iterator[None]:
    """Forbid processes of this user to trace this one or read its memory meanwhile (Linux).

    Where the code is confined it cannot, and Jenkins finds this process by its environment.
    """
    if sys.platform != "linux":
        yield
        return
    before = _prctl(GET_DUMPABLE)
    _prctl(SET_DUMPABLE, 0)
    try:
        yield
    finally:
        _prctl(SET_DUMPABLE, before)


def _prctl(option: int, value: int = 0) -> int:
    return int(ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0))
