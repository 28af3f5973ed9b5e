"""What ``ml-pipeline doctor`` looks at: whether this machine can run the project."""

from __future__ import annotations

import errno
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.config import FILE, EnvironmentSection, Project
from pipeline.errors import EnvironmentFault, PipelineError
from pipeline.home import Home
from pipeline.report import Check, Verdict

DISTRIBUTION = "jenkins-ml-pipeline"
IMPORTED = (
    "numpy", "pandas", "pyarrow", "sklearn", "xgboost", "talib", "onnx", "onnxruntime",
    "skl2onnx", "onnxmltools", "matplotlib", "cryptography",
)  # fmt: skip
"""Modules with native code, which may be installed and yet not load."""

OWN_FAULTS = frozenset({"configuration", "data"})
"""Checks whose fault is the project's own, not the machine's."""

LEAST_SPACE = 2.0
"""Gigabytes: a registry with some versions, the working folder and the caches."""

TIMEOUT = 5.0
"""Seconds that a registry or an engine may take to answer."""

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


def examine(project: Project, home: Home) -> list[Check]:
    """Return one check for each thing that the project needs; advisory ones are not required."""
    return [
        _python(),
        _versions(),
        _imports(),
        _configuration(project),
        *_data(project),
        _home(home),
        _working_folder(project),
        _space(home),
        *(_port(name, section, home) for name, section in _environments(project).items()),
        _registry(project, home),
        _git(),
        _docker(),
    ]


def _check(
    name: str, good: bool, observed: object, expected: str, why: str = "", *, required: bool = True
) -> Check:
    return Check(
        name=name,
        verdict=Verdict.PASS if good else Verdict.FAIL,
        required=required,
        observed=observed,
        expected=expected,
        why="" if good else why,
    )


def _python() -> Check:
    from packaging.specifiers import SpecifierSet

    wanted = metadata.metadata(DISTRIBUTION)["Requires-Python"] or ""
    found = platform.python_version()
    good = SpecifierSet(wanted).contains(found, prereleases=True)
    return _check("Python", good, found, wanted, f"make the environment with Python {wanted}")


def _versions() -> Check:
    """Compare the installed packages with what this package declares that it needs."""
    from packaging.requirements import Requirement

    faults = []
    needed = [Requirement(text) for text in metadata.requires(DISTRIBUTION) or ()]
    needed = [one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    for requirement in needed:
        try:
            found = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            faults.append(f"{requirement.name} is not installed")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            faults.append(f"{requirement.name} is {found}, not {requirement.specifier}")
    return _check(
        "packages",
        not faults,
        "; ".join(faults) or f"{len(needed)} at the versions needed",
        f"what {DISTRIBUTION} {metadata.version(DISTRIBUTION)} declares",
        f"{'; '.join(faults)}: install again from the lock",
    )


def _imports() -> Check:
    """Load the packages with native code in a process of its own: a broken one may crash it."""
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", _IMPORTER, *IMPORTED],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        faults = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        begun = [line for line in done.stderr.splitlines() if line in IMPORTED]
        faults = {begun[-1] if begun else "python": f"died with exit code {done.returncode}"}
    told = "; ".join(f"{name}: {fault}" for name, fault in sorted(faults.items()))
    return _check(
        "imports",
        not faults,
        told or f"{len(IMPORTED)} packages with native code load",
        "every package to load",
        f"{told}: install it again, with the system libraries that it names",
    )


def _configuration(project: Project) -> Check:
    """Make the problem plug-in, whose options ``ml.yaml``'s own schema does not know."""
    from pipeline.problems.loader import load_problem

    try:
        load_problem(project.config.problem, project.root)
    except PipelineError as error:
        return _check("configuration", False, error.fault, "a valid file", str(error))
    return _check("configuration", True, str(project.root / FILE), "a valid file")


def _data(project: Project) -> list[Check]:
    """Look for the files that ``ml.yaml`` names; databases are asked when the data are read."""
    data = project.config.data
    named = {"data.source": data.source, "data.ci": data.ci, "data.groups": data.groups}
    paths = {key: getattr(source, "path", None) for key, source in named.items()}
    missing = {
        key: project.path(path)
        for key, path in paths.items()
        if path is not None and not project.path(path).is_file()
    }
    told = "; ".join(f"{key}: no file {path}" for key, path in missing.items())
    if not any(paths.values()):
        return []
    return [
        _check("data", not missing, told or "every file is there", "the files of ml.yaml", told)
    ]


def _home(home: Home) -> Check:
    try:
        home.make()
    except EnvironmentFault as error:
        return _check("home", False, error.fault, error.expected, str(error))
    return _check("home", True, str(home.root), "a folder that can be written")


def _working_folder(project: Project) -> Check:
    place = _existing(project.root / "build" / "ml")
    return _check(
        "working folder",
        os.access(place, os.W_OK),
        str(project.root / "build" / "ml"),
        "a folder that can be written",
        f"{place} cannot be written",
    )


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _space(home: Home) -> Check:
    free = shutil.disk_usage(_existing(home.root)).free / 1e9
    return _check(
        "disk space",
        free >= LEAST_SPACE,
        f"{free:.1f} GB free at {home.root}",
        f"at least {LEAST_SPACE:g} GB",
        "free some space, or set ML_HOME to another disk",
    )


def _environments(project: Project) -> Mapping[str, EnvironmentSection]:
    return {
        name: section
        for name, section in project.config.environments.items()
        if section.target == "process" and section.port
    }


def _port(name: str, section: EnvironmentSection, home: Home) -> Check:
    """Tell whether the port is free, or held by what this project itself serves there."""
    from pipeline.deploy import ports

    address = f"{section.host}:{section.port}"
    key = f"port of {name}"
    family = socket.AF_INET6 if ":" in section.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((section.host, section.port))
        except OSError as error:
            reason = error.errno, error.strerror
        else:
            return _check(key, True, f"{address} is free", "a free port, or this project's server")
    if (serving := _served(section, name, home)) is not None:
        return _check(key, True, serving, "a free port, or this project's server")
    taken = reason[0] == errno.EADDRINUSE
    observed = f"{address}: {ports.owner(section.port) if taken else reason[1]}"
    return _check(
        key,
        False,
        observed,
        "a free port, or this project's server",
        f"{observed}; end it, or set environments.{name}.port",
    )


def _served(section: EnvironmentSection, name: str, home: Home) -> str | None:
    from pipeline.deploy.targets import load_target

    deployment = load_target(section.target).status(name, home)
    if deployment is None:
        return None
    return f"version {deployment.version} is served at {deployment.url}"


def _registry(project: Project, home: Home) -> Check:
    """Ask a registry's server for its health, or a database for a connection."""
    uri = project.config.registry.uri
    expected = "a registry that answers"
    if uri is None:
        return _check("registry", True, f"SQLite in {home.root}", expected)
    shown = _without_password(uri)
    try:
        if uri.startswith(("http://", "https://")):
            import httpx

            answer = httpx.get(f"{uri.rstrip('/')}/health", timeout=TIMEOUT)
            answer.raise_for_status()
        elif "://" in uri:
            _connect(uri, project.root)
        elif not os.access(_existing(project.root / uri), os.W_OK):
            raise OSError("cannot be written")  # noqa: TRY301  told as the other faults are
    except Exception as error:  # noqa: BLE001  every driver raises its own; each is told
        told = " ".join(str(error).replace(uri, shown).split())[:300]
        why = f"registry.uri {shown}: {told}"
        return _check("registry", False, f"{shown} does not answer", expected, why)
    return _check("registry", True, f"{shown} answers", expected)


def _connect(uri: str, root: Path) -> None:
    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url

    url = make_url(uri)
    if url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:"):
        database = root / str(url.database)
        if not os.access(_existing(database), os.W_OK):
            raise OSError(f"{database} cannot be written")
        if not database.exists():
            return
        url = url.set(database=str(database))
    engine = create_engine(url)
    try:
        with engine.connect():
            pass
    finally:
        engine.dispose()


def _without_password(uri: str) -> str:
    password = urlsplit(uri).password
    return uri.replace(f":{password}@", ":***@") if password else uri


def _git() -> Check:
    found = shutil.which("git")
    why = "without git, versions carry no commit: install git"
    return _check("git", found is not None, found or "not found", "git", why, required=False)


def _docker() -> Check:
    """Ask the engine for its version; only the container targets and images need it."""
    import docker

    expected = "an engine that answers (containers only)"
    try:
        _try_docker_socket()
        client = docker.from_env(timeout=int(TIMEOUT))
        try:
            version = client.version()["Version"]
        finally:
            client.close()
    except Exception as error:  # noqa: BLE001  the client passes on what its transports raise
        told = " ".join(str(error).split())[:200]
        why = f"no Docker engine: {told}; nothing but containers needs one"
        return _check("Docker", False, "does not answer", expected, why, required=False)
    return _check("Docker", True, f"engine {version}", expected, required=False)


def _try_docker_socket() -> None:
    """Connect to a local engine's socket first: the client leaves its own open when that fails."""
    from docker.utils import parse_host

    kind, _, path = str(parse_host(os.environ.get("DOCKER_HOST"))).partition("://")
    if kind == "http+unix":
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(TIMEOUT)
            probe.connect(path)
