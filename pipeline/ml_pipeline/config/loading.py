"""Reads ``ml.yaml``; the environment and ``--set`` override it, and each value has an origin."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ml_pipeline.config.ml_yaml import Config
from ml_pipeline.config.project import FILE, Project
from ml_pipeline.core import documents
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.schema_errors import parse

ENVIRONMENT_PREFIX = "ML__"


def find_root(start: Path) -> Path:
    """Return the nearest folder upwards that holds ``ml.yaml``.

    Raises:
        UsageError: no folder does.
    """
    here = start.resolve()
    for folder in (here, *here.parents):
        if (folder / FILE).is_file():
            return folder
    raise UsageError(
        f"no {FILE} in {here} or above it",
        hint="change to the project's folder or give --project DIR",
    )


def load(
    root: Path,
    assignments: Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Project:
    """Read ``ml.yaml`` and lay the environment and ``--set`` assignments over it.

    Raises:
        UsageError: the file is missing, is not YAML, or has a key or value that is not known.
    """
    path = root / FILE
    values = mapping(path)
    origins = dict.fromkeys(_leaves(values), FILE)
    for name, raw in sorted((os.environ if environment is None else environment).items()):
        if name.startswith(ENVIRONMENT_PREFIX):
            key = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
            _assign(values, key, raw, f"environment variable {name}", origins)
    for assignment in assignments:
        key, equals, raw = assignment.partition("=")
        if not equals:
            raise UsageError(f"--set {assignment}", expected="section.key=value")
        _assign(values, key.strip(), raw, f"--set {key}", origins)
    config = parse(Config, values, str(path), origins)
    return Project(root=root.resolve(), config=config, origins=origins)


def overridden(project: Project) -> dict[str, str]:
    """Return the dotted keys whose value the environment or ``--set`` changed, and from where.

    One that repeats the value of ``ml.yaml`` changes nothing.
    """
    changed = {key: origin for key, origin in project.origins.items() if origin != FILE}
    if not changed:
        return {}
    try:
        written = load(project.root, (), {})
    except UsageError:
        return changed
    return {
        key: origin for key, origin in changed.items() if _at(project, key) != _at(written, key)
    }


def _at(project: Project, key: str) -> Any:
    """Return the value at a dotted key; the key of a free mapping may hold dots of its own."""
    value: Any = project.config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else getattr(value, part, None)
    return value


def mapping(path: Path, what: str = "") -> dict[str, Any]:
    """Return the keys of a YAML file.

    Args:
        path: Of the file.
        what: What messages call it; its path if left out.

    Raises:
        UsageError: it cannot be read, is not YAML within bounds, or is no mapping.
    """
    where = what or str(path)
    try:
        values = documents.read_yaml(path, where)
    except OSError as error:
        raise UsageError(f"cannot read {where}: {error.strerror}") from None
    if not isinstance(values, dict):
        raise UsageError(f"{where} holds no keys", expected="a mapping such as 'project: my-model'")
    return values


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _value(raw: str, origin: str) -> Any:
    """Return an assigned value; what is not YAML is a text, as a URL or a pattern may be."""
    try:
        return documents.parse_yaml(raw, origin)
    except documents.NotYamlError:
        return raw


def _assign(
    values: dict[str, Any], key: str, raw: str, origin: str, origins: dict[str, str]
) -> None:
    value = _value(raw, origin)
    *parents, last = key.split(".")
    node = values
    for parent in parents:
        child = node.setdefault(parent, {})
        if not isinstance(child, dict):
            raise UsageError(f"{origin}: '{parent}' holds a value", expected="a section")
        node = child
    node[last] = value
    for old in [name for name in origins if name == key or name.startswith(f"{key}.")]:
        del origins[old]
    leaves = _leaves(value, f"{key}.") if isinstance(value, dict) and value else [key]
    origins.update(dict.fromkeys(leaves, origin))
