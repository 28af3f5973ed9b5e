"""Whether a model was made from what its commit holds, and from nothing else."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from ml_pipeline.bundle import identity, source
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.config import FILE, Config, Project
from ml_pipeline.core import artefacts, documents, git, schema_errors
from ml_pipeline.core.errors import UsageError

MODEL_SECTIONS = ("project", "problem", "data", "features", "split", "train")
"""Sections of ``ml.yaml`` that shape the model or the rows that it learns from."""
DATA_LOCATIONS = ("data.source", "data.ci")
"""Where the data are; their content is in the identity by its fingerprint, and in no commit."""
SHOWN = 5


def differences(
    project: Project, bundle: Bundle, commit: str, overrides: Mapping[str, str]
) -> list[str]:
    """Return what shaped the model and is not in the commit, each in a few words.

    Args:
        project: As it is configured now.
        bundle: The model's.
        commit: The one that is checked out.
        overrides: Keys that the environment or ``--set`` changed in this run, with who set them.
    """
    found = [f"{key} set by {origin}" for key, origin in overrides.items() if shapes_model(key)]
    parts: Mapping[str, str] = bundle.manifest["identity_parts"]
    if "limits" in parts:
        found.append("flags of train (--max-samples, --max-epochs or --quick)")
    found += _source(project, bundle, commit)
    if not any(shapes_model(key) for key in overrides):
        found += _configuration(project, commit, parts)
    return list(dict.fromkeys(found))


def shapes_model(key: str) -> bool:
    """Return whether a dotted key of the configuration shapes the model."""
    if any(key == place or key.startswith(f"{place}.") for place in DATA_LOCATIONS):
        return False
    return key.partition(".")[0] in MODEL_SECTIONS


def summarize(differences: list[str]) -> str:
    """Return the differences as one line of a few."""
    more = f" and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
    return "; ".join(differences[:SHOWN])[:2000] + more


def _configuration(project: Project, commit: str, parts: Mapping[str, str]) -> list[str]:
    content = git.content(project.root, commit, FILE)
    if content is None:
        return [f"{FILE} is not in the commit"]
    try:
        values = documents.parse_yaml(content, FILE)
        committed = Project(project.root, schema_errors.parse(Config, dict(values), FILE))
        shaping = identity.digest_of(identity.shaping(committed))
    except (UsageError, TypeError, ValueError):
        return [f"{FILE} of the commit is not valid"]
    same = (shaping, str(committed.config.train.seed)) == (parts.get("config"), parts.get("seed"))
    return [] if same else [f"{FILE} has other values in the commit"]


def _source(project: Project, bundle: Bundle, commit: str) -> list[str]:
    """Return the files that the model was made from and that the commit holds otherwise or not."""
    names = {}
    with tempfile.TemporaryDirectory(prefix="source-") as scratch:
        folder = Path(scratch)
        try:
            source.unpack(bundle.path / artefacts.SOURCE_FILE, folder)
        except (tarfile.TarError, OSError) as error:
            return [f"source.tar.gz cannot be read: {error}"]
        for path in sorted(item for item in folder.rglob("*") if item.is_file()):
            name = path.relative_to(folder).as_posix()
            if name not in (FILE, source.GROUPS):
                names[name] = path.read_bytes()
    groups = project.config.data.groups
    if groups is not None:
        path = identity.groups_file(project)
        if not path.resolve().is_relative_to(project.root.resolve()):
            return [f"{path} lies outside the project"]
        names[path.resolve().relative_to(project.root.resolve()).as_posix()] = path.read_bytes()
    found = [
        f"{name} is not in the commit" if kept is None else f"{name} is another one in the commit"
        for name, content in names.items()
        if (kept := git.content(project.root, commit, name)) is None or not _same(kept, content)
    ]
    return found + [
        f"{path} is imported from outside the project" for path in identity.outside(project)
    ]


def _same(kept: bytes, found: bytes) -> bool:
    """Return whether two contents are equal; a check-out may have changed the ends of lines."""
    return kept.replace(b"\r\n", b"\n") == found.replace(b"\r\n", b"\n")
