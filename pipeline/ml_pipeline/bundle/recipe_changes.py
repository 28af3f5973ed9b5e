"""What differs between the recipe of a bundle's model and the project as it is now.

The recipe is everything that shapes a model beside its data: configuration, code, lock, seed and
the flags of ``train``.
"""

from __future__ import annotations

import json
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_pipeline.bundle import identity, source
from ml_pipeline.config import FILE, Project
from ml_pipeline.core import artefacts, documents, workdir
from ml_pipeline.core.errors import Refused

SHOWN = 5
TITLES = {
    "source": "code",
    "config": "configuration",
    "lock": "lock",
    "seed": "seed",
    "limits": "flags of train",
}
"""The parts of a recipe, as they are called in a plan."""


@dataclass(frozen=True)
class RecipeChange:
    """One part of the recipe, beside that of a bundle."""

    part: str
    changed: bool
    detail: str = ""
    """What differs; empty where nothing does."""


def recipe_changes(
    project: Project, parts: Mapping[str, str], bundle: Path
) -> tuple[RecipeChange, ...]:
    """Compare the project with the recipe of a bundle, part by part.

    Args:
        project: As it is configured now.
        parts: The parts of the identity of the bundle's model.
        bundle: The bundle's folder, verified; it is read where a part differs.

    Raises:
        UsageError: a feature module or the groups file of the project is missing.
        EnvironmentFault: a package that training needs is not installed.
        Refused: the bundle's archive cannot be read.
    """
    now = identity.recipe(project)
    details = {"source": _code, "config": _configuration, "lock": _lock}
    found = []
    for part, title in TITLES.items():
        before, after = parts.get(part), now.get(part)
        if before == after:
            found.append(RecipeChange(title, changed=False))
        elif part in details:
            found.append(RecipeChange(title, changed=True, detail=details[part](project, bundle)))
        elif part == "seed":
            found.append(RecipeChange(title, changed=True, detail=f"{before}, now {after}"))
        else:
            why = "it was trained with --max-samples, --max-epochs or --quick"
            found.append(RecipeChange(title, changed=True, detail=why))
    return tuple(found)


def _code(project: Project, bundle: Path) -> str:
    with tempfile.TemporaryDirectory(prefix="source-") as scratch:
        folder = _unpacked(bundle, Path(scratch))
        before = {
            path.relative_to(folder).as_posix(): workdir.digest(path)
            for path in folder.rglob("*")
            if path.is_file()
        }
    after = {
        path.relative_to(project.root).as_posix(): workdir.digest(path)
        for path in identity.source_files(project)
    }
    for name in (FILE, source.GROUPS):
        before.pop(name, None)
    return _listed(_differences(before, after))


def _configuration(project: Project, bundle: Path) -> str:
    with tempfile.TemporaryDirectory(prefix="source-") as scratch:
        folder = _unpacked(bundle, Path(scratch))
        before = dict(documents.read_yaml(folder / FILE))
        groups = folder / source.GROUPS
        before_groups = workdir.digest(groups) if groups.is_file() else None
    after = json.loads(json.dumps(identity.shaping(project)))
    after_groups = (after["data"]["groups"] or {}).pop("sha256", None)
    (before["data"]["groups"] or {}).pop("path", None)
    before["train"].pop("seed", None)
    found = list(_differences(dict(_flat(before)), dict(_flat(after)), values=True))
    if before_groups and after_groups and before_groups != after_groups:
        found.append("content of data.groups.path")
    return _listed(found)


def _lock(project: Project, bundle: Path) -> str:
    components = documents.read_json(bundle / artefacts.SBOM_FILE)["components"]
    before = {one["name"]: one["version"] for one in components}
    return _listed(_differences(before, identity.locked(project), values=True))


def _unpacked(bundle: Path, folder: Path) -> Path:
    try:
        source.unpack(bundle / artefacts.SOURCE_FILE, folder)
    except (tarfile.TarError, OSError) as error:
        raise Refused(f"{bundle / artefacts.SOURCE_FILE} cannot be read: {error}") from None
    return folder


def _differences(
    before: Mapping[str, Any], after: Mapping[str, Any], *, values: bool = False
) -> Iterator[str]:
    """Yield the names that differ, with their values where these are short."""
    for name in sorted({*before, *after}):
        if name not in after:
            yield f"{name} is gone"
        elif name not in before:
            yield f"{name} is new"
        elif before[name] != after[name]:
            yield f"{name} ({before[name]!s}, now {after[name]!s})" if values else name


def _flat(values: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted keys of nested mappings, each with its value."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield from _flat(value, f"{name}.{key}" if name else str(key))
    else:
        yield name, values


def _listed(differences: Iterable[str]) -> str:
    found = list(differences)
    more = len(found) - SHOWN
    shown = [*found[:SHOWN], *([f"and {more} more"] if more > 0 else [])]
    return ", ".join(shown) or "its digest is another one"
