"""The checks of ``ml-pipeline doctor``: whether this machine can run the project."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

from ml_pipeline.approval import policy, policy_files
from ml_pipeline.approval.keys import trusted_keys
from ml_pipeline.approval.policy_files import PolicyFile
from ml_pipeline.config import FILE, Project
from ml_pipeline.core.errors import PipelineError, UsageError
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.project import doctor_environments
from ml_pipeline.project.doctor_check import check
from ml_pipeline.project.policy_in_force import policy_in_force
from ml_pipeline.registry import sqlite
from ml_pipeline.registry.registry import Registry

DISTRIBUTION = "jenkins-ml-pipeline"
IMPORTED = (
    "numpy", "pandas", "pyarrow", "sklearn", "talib", "onnx", "onnxruntime",
    "skl2onnx", "onnxmltools", "matplotlib", "cryptography",
)  # fmt: skip
"""Modules with native code, which may fail to load; those of estimators are added."""

PROJECT_CHECKS = frozenset({"configuration", "data", "policy"})
"""Checks of the project; the others are of the machine."""

LOCAL_TARGETS = frozenset({"process", "docker"})
"""Targets whose port is on the machine that deploys."""

MIN_FREE_GIGABYTES = 2.0
"""For a registry with some versions, the working folder and the caches."""

TIMEOUT = 5.0
"""Seconds to wait for the registry's response."""

_IMPORTER = """
import importlib, json, sys
faults = {}
for name in sys.argv[1:]:
    print(name, file=sys.stderr, flush=True)
    try:
        importlib.import_module(name)
    except BaseException as error:
        faults[name] = f"{type(error).__name__}: {error}"
print(json.dumps(faults))
"""


def examine(project: Project, home: Home, policies: tuple[PolicyFile, ...] = ()) -> list[Check]:
    """Return the checks of everything the project needs; advisory ones are not required."""
    return [
        _python(),
        _versions(),
        *_imports(project),
        _configuration(project),
        _policy(project, policies),
        *_data(project),
        _home(home),
        _keys(project, home, policies),
        _working_folder(project),
        _space(home),
        _registry(project, home),
        _git(),
        *doctor_environments.examine(project, home),
    ]


def _python() -> Check:
    from packaging.specifiers import SpecifierSet

    required = metadata.metadata(DISTRIBUTION)["Requires-Python"] or ""
    version = platform.python_version()
    supported = SpecifierSet(required).contains(version, prereleases=True)
    why = f"create the environment with Python {required}"
    return check("Python", supported, version, required, why)


def _versions() -> Check:
    """Compare the installed packages with the requirements of this package."""
    from packaging.requirements import Requirement

    faults = []
    needed = [Requirement(text) for text in metadata.requires(DISTRIBUTION) or ()]
    needed = [one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    for requirement in needed:
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            faults.append(f"{requirement.name} is not installed")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            faults.append(f"{requirement.name} is {version}, not {requirement.specifier}")
    return check(
        "packages",
        not faults,
        "; ".join(faults) or f"{len(needed)} at the required versions",
        f"the requirements of {DISTRIBUTION} {metadata.version(DISTRIBUTION)}",
        f"{'; '.join(faults)}: install again from the lock",
    )


def _imports(project: Project) -> list[Check]:
    """Import the packages with native code in a separate process, which a broken one may crash.

    Those of estimators that the project does not use are advisory.
    """
    from ml_pipeline.training.estimators.loader import installed_estimators

    try:
        packages = {name: each.packages for name, each in installed_estimators().items()}
    except UsageError as error:
        return [check("estimators", False, error.fault, "plug-ins that load", str(error))]
    own = packages.pop(project.config.train.estimator, {})
    needed = list(dict.fromkeys((*IMPORTED, *own.values())))
    others = {
        module: name
        for name, modules in packages.items()
        for module in modules.values()
        if module not in needed
    }
    faults = _import_faults([*needed, *others])
    failed = "; ".join(f"{name}: {faults[name]}" for name in sorted(needed) if name in faults)
    not_loading = "; ".join(
        f"{name}: {module}: {faults[module]}" for module, name in others.items() if module in faults
    )
    return [
        check(
            "imports",
            not failed,
            failed or f"{len(needed)} packages with native code load",
            "every package to load",
            f"{failed}: install it again, with the system libraries that the message names",
        ),
        check(
            "estimators",
            not not_loading,
            not_loading or ", ".join(installed_estimators()),
            "packages of every estimator to load",
            f"{not_loading}: only a project with this train.estimator needs it",
            required=False,
        ),
    ]


def _import_faults(modules: Sequence[str]) -> dict[str, str]:
    """Return why modules cannot be imported, by name."""
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", _IMPORTER, *modules],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        return dict(json.loads(done.stdout.strip().splitlines()[-1]))
    except (IndexError, ValueError):
        begun = [line for line in done.stderr.splitlines() if line in modules]
        return {begun[-1] if begun else modules[0]: f"crashed with exit code {done.returncode}"}


def _configuration(project: Project) -> Check:
    """Load the plug-ins that ``ml.yaml`` names, whose options its schema does not cover."""
    try:
        _check_names(project)
    except PipelineError as error:
        return check("configuration", False, error.fault, "a valid file", str(error))
    return check("configuration", True, str(project.root / FILE), "a valid file")


def _policy(project: Project, files: tuple[PolicyFile, ...]) -> Check:
    """Read the policy in force; the check of write access to its files is advisory."""
    observed = policy_files.describe(files)
    try:
        policy.load(policy_files.in_order(files), project.config.policy)
        if _configuration(project).verdict is Verdict.PASS:
            policy_in_force(policy_files.in_order(files), project)
    except UsageError as error:
        return check(
            "policy",
            False,
            error.fault,
            "a policy that can be read, which ml.yaml only tightens",
            str(error),
        )
    writable = [str(file.path) for file in files if file.of_administrators and file.is_writable]
    why = f"this user can write {' and '.join(writable)}: on an agent, root must own the file"
    expected = "files that this user cannot write"
    return check("policy", not writable, observed, expected, why, required=False)


def _check_names(project: Project) -> None:
    """Refuse unknown names of problem, estimator, metrics, checks and targets, and a shared port.

    Raises:
        UsageError: names the key.
    """
    from ml_pipeline.core.project_modules import check_reference
    from ml_pipeline.gate.comparison_set import check_metrics
    from ml_pipeline.problems.loader import load_problem
    from ml_pipeline.targets.loader import load_target
    from ml_pipeline.training.estimators.loader import is_own
    from ml_pipeline.training.trainer import recipes_of

    config = project.config
    problem = load_problem(config.problem, project.root)
    recipes_of(config.train)
    check_metrics(config, problem)
    if is_own(config.train.estimator):
        check_reference(project.root, config.train.estimator, key="train.estimator")
    for name in config.gate.checks:
        if ":" in name:
            check_reference(project.root, name, key="gate.checks")
    port_owners: dict[int, str] = {}
    for name, section in config.environments.items():
        load_target(section.target)
        local = section.target in LOCAL_TARGETS
        if local and section.port and port_owners.setdefault(section.port, name) != name:
            raise UsageError(
                f"environments.{port_owners[section.port]}.port and environments.{name}.port "
                f"are both {section.port}",
                expected="a port for each environment",
            )


def _data(project: Project) -> list[Check]:
    """Check that the files that ``ml.yaml`` names exist; databases are not connected to."""
    data = project.config.data
    named = {"data.source": data.source, "data.ci": data.ci, "data.groups": data.groups}
    paths = {key: getattr(source, "path", None) for key, source in named.items()}
    missing = {
        key: project.path(path)
        for key, path in paths.items()
        if path is not None and not project.path(path).is_file()
    }
    message = "; ".join(f"{key}: {path} does not exist" for key, path in missing.items())
    if not any(paths.values()):
        return []
    return [
        check(
            "data",
            not missing,
            message or "every file exists",
            "the files that ml.yaml names",
            message,
        )
    ]


def _home(home: Home) -> Check:
    try:
        home.make()
    except PipelineError as error:
        return check("home", False, error.fault, error.expected, str(error))
    return check("home", True, str(home.root), "a writable folder")


def _keys(project: Project, home: Home, files: tuple[PolicyFile, ...]) -> Check:
    """Check that the approvals of this home can be verified."""
    expected = "the keys that signed the approvals of this home"
    try:
        rules = policy.tighten(policy_files.read(files), project.config.policy)
    except UsageError as error:
        return check("keys", False, "the policy cannot be read", expected, error.fault)
    try:
        found = trusted_keys(home, rules)
    except PipelineError as error:
        return check("keys", False, error.fault, expected, str(error))
    return check("keys", True, f"{len(found)} trusted" if found else "none created yet", expected)


def _working_folder(project: Project) -> Check:
    place = _existing(project.root / "build" / "ml")
    return check(
        "working folder",
        os.access(place, os.W_OK),
        str(project.root / "build" / "ml"),
        "a writable folder",
        f"{place} is not writable",
    )


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _space(home: Home) -> Check:
    free = shutil.disk_usage(_existing(home.root)).free / 1e9
    return check(
        "disk space",
        free >= MIN_FREE_GIGABYTES,
        f"{free:.1f} GB free at {home.root}",
        f"at least {MIN_FREE_GIGABYTES:g} GB",
        "free disk space, or set ML_HOME to a folder on another disk",
    )


def _registry(project: Project, home: Home) -> Check:
    """Request ``/health`` of a registry server, or connect to the registry's database."""
    uri = Registry.of(project, home).uri
    own = project.config.registry.uri is None
    shown = f"SQLite in {home.root}" if own else _without_password(uri)
    expected = "a registry that answers"
    try:
        if uri.startswith(("http://", "https://")):
            import httpx

            answer = httpx.get(f"{uri.rstrip('/')}/health", timeout=TIMEOUT)
            answer.raise_for_status()
        elif "://" in uri:
            _connect(uri, home)
        elif not os.access(_existing(project.root / uri), os.W_OK):
            raise OSError("is not writable")  # noqa: TRY301  reported like the other faults
    except PipelineError as error:
        return check("registry", False, error.fault, expected, str(error))
    except Exception as error:  # noqa: BLE001  drivers raise many types; all are reported
        cause = getattr(error, "orig", None) or error
        message = " ".join(str(cause).replace(uri, shown).split())[:300]
        why = f"{'registry,' if own else 'registry.uri'} {shown}: {message}"
        return check("registry", False, f"{shown} does not answer", expected, why)
    return check("registry", True, shown if own else f"{shown} answers", expected)


def _connect(uri: str, home: Home) -> None:
    """Connect to a database; also read the schema version of a SQLite file."""
    from sqlalchemy import create_engine

    file = sqlite.file_of(uri)
    if file is not None:
        if not os.access(_existing(file), os.W_OK):
            raise OSError(f"{file} is not writable")
        if not sqlite.has_database(file, home):
            return
    engine = create_engine(uri)
    try:
        with engine.connect() as connection:
            if file is not None:
                connection.exec_driver_sql("PRAGMA schema_version")
    finally:
        engine.dispose()


def _without_password(uri: str) -> str:
    password = urlsplit(uri).password
    return uri.replace(f":{password}@", ":***@") if password else uri


def _git() -> Check:
    found = shutil.which("git")
    why = "install git: without it versions do not record their commit"
    return check("git", found is not None, found or "not found", "git", why, required=False)
