"""The files that a project's own code must not change, and their comparison.

Tests, linters and feature modules run as the pipeline's user. If the system can confine them
(``ml_pipeline.project.isolation``), they cannot write these files. In any case the state of the
files that later stages read is recorded before, in this process's memory only, and compared after
the code and all processes that it started have ended (``ml_pipeline.core.supervisor``).
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
"""Files that a concurrent watch writes in the working folder."""
HOME_RECORDS = ("mlflow.db", "history.jsonl", "production-model.yaml", "approvals", "released")
"""Files of the home on versions and production."""
BYTE_CODE = "__pycache__"
"""Written by imports."""
SHOWN = 5
GET_DUMPABLE, SET_DUMPABLE = 3, 4
"""Options of prctl (Linux)."""

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
"""Variables that are removed from the environment of the project's code."""

MAX_READ_BYTES = 8 << 20
"""Size up to which a file's content is hashed beforehand."""


class Stamp(NamedTuple):
    """Metadata that shows whether a file changed."""

    content: tuple[int, int, int, int]
    """Inode, size, mtime, mode."""
    ctime: int
    """No program can set it, but hard-linking the file changes it (``cp -al``, installers)."""


@dataclass(frozen=True)
class Protected:
    """The protected files: working folder, the project's code and configuration, and keys.

    Python's start-up files are protected too, since every later stage would run them.
    """

    project: Project
    workdir: Workdir
    home: Home | None = None
    _changed: list[str] = field(default_factory=list, init=False)

    @contextmanager
    def detect_changes(self) -> Iterator[None]:
        """Record the files' state, run the block (the project's code), and compare."""
        before, digests = self._stamps(), self._digests()
        with nullcontext() if landlock.abi() else _not_traced():
            yield
        after = self._stamps()
        installed: dict[str, bytes] | None = None
        for path in sorted(before.keys() | after.keys()):
            if before.get(path) != after.get(path):
                if path in before and path in after and before[path].content == after[path].content:
                    if path not in digests and installed is None:
                        installed = _installed_digests(digests)
                    known = digests.get(path) or (installed or {}).get(path)
                    if known is not None and known == _digest(path):
                        continue
                action = "written" if path in before and path in after else "made"
                self._changed.append(
                    f"{self._name(Path(path))} was {action if path in after else 'removed'}"
                )

    @property
    def changed(self) -> list[str]:
        """Files written, made or removed inside ``detect_changes``, as messages."""
        return list(self._changed)

    def require_unchanged(self, code: str, expected: str) -> None:
        """Raise Refused if a file was changed; ``code`` names the code that ran."""
        if self._changed:
            changed = "; ".join(self._changed[:SHOWN])
            raise Refused(
                f"{code} changed files that later stages read: {changed}", expected=expected
            )

    def check(self) -> Check | None:
        """Return the check that fails if a file was changed; None if none was."""
        if not self._changed:
            return None
        summary = "; ".join(self._changed[:SHOWN])
        if len(self._changed) > SHOWN:
            summary += f" and {len(self._changed) - SHOWN} more"
        return Check(
            name=CHECK,
            verdict=Verdict.ERROR,
            observed=summary,
            expected="working folder, code and keys to be unchanged",
            why=f"the project's code changed files that later stages read: {summary}; write "
            "below tmp_path in tests, and run the stages that made these files again",
        )

    def _stamps(self) -> dict[str, Stamp]:
        """Return the stamp of every file."""
        found: dict[str, Stamp] = {}
        for path in self._files():
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                continue
            found[os.fspath(path)] = Stamp(
                (status.st_ino, status.st_size, status.st_mtime_ns, status.st_mode),
                status.st_ctime_ns,
            )
        return found

    def _digests(self) -> dict[str, bytes]:
        """Return the digests of files whose ctime may change without their content.

        For installed packages only their RECORD files are hashed, which have the digests.
        """
        paths = [*self._files_of_the_pipeline()]
        if not landlock.abi():
            paths += [*self._records(), *_record_files()]
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
        """Yield the files that are compared only without Landlock.

        Writes of a concurrent build of the same model to the registry are reported too.
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
    """Yield the start-up files of this environment's Python, whether they exist or not."""
    folders = [*site.getsitepackages(), site.getusersitepackages()]
    for folder in map(Path, folders):
        yield from sorted(folder.glob("*.pth"))
        yield from (folder / f"{name}customize.py" for name in ("site", "user"))


def _record_files() -> Iterator[Path]:
    for folder in site.getsitepackages():
        yield from Path(folder).glob("*.dist-info/RECORD")


def _installed_digests(known: dict[str, bytes]) -> dict[str, bytes]:
    """Return the digests of installed files, from the RECORD files that are unchanged."""
    found: dict[str, bytes] = {}
    for path in _record_files():
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


def _digest(path: Path | str, limit: int | None = None) -> bytes | None:
    """Return the SHA-256 of a file's content, or of a link's target.

    None for what is not a regular file, cannot be read, or is larger than ``limit``.
    """
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            return hashlib.sha256(os.fsencode(os.readlink(path))).digest()  # noqa: PTH115  many
        if not stat.S_ISREG(status.st_mode) or (limit is not None and status.st_size > limit):
            return None
        with open(path, "rb") as stream:  # noqa: PTH123  many
            return hashlib.file_digest(stream, "sha256").digest()
    except OSError:
        return None


def environment_of(project: Project) -> dict[str, str]:
    """Return the environment of this process without credentials, except the server's token.

    Credentials are ``SECRETS`` and the variables that ``ml.yaml`` names for passwords.
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
    """Forbid processes of this user to trace this one or read its memory in the block (Linux).

    Not needed with Landlock; Jenkins could then not find this process by its environment.
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
