"""The identity of a model version: a digest over data, configuration, code, lock and seed.

The git commit is not part of it: a commit that changes only documentation, tests or policy
makes no new version.
"""

from __future__ import annotations

import ast
import hashlib
import json
import platform
import site
import sys
import sysconfig
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from importlib import machinery, metadata
from pathlib import Path
from typing import Any

from ml_pipeline.config import Project
from ml_pipeline.core import workdir
from ml_pipeline.core.errors import EnvironmentFault, UsageError
from ml_pipeline.core.plugins import installed_plugins
from ml_pipeline.core.project_modules import search_path
from ml_pipeline.features.schema import FeatureSchema
from ml_pipeline.problems.loader import PROBLEM_PLUGINS
from ml_pipeline.tasks.binary_classification import BINARY
from ml_pipeline.tasks.loader import TASK_PLUGINS
from ml_pipeline.training.estimators.loader import ESTIMATOR_PLUGINS, is_own, load_estimator

LOCKED = (
    "TA-Lib",
    "jenkins-ml-pipeline",
    "numpy",
    "onnx",
    "onnxmltools",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "scipy",
    "skl2onnx",
)
"""Distributions whose version can change a number or a byte of the model, whatever the estimator;
the estimator's ``packages`` come in addition."""

VARIANTS = {"xgboost": "xgboost-cpu"}
"""Distributions of the same code under another name; they give the same model."""


@dataclass(frozen=True)
class Identity:
    """The digest of a model version and the digests (the seed: its text) that it is made of."""

    digest: str
    parts: Mapping[str, str]


def identity(
    project: Project,
    fingerprint: str,
    *,
    limits: Mapping[str, Any] | None = None,
    schema: FeatureSchema | None = None,
    hashed: Collection[str] = (),
    change: date | None = None,
) -> Identity:
    """Return the identity of the model that ``project`` trains on data of this fingerprint.

    ``limits`` are the flags that shape the model beside the configuration (``max_epochs``); the
    part of that name exists only where one is given. ``schema`` gives the parts ``contract`` and,
    where it succeeds earlier contracts, ``accepts``. ``hashed`` are the columns that undated rows
    are split by, where these are not all; the part ``split`` exists only then. ``change`` is the
    day of the change that a window of training days begins with; the part ``change`` exists only
    where ``train.window`` or ``train.windows`` names it.

    Raises:
        UsageError: a feature module is missing or is not Python, or the groups file is missing.
        EnvironmentFault: a package that training needs is not installed.
    """
    parts = {"data": fingerprint, **recipe(project)}
    given = {name: value for name, value in (limits or {}).items() if value is not None}
    if given:
        parts["limits"] = digest_of(given)
    if schema is not None:
        parts["contract"] = schema.contract
        if schema.accepts:
            parts["accepts"] = digest_of(list(schema.accepts))
    if hashed:
        parts["split"] = digest_of(sorted(hashed))
    if change is not None and project.config.train.depends_on_change:
        parts["change"] = change.isoformat()
    return Identity(digest_of(parts), parts)


def recipe(project: Project) -> dict[str, str]:
    """Return the parts of the identity that do not depend on the data or on flags of ``train``.

    Raises:
        UsageError: a feature module is missing or is not Python, or the groups file is missing.
        EnvironmentFault: a package that training needs is not installed.
    """
    return {
        "config": digest_of(shaping(project)),
        "source": _source_digest(project),
        "lock": digest_of(locked(project)),
        "seed": str(project.config.train.seed),
    }


def digest_of(value: Any) -> str:
    """Return the SHA-256 of the canonical JSON of ``value``: sorted keys, no white space."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def shaping(project: Project) -> dict[str, Any]:
    """Return the configuration keys that shape the model, each with its value, as plain JSON."""
    config = project.config
    data: dict[str, Any] = {
        "columns": config.data.columns,
        "constants": config.data.constants,
        "groups": None,
    }
    if config.data.groups is not None:
        groups = config.data.groups.model_dump(mode="json")
        data["groups"] = groups | {"sha256": workdir.digest(groups_file(project))}
        del data["groups"]["path"]
    features = config.features.model_dump(mode="json")
    if not features["optional"]:  # as before there was this key
        del features["optional"]
    train = config.train.model_dump(mode="json", exclude={"seed"})
    for key, default in (("window", "all"), ("windows", [])):  # as before there were these keys
        if train[key] == default:
            del train[key]
    problem = config.problem.model_dump(mode="json")
    if problem["task"] == BINARY.name:  # as before there was this key
        del problem["task"]
    return {
        "project": config.project,
        "problem": problem,
        "data": data,
        "features": features,
        "split": config.split.model_dump(mode="json"),
        "train": train,
    }


def groups_file(project: Project) -> Path:
    """Return the file of ``data.groups``; raises UsageError where it is missing."""
    groups = project.config.data.groups
    path = project.path(groups.path) if groups else None
    if path is None or not path.is_file():
        raise UsageError(f"data.groups.path: no file {path}")
    return path


def locked(project: Project) -> dict[str, str]:
    """Return the versions that can change the model: packages, Python, and the plug-ins'.

    Raises:
        EnvironmentFault: one of the packages is not installed.
    """
    versions = {"python": ".".join(platform.python_version_tuple()[:2])}
    estimator = project.config.train.estimator
    packages = own_packages(project) if is_own(estimator) else load_estimator(estimator).packages
    for name in (*LOCKED, *packages):
        versions[name] = installed_version(name)
    problem = project.config.problem
    plugins = (
        (PROBLEM_PLUGINS, problem.kind),
        (TASK_PLUGINS, problem.task),
        (ESTIMATOR_PLUGINS, estimator),
    )
    for group, name in plugins:
        plugin = installed_plugins(group).get(name)
        if plugin is not None and plugin.distribution is not None:
            distribution, version = plugin.distribution
            versions[distribution] = version
    return versions


def own_packages(project: Project) -> tuple[str, ...]:
    """Return the distributions that the project's own estimator imports, sorted.

    Raises:
        UsageError: its module is not in the project, or is not Python.
    """
    module = project.config.train.estimator.partition(":")[0]
    files = _imported(project, {"train.estimator": (module,)}).found
    names = {name.partition(".")[0] for path in files for name in _imports(path, "")}
    providers = metadata.packages_distributions()
    found = {each for name in names - sys.stdlib_module_names for each in providers.get(name, ())}
    usual = {variant: name for name, variant in VARIANTS.items()}
    return tuple(sorted(usual.get(each, each) for each in found))


def installed_version(name: str) -> str:
    """Return the version of a distribution, or of its variant where that is installed.

    Raises:
        EnvironmentFault: neither is.
    """
    for each in (name, VARIANTS.get(name, name)):
        try:
            return metadata.version(each)
        except metadata.PackageNotFoundError:
            continue
    raise EnvironmentFault(
        f"package {name} is not installed", hint="install from the lock: requirements.txt"
    )


def source_files(project: Project) -> tuple[Path, ...]:
    """Return the files of feature modules and own estimator, and what they import, sorted.

    Imports are read from the syntax tree: what is imported by a computed name, or read as data,
    is not seen.

    Raises:
        UsageError: one of these modules is not in the project, or is not Python.
    """
    return tuple(sorted(_imported(project, _roots(project)).found))


def outside(project: Project) -> tuple[Path, ...]:
    """Return files that feature modules import and that are neither the project's nor installed.

    They come by ``PYTHONPATH``: no identity covers them, and no commit holds them.
    """
    return tuple(sorted(_imported(project, _roots(project)).outside))


def _roots(project: Project) -> dict[str, tuple[str, ...]]:
    """Return the modules that the configuration names, by key."""
    estimator = project.config.train.estimator
    own = (estimator.partition(":")[0],) if is_own(estimator) else ()
    return {"features.modules": project.config.features.modules, "train.estimator": own}


def _imported(project: Project, roots: Mapping[str, tuple[str, ...]]) -> _Finder:
    finder = _Finder(project.root)
    found = finder.found
    waiting = [name for names in roots.values() for name in names]
    for key, names in roots.items():
        for name in names:
            if not finder.files(name):
                raise UsageError(
                    f"{key}: no module '{name}' in {project.root}",
                    expected=f"{name.replace('.', '/')}.py",
                )
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for package, path in finder.files(name):
            if path not in found:
                found.add(path)
                waiting += _imports(path, package)
    return finder


def _source_digest(project: Project) -> str:
    return digest_of(
        {
            path.relative_to(project.root).as_posix(): workdir.digest(path)
            for path in source_files(project)
        }
    )


class _Finder:
    """Finds the files of a module of the project, as the import system would."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.search = search_path(self.root)
        self.found: set[Path] = set()
        self.outside: set[Path] = set()
        self._installed = [
            Path(folder).resolve()
            for folder in {*sysconfig.get_paths().values(), *site.getsitepackages()}
        ]

    def files(self, name: str) -> list[tuple[str, Path]]:
        """Return (package, file) of the module and of the packages above it; none if outside."""
        parts = name.split(".")
        if parts[0] in sys.stdlib_module_names or parts[0] == "ml_pipeline":
            return []
        search: Iterable[str] | None = self.search
        found: list[tuple[str, Path]] = []
        for depth in range(1, len(parts) + 1):
            if search is None:
                break
            spec = machinery.PathFinder.find_spec(".".join(parts[:depth]), list(search))
            if spec is None:
                break
            search = spec.submodule_search_locations
            if spec.origin is None or not spec.origin.endswith(".py"):
                continue
            path = Path(spec.origin).resolve()
            if not path.is_relative_to(self.root) or "site-packages" in path.parts:
                if not any(path.is_relative_to(folder) for folder in self._installed):
                    self.outside.add(path)
                return []
            package = parts[:depth] if search is not None else parts[: depth - 1]
            found.append((".".join(package), path))
        return found


def _imports(path: Path, package: str) -> list[str]:
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        raise UsageError(f"{path}:{line} is not Python: {error}") from None
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(above if node.level else []), *filter(None, [node.module])])
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return [name for name in names if name]
