"""The home of a model: what outlives a run (registry, bundles, history, keys, running servers).

``ML_HOME``, or ``.ml`` in the project root, is a folder of homes: each project has its own in it,
``ML_HOME/<project>``, with a marker that names the project and model. In earlier versions
``ML_HOME`` itself was the home. Such a folder stays the home of the model in it: the addresses of
artefacts, of running servers and of their control sockets are absolute, so a move would end
production.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ml_pipeline.core import locks
from ml_pipeline.core.artefacts import MANIFEST_FILE
from ml_pipeline.core.errors import EnvironmentFault, UsageError
from ml_pipeline.core.repository_origin import Origin, is_among

HISTORY = "history.jsonl"
"""One line for each change of production."""
MARKER = "home.json"
"""The marker: names the project and the model that a home belongs to."""
SCHEMA = "ml-pipeline/home/1"
DEFAULT = ".ml"
"""The value of ``ML_HOME`` in a project, unless it is set."""
KEYS = "keys"
"""The folder of the keys that sign approvals, and of those that are trusted."""
SECRET_FILES = ("ML_POLICY", "ML_JOB_POLICY", "ML_APPROVAL_KEY")
"""Variables with the path of a file that a project's code may not read."""
CLAIMS = "_promotion."
"""Prefix of registered models that hold records of this package instead of a model."""
TAKEN = frozenset(
    {
        "accepted",
        "approval-keys.txt",
        "approvals",
        "artifacts",
        HISTORY,
        MARKER,
        "journal",
        "keys",
        "mlflow.db",
        "mlflow.db.lock",
        "monitor",
        "predictions",
        "production-model.yaml",
        "promotion.lock",
        "registry.lock",
        "released",
        "released-used",
        "released.lock",
        "servers",
        "shadow",
        "version-numbers.json",
        "watch-began.json",
        "watch.json",
    }
)
"""Names in a home. Where a home lies directly in ``ML_HOME`` no other home may have one of them."""


@dataclass(frozen=True)
class Owner:
    """The owner of a home: the project in ``ml.yaml``, and the name of its registered model."""

    project: str
    model: str
    find_origin: Callable[[], Origin] = field(default=Origin, compare=False)
    """Returns the repository that it is checked out from."""

    def __str__(self) -> str:
        if self.project == self.model:
            return f"project '{self.project}'"
        return f"project '{self.project}', model '{self.model}'"


@dataclass(frozen=True)
class Home:
    """A folder that production depends on. ``owner`` is None only where a test needs none."""

    root: Path
    owner: Owner | None = None

    def __truediv__(self, name: str) -> Path:
        return self.root / name

    def make(self) -> None:
        """Create the folder, readable by its owner only and never committed: it holds keys.

        Raises:
            EnvironmentFault: it cannot be written.
            UsageError: another project made it meanwhile, or it is that of another repository.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            probe = self.root / ".writable"
            probe.touch()
            probe.unlink(missing_ok=True)
            ignored = self.root / ".gitignore"
            if not ignored.exists():
                ignored.write_text("*\n")
            if self.owner is not None and not (self.root / MARKER).exists():
                _mark(self.root, self.owner)
        except OSError as error:
            raise EnvironmentFault(
                f"home {self.root}: {error.strerror}",
                expected="a folder that can be written",
                hint="set ML_HOME to one",
            ) from None
        self.check_owner()
        if self.owner is not None:
            self._note(self.owner.find_origin())

    def check_owner(self) -> None:
        """Raise UsageError for the home of another project, or of another repository's."""
        if self.owner is None:
            return
        _refuse_other(self.root, self.owner)
        known = origins_of(self.root)
        origin = self.owner.find_origin() if known else Origin()
        if known and is_among(origin, known) is False:
            repositories = " and ".join(map(str, known))
            raise UsageError(
                f"home {self.root} belongs to {self.owner} of {repositories}",
                expected=f"the home of {self.owner} of {origin}",
                hint="give this project another name, or set ML_HOME to another folder; if it is "
                "the same project, moved or copied: 'ml-pipeline home adopt'",
            )

    def adopt(self) -> Origin:
        """Let the project's repository use a home of a project and model of this name.

        Raises:
            UsageError: it is the home of another project, or git does not know the repository.
            EnvironmentFault: there is no such home, or it cannot be written.
        """
        if self.owner is None or owner_of(self.root) is None:
            raise EnvironmentFault(
                f"there is no home in {self.root}", hint="set ML_HOME, or begin to deliver"
            )
        _refuse_other(self.root, self.owner)
        origin = self.owner.find_origin()
        if not origin.is_known:
            raise UsageError(
                "git does not report the repository of this project",
                expected="a clone with a remote or a commit; without one any home of its name fits",
            )
        self._note(origin, adopted=True)
        return origin

    def _note(self, origin: Origin, *, adopted: bool = False) -> None:
        """Add the project's repository to the marker, unless the marker has it.

        Root commits, which a shallow clone lacks, are added by the first full clone.
        """
        if self.owner is None or not origin.is_known or _is_noted(self.root, origin):
            return
        with locks.locked(self.root / f".{MARKER}.lock"):
            known = origins_of(self.root)
            if known and not adopted and is_among(origin, known) is not True:
                return
            less = [one for one in known if origin.is_same(one) is True and not one.find_roots()]
            kept = [one for one in known if one not in less]
            _write(self.root, _marker(self.owner, (*kept, origin)))


def find_home(folder: Path, owner: Owner) -> Home:
    """Return the home of a project's model in ``folder``, which is ``ML_HOME``; create nothing.

    Raises:
        UsageError: the folder of that name is another model's home, or two of them are candidates.
        EnvironmentFault: a marker cannot be read.
    """
    own = folder / _folder_name(owner.project)
    marked = owner_of(own)
    if marked is not None:
        _refuse_other(own, owner)
    elif others := _named_in(own) - {owner.project, owner.model}:
        raise _belongs_to(own, _listed(others), owner)
    if not _is_in_place(folder, owner):
        return Home(own, owner)
    if marked is not None:
        raise UsageError(
            f"{owner} has two homes, {folder} and {own}: the first was used by an earlier "
            "ml-pipeline, which may still run on another agent",
            expected="one home for a model",
            hint="move away the one whose production-model.yaml is not in production",
        )
    return Home(folder, owner)


def secret_files(home: Home | None = None, *, near: Iterable[Path] = ()) -> tuple[Path, ...]:
    """Return the files hidden from project code: keys of every home, and administrators' files.

    Args:
        home: the model's own, beside those below ``ML_HOME``.
        near: paths in a home, or in a project whose home is ``.ml``.
    """
    found = [*named_secret_files()]
    folders = [Path(value) for value in [os.environ.get("ML_HOME")] if value]
    if home is not None:
        folders += [home.root, home.root.parent]
    for path in near:
        for above in path.resolve().parents:
            folders += [above / DEFAULT] if (above / DEFAULT).is_dir() else []
            folders += [above, above.parent] if (above / MARKER).is_file() else []
    for folder in folders:
        found += [folder / KEYS, *sorted(folder.glob(f"*/{KEYS}"))]
    return tuple(dict.fromkeys(found))


def named_secret_files() -> tuple[Path, ...]:
    """Return those of them that variables name, wherever they lie."""
    return tuple(Path(value) for name in SECRET_FILES if (value := os.environ.get(name)))


def owner_of(root: Path) -> Owner | None:
    """Return the owner that a home's marker names; None if there is no marker.

    Raises:
        EnvironmentFault: the marker cannot be read.
    """
    found = _read(root)
    return None if found is None else found[0]


def origins_of(root: Path) -> tuple[Origin, ...]:
    """Return the repositories that may use a home; none if its marker lists none.

    Raises:
        EnvironmentFault: the marker cannot be read.
    """
    found = _read(root)
    return () if found is None else found[1]


def _read(root: Path) -> tuple[Owner, tuple[Origin, ...]] | None:
    path = root / MARKER
    try:
        values = json.loads(path.read_bytes())
        schema, owner = values["schema"], Owner(str(values["project"]), str(values["model"]))
        origins = tuple(Origin.from_json(one) for one in values.get("repositories", ()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable(path, error) from None
    if schema != SCHEMA:
        raise _unreadable(path, f"schema {schema!r}")
    return owner, origins


def _is_noted(root: Path, origin: Origin) -> bool:
    """Return whether the marker records everything known of this repository."""
    return any(
        origin.is_same(one) is True and (one.find_roots() or not origin.find_roots())
        for one in origins_of(root)
    )


def _unreadable(path: Path, why: object) -> EnvironmentFault:
    return EnvironmentFault(
        f"cannot read {path}: {why}",
        expected=_marker(Owner("PROJECT", "MODEL")),
        hint="write the name of the project and of its registered model into it",
    )


def _is_in_place(folder: Path, owner: Owner) -> bool:
    """Return whether ``folder`` itself is this model's home, as it was before homes had names.

    Raises:
        UsageError: it holds this model and others, and has no marker.
    """
    marked = owner_of(folder)
    if marked is not None:
        return marked == owner
    named = _named_in(folder)
    others = named - {owner.project, owner.model}
    history = folder / HISTORY
    if not named and history.is_file() and history.read_bytes().strip():
        raise UsageError(
            f"{history} names no model",
            expected="one line of JSON for each change of production",
            hint="repair it from a backup; the home's model may be written into "
            f"{folder / MARKER}, as {_marker(Owner('PROJECT', 'MODEL'))}",
        )
    if not named or named == others:
        return False
    if others:
        raise UsageError(
            f"home {folder} was shared by several models: {_listed(named)}",
            expected="one home for a model",
            hint=f"see which of them is in production, and write that one into {folder / MARKER}, "
            f"as {_marker(Owner('PROJECT', 'MODEL'))}; the others get homes of their own",
        )
    return True


def _named_in(root: Path) -> set[str]:
    """Return the models and projects that a home without a marker names; none for no home."""
    if not root.is_dir():
        return set()
    return {name for name in _names(root) if not name.startswith(CLAIMS)}


def _names(root: Path) -> Iterator[str]:
    lines: list[bytes] = []
    with contextlib.suppress(OSError):
        lines += (root / HISTORY).read_bytes().splitlines()
    for path in (root / "journal").glob("*.json"):
        lines.append(path.read_bytes())
    for path in (root / "released").glob(f"*/{MANIFEST_FILE}"):
        lines.append(path.read_bytes())
    for line in lines:
        with contextlib.suppress(ValueError, AttributeError):
            values = json.loads(line)
            name = values.get("model") or values.get("project")
            if isinstance(name, str):
                yield name
    database = root / "mlflow.db"
    if database.is_file():
        with contextlib.suppress(sqlite3.Error):
            connection = sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True)
            with contextlib.closing(connection):
                yield from (str(row[0]) for row in connection.execute(MODELS))


MODELS = "SELECT name FROM registered_models"


def _folder_name(project: str) -> str:
    """Return the folder name of a project's home; no project's name begins with ``_``."""
    return f"_{project}" if project.casefold() in TAKEN else project


def _mark(root: Path, owner: Owner) -> None:
    """Write the marker atomically, unless another process did already."""
    with _whole(root, _marker(owner)) as name, contextlib.suppress(FileExistsError):
        os.link(name, root / MARKER)


def _write(root: Path, content: str) -> None:
    with _whole(root, content) as name:
        Path(name).replace(root / MARKER)


@contextlib.contextmanager
def _whole(root: Path, content: str) -> Iterator[str]:
    """Yield the name of a temporary file in the home with this content."""
    handle, name = tempfile.mkstemp(prefix=f".{MARKER}.", dir=root)
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(content + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        yield name
    finally:
        Path(name).unlink(missing_ok=True)


def _marker(owner: Owner, origins: Iterable[Origin] = ()) -> str:
    values: dict[str, Any] = {"schema": SCHEMA, "project": owner.project, "model": owner.model}
    if repositories := [origin.to_json() for origin in origins]:
        values["repositories"] = repositories
    return json.dumps(values)


def _refuse_other(root: Path, owner: Owner) -> None:
    marked = owner_of(root)
    if marked is not None and marked != owner:
        raise _belongs_to(root, str(marked), owner)


def _belongs_to(root: Path, other: str, owner: Owner) -> UsageError:
    return UsageError(
        f"home {root} belongs to {other}",
        expected=str(owner),
        hint="give this project another name, or set ML_HOME to another folder",
    )


def _listed(names: set[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))
