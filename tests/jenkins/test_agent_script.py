"""resources/ml-pipeline/agent.sh with a real shell: where ml-pipeline comes from on an agent."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from ml_pipeline import __version__

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "resources/ml-pipeline/agent.sh"
CONTRACT = ".".join(__version__.split(".")[:2])
TOOLS = (
    "sh",
    "cat",
    "mkdir",
    "rmdir",
    "rm",
    "touch",
    "uname",
    "sleep",
    "grep",
    "chmod",
    "env",
    "find",
    "mv",
    "tr",
)


@dataclass
class Agent:
    """A machine that has a few tools, Python, and no ml-pipeline."""

    root: Path

    def __post_init__(self) -> None:
        self.path = self.root / "bin"
        self.path.mkdir(parents=True)
        (self.root / "workspace").mkdir()
        for tool in TOOLS:
            found = shutil.which(tool)
            assert found
            (self.path / tool).symlink_to(found)
        (self.path / "python3").symlink_to(sys.executable)

    def command(self, version: str, folder: Path | None = None) -> None:
        file = (folder or self.path) / "ml-pipeline"
        file.write_text(f"#!/bin/sh\necho 'ml-pipeline {version}'\n")
        file.chmod(0o755)

    def run(self, **variables: str) -> Mapping[str, str]:
        environment = {
            "PATH": str(self.path),
            "HOME": str(self.root / "home"),
            "PIP_NO_INDEX": "1",
            "PYTHONPYCACHEPREFIX": str(self.root / "pycache"),
        }
        inputs = {
            "ML_PACKAGE": "",
            "ML_PACKAGE_DEFAULT": "",
            "ML_LOCK": "",
            "ML_CACHE": str(self.root / "cache"),
            "ML_CACHE_SHARED": "",
            "ML_CACHE_DAYS": "30",
            "ML_CONTRACT": CONTRACT,
        }
        for name, value in variables.items():
            (inputs if name in inputs else environment)[name] = value
        environment |= {name: f"-{value}" for name, value in inputs.items()}
        done = subprocess.run(
            ["sh", str(SCRIPT)],
            cwd=self.root / "workspace",
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        self.log = done.stderr
        return dict(line.split("=", 1) for line in done.stdout.splitlines())


def _hash(content: bytes) -> str:
    """The way a RECORD writes it."""
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return Agent(tmp_path)


def _zipped(path: Path, files: Mapping[str, str]) -> str:
    """Write a wheel of these files and a RECORD; return its digest."""
    info = next(name.partition("/")[0] for name in files if ".dist-info/" in name)
    record = "".join(f"{name},sha256={_hash(text.encode())},\n" for name, text in files.items())
    with zipfile.ZipFile(path, "w") as file:
        for name, text in (files | {f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}).items():
            file.writestr(name, text)
    return hashlib.sha256(path.read_bytes()).hexdigest()


WHEEL = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def helper(folder: Path, version: str = "1.0", tag: str = "py3-none-any") -> tuple[Path, str]:
    """A dependency of the package, and its checksum."""
    path = folder / f"helper-{version}-{tag}.whl"
    metadata = f"Metadata-Version: 2.1\nName: helper\nVersion: {version}\n"
    info = f"helper-{version}.dist-info"
    files = {"helper.py": "", f"{info}/METADATA": metadata, f"{info}/WHEEL": WHEEL}
    return path, _zipped(path, files)


INFO_FOLDER = f"jenkins_ml_pipeline-{__version__}.dist-info"
LOCK = "ml_pipeline/requirements.txt"


def package_files() -> dict[str, str]:
    """The files of a package with the command, whose version is ours, and an empty lock."""
    metadata = f"Metadata-Version: 2.1\nName: jenkins-ml-pipeline\nVersion: {__version__}\n"
    return {
        "fake.py": f"def main():\n    print('ml-pipeline {__version__}')\n",
        LOCK: "# nothing\n",
        f"{INFO_FOLDER}/METADATA": metadata,
        f"{INFO_FOLDER}/WHEEL": WHEEL,
        f"{INFO_FOLDER}/entry_points.txt": "[console_scripts]\nml-pipeline = fake:main\n",
    }


def locked_files(digest: str, *, requires: str = "helper>=1.0") -> dict[str, str]:
    """The same with a lock of one package, and what it requires."""
    files = package_files()
    files[f"{INFO_FOLDER}/METADATA"] += f"Requires-Dist: {requires}\n"
    return files | {LOCK: f"helper==1.0 --hash=sha256:{digest}\n"}


def with_lock(wheel: Path, digest: str, **more: str) -> None:
    """Let a wheel carry a lock."""
    _zipped(wheel, locked_files(digest, **more))


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return _wheel(tmp_path)


def _wheel(tmp_path: Path) -> Path:
    """A wheel with the command, whose version is ours."""
    path = tmp_path / f"jenkins_ml_pipeline-{__version__}-py3-none-any.whl"
    _zipped(path, package_files())
    return path


def test_the_lock_in_the_package_is_installed_and_nothing_is_resolved(
    agent: Agent, wheel: Path
) -> None:
    path, digest = helper(wheel.parent)
    with_lock(wheel, digest)
    output = agent.run(ML_PACKAGE=str(wheel), PIP_FIND_LINKS=str(path.parent))
    assert "error" not in output, agent.log
    assert "installing the packages of" in agent.log
    assert list(Path(output["bin"]).parent.glob("lib/*/site-packages/helper.py"))


def test_a_package_whose_hash_is_not_in_the_lock_is_refused(agent: Agent, wheel: Path) -> None:
    path, _ = helper(wheel.parent)
    with_lock(wheel, "0" * 64)
    output = agent.run(ML_PACKAGE=str(wheel), PIP_FIND_LINKS=str(path.parent))
    assert output == {"error": f"{wheel} could not be installed: see above"}


def test_a_lock_of_the_workspace_overrides_that_of_the_package(agent: Agent, wheel: Path) -> None:
    with_lock(wheel, "0" * 64)
    (agent.root / "workspace/own.txt").write_text("")
    output = agent.run(ML_PACKAGE=str(wheel), ML_LOCK="own.txt")
    assert "error" not in output, agent.log


def test_the_wheel_carries_the_lock_of_this_repository_and_one_for_each_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    files = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    locks = {"requirements.txt"}
    locks |= {f"requirements-{name}.txt" for name in project["project"]["optional-dependencies"]}
    assert files == {name: f"ml_pipeline/{name}" for name in locks}
    assert all((ROOT / name).is_file() for name in locks)


BACKEND = """
import os, shutil

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    [name] = [name for name in os.listdir(".") if name.endswith(".whl")]
    return os.path.basename(shutil.copy(name, wheel_directory))
"""


def git_address(agent: Agent, wheel: Path) -> str:
    """Commit sources that build the wheel to a new repository; return its address."""
    folder = wheel.parent / "repository"
    folder.mkdir(exist_ok=True)
    shutil.copy(wheel, folder)
    (folder / "backend.py").write_text(BACKEND)
    (folder / "pyproject.toml").write_text(
        "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
    )
    identity = ["-c", "user.name=Asha", "-c", "user.email=asha@example.org"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "one"]):
        subprocess.run(["git", "-C", str(folder), *command], check=True)
    git = shutil.which("git")
    assert git
    (agent.path / "git").symlink_to(git)
    return f"git+{folder.as_uri()}"


@pytest.mark.slow
@pytest.mark.parametrize("form", ["wheel", "index name", "git address"])
def test_two_agents_install_the_same_although_a_newer_version_exists(
    tmp_path: Path, wheel: Path, form: str
) -> None:
    _, digest = helper(tmp_path)
    with_lock(wheel, digest)
    environments = []
    for name in ("early", "late"):
        agent = Agent(tmp_path / name)
        package = {"wheel": str(wheel), "index name": f"jenkins-ml-pipeline=={__version__}"}.get(
            form
        ) or git_address(agent, wheel)
        output = agent.run(ML_PACKAGE_DEFAULT=package, PIP_FIND_LINKS=str(tmp_path))
        assert "error" not in output, agent.log
        folder = Path(output["bin"]).parent / "wheels"
        environments.append({one.name: one.read_bytes() for one in folder.iterdir()})
        helper(tmp_path, "2.0")
        shutil.rmtree(tmp_path / "repository", ignore_errors=True)
    assert environments[0] == environments[1]
    assert set(environments[0]) == {wheel.name, "helper-1.0-py3-none-any.whl"}


def test_a_package_without_a_lock_is_refused(agent: Agent, wheel: Path) -> None:
    _zipped(wheel, {name: text for name, text in package_files().items() if name != LOCK})
    error = agent.run(ML_PACKAGE=str(wheel))["error"]
    assert error.startswith(f"{wheel} carries no lock (ml_pipeline/requirements.txt); expected ")
    assert "lock:" in error


def test_an_extra_without_a_lock_is_refused(agent: Agent, wheel: Path) -> None:
    files = package_files()
    files[f"{INFO_FOLDER}/METADATA"] += "Provides-Extra: fast\n"
    _zipped(wheel, files)
    error = agent.run(ML_PACKAGE=f"{wheel}[fast]")["error"]
    assert "carries no lock (ml_pipeline/requirements-fast.txt)" in error


def test_the_lock_of_an_extra_is_installed_too(agent: Agent, wheel: Path) -> None:
    path, digest = helper(wheel.parent)
    files = package_files()
    files[f"{INFO_FOLDER}/METADATA"] += (
        "Provides-Extra: fast\nRequires-Dist: helper; extra=='fast'\n"
    )
    files["ml_pipeline/requirements-fast.txt"] = f"helper==1.0 --hash=sha256:{digest}\n"
    _zipped(wheel, files)
    helper(wheel.parent, "2.0")
    output = agent.run(ML_PACKAGE=f"{wheel}[fast]", PIP_FIND_LINKS=str(path.parent))
    assert "error" not in output, agent.log
    assert (Path(output["bin"]).parent / "wheels" / path.name).is_file()


def test_a_lock_for_another_platform_is_refused(agent: Agent, wheel: Path) -> None:
    path, digest = helper(wheel.parent, tag="cp311-cp311-win_arm64")
    with_lock(wheel, digest)
    error = agent.run(ML_PACKAGE=str(wheel), PIP_FIND_LINKS=str(path.parent))["error"]
    assert error.startswith(f"the lock that {wheel} carries is for another platform or Python, or ")
    python = f"Python {sys.version_info[0]}.{sys.version_info[1]}"
    assert f"none of helper==1.0 for {python} on {os.uname().sysname}" in error


def test_a_lock_for_another_python_lacks_what_this_one_needs(agent: Agent, wheel: Path) -> None:
    path, digest = helper(wheel.parent)
    with_lock(wheel, digest, requires='other; python_version>"3"')
    error = agent.run(ML_PACKAGE=str(wheel), PIP_FIND_LINKS=str(path.parent))["error"]
    assert error == (
        f"the lock that {wheel} carries is for another platform or Python: "
        f"jenkins-ml-pipeline {__version__} requires other, which is not installed."
    )
    assert not list((agent.root / "cache").glob("*/.made"))


def test_the_command_of_the_image_is_used(agent: Agent) -> None:
    agent.command(__version__)
    assert agent.run() == {"bin": ""}


def test_a_package_of_another_contract_is_refused_by_both_versions(agent: Agent) -> None:
    agent.command("9.3.0")
    error = agent.run()["error"]
    assert "'ml-pipeline 9.3.0'" in error
    assert f"ml-pipeline {CONTRACT}.x" in error


def test_a_longer_number_is_not_the_contract(agent: Agent) -> None:
    agent.command(f"{CONTRACT}9.0")
    assert "this library needs" in agent.run()["error"]


def test_without_any_package_the_error_names_how_to_set_it(agent: Agent) -> None:
    error = agent.run()["error"]
    assert "package:" in error
    assert "ML_PIPELINE_PACKAGE" in error
    assert "docs/how-to/jenkins.md" in error


def test_a_missing_python_is_named(agent: Agent, wheel: Path) -> None:
    (agent.path / "python3").unlink()
    assert "no Python 3.11" in agent.run(ML_PACKAGE=str(wheel))["error"]


def test_a_missing_lock_is_named(agent: Agent, wheel: Path) -> None:
    assert "lock.txt is not in" in agent.run(ML_PACKAGE=str(wheel), ML_LOCK="lock.txt")["error"]


@pytest.mark.slow
def test_the_environment_is_made_once_for_one_lock(agent: Agent, wheel: Path) -> None:
    lock = agent.root / "workspace/lock.txt"
    lock.write_text("# nothing\n")
    variables = {"ML_PACKAGE_DEFAULT": str(wheel), "ML_LOCK": "lock.txt"}
    first = agent.run(**variables)
    assert "creating" in agent.log
    message = subprocess.run(
        [f"{first['bin']}/ml-pipeline"], capture_output=True, text=True, check=True
    )
    assert message.stdout == f"ml-pipeline {__version__}\n"
    assert agent.run(**variables) == first
    assert "creating" not in agent.log
    lock.write_text("# something else\n")
    assert agent.run(**variables)["bin"] != first["bin"]


@pytest.mark.slow
def test_unused_environments_are_removed_when_a_new_one_is_created(
    agent: Agent, wheel: Path
) -> None:
    cache = agent.root / "cache"
    names = ("venv-old", "checkout-old", "venv-used", "checkout-served", "venv-locked")
    for name in names:
        (cache / name).mkdir(parents=True)
        stamp = cache / name / ".used"
        stamp.touch()
        if name != "venv-used":
            long_ago = time.time() - 32 * 86400
            os.utime(stamp, (long_ago, long_ago))
    for name in ("venv-unknown", "venv-locked.making", "notes"):
        (cache / name).mkdir()
    server = subprocess.Popen(
        ["sleep", "3600"], env={"PYTHONPATH": f"{cache}/checkout-served:/elsewhere"}
    )
    try:
        made = Path(agent.run(ML_PACKAGE=str(wheel))["bin"]).parent
    finally:
        server.kill()
        server.wait()
    stay = {*names, made.name, "venv-unknown", "venv-locked.making", "notes"}
    assert {path.name for path in cache.iterdir()} == stay - {"venv-old", "checkout-old"}
    assert "removed" in agent.log
    assert (cache / "venv-unknown/.used").exists()

    long_ago = time.time() - 32 * 86400
    for name in (made.name, "venv-used"):
        os.utime(cache / name / ".used", (long_ago, long_ago))
    agent.run(ML_PACKAGE=str(wheel))
    assert (made / ".used").stat().st_mtime > long_ago + 86400
    assert (cache / "venv-used").exists(), "only when a new one is made"


def test_a_failed_installation_is_an_error_and_leaves_no_environment(agent: Agent) -> None:
    package = "jenkins-ml-pipeline==0.0.1; touch hacked"
    assert "could not be installed" in agent.run(ML_PACKAGE=package)["error"]
    assert not list((agent.root / "cache").glob("*.making"))
    assert not list((agent.root / "cache").glob("*/.made"))
    assert not (agent.root / "workspace/hacked").exists()


@pytest.mark.parametrize("name", ["with space", "a$(touch hacked)b", "quote'\"`x`", "ünï"])
def test_folders_may_have_any_name(agent: Agent, name: str) -> None:
    agent.command(__version__)
    cache = agent.root / name
    assert agent.run(ML_CACHE=str(cache), HOME=str(agent.root / f"{name} home")) == {"bin": ""}
    assert cache.is_dir()
    assert not (agent.root / "workspace/hacked").exists()
    assert not list((agent.root / "workspace").iterdir())


# --- environments are verified before they are used -----------------------------------------------


@dataclass
class Environments:
    """One made by a build that delivers, and one by a build that does not, in its own cache."""

    agent: Agent
    given: dict[str, str]
    venv: Path
    own: Path

    @property
    def site(self) -> Path:
        return next(self.venv.glob("lib/python3.*/site-packages"))

    def refusal(self) -> str:
        """Return why a build that does not deliver refuses the other's; '' where it uses it."""
        found = self.agent.run(**self.given)["bin"]
        lines = [line for line in self.agent.log.splitlines() if "is not used" in line]
        assert found == str((self.own if lines else self.venv) / "bin")
        return lines[0].partition("is not used: ")[2] if lines else ""

    def record(self) -> Path:
        return next(self.site.glob("jenkins_ml_pipeline-*.dist-info/RECORD"))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Environments:
    agent = Agent(tmp_path_factory.mktemp("both"))
    lock = agent.root / "workspace/lock.txt"
    lock.write_text("-r more.txt\n")
    (agent.root / "workspace/more.txt").write_text("# nothing\n")
    given = {"ML_PACKAGE_DEFAULT": str(_wheel(agent.root)), "ML_LOCK": "lock.txt"}
    venv = Path(agent.run(**given)["bin"]).parent
    given |= {"ML_CACHE": str(agent.root / "cache/checks")}
    own = Path(agent.run(**given)["bin"]).parent
    shutil.copytree(venv, agent.root / "pristine", symlinks=True)
    return Environments(agent, given | {"ML_CACHE_SHARED": str(agent.root / "cache")}, venv, own)


@pytest.fixture
def made(both: Environments) -> Environments:
    shutil.rmtree(both.venv)
    shutil.copytree(both.agent.root / "pristine", both.venv, symlinks=True)
    return both


def _alter(made: Environments) -> None:
    (made.site / "fake.py").write_text("def main():\n    print('stolen')\n")


def _another_package(made: Environments) -> str:
    """A package with a wheel that agrees, and nothing in the lock. Returns the wheel's digest."""
    (made.site / "evil-1.0.dist-info").mkdir()
    files = {
        "evil.py": "x = 1\n",
        "evil-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n",
    }
    for name, text in files.items():
        (made.site / name).write_text(text)
    return _zipped(made.venv / "wheels/evil-1.0-py3-none-any.whl", files)


def _own_wheel_too(made: Environments) -> None:
    """The package's file, its RECORD and its wheel, rewritten together."""
    [path] = made.venv.glob("wheels/jenkins_ml_pipeline-*.whl")
    with zipfile.ZipFile(path) as file:
        files = {name: file.read(name).decode() for name in file.namelist()}
    _alter(made)
    files["fake.py"] = (made.site / "fake.py").read_text()
    files.pop(next(name for name in files if name.endswith("/RECORD")))
    _zipped(path, files)


def _without_info(made: Environments) -> None:
    """A package with a RECORD that agrees, without its wheel."""
    record = made.site / "evil-1.0.dist-info/RECORD"
    record.parent.mkdir()
    record.write_text("evil-1.0.dist-info/RECORD,,\n")


def _command(made: Environments) -> None:
    path = made.venv / "bin/ml-pipeline"
    path.write_text(path.read_text() + "import fake\n")


def _two_homes(made: Environments) -> None:
    config = made.venv / "pyvenv.cfg"
    config.write_text(f"home = /tmp\n{config.read_text()}")


def _add(name: str) -> Callable[[Environments], None]:
    def add(made: Environments) -> None:
        (made.site / name).write_text("import os\n")

    return add


def _other_python(made: Environments) -> None:
    python = made.venv / "bin/python"
    python.unlink()
    python.write_text("#!/bin/sh\necho 'ml-pipeline 0.1.0'\n")
    python.chmod(0o755)


def _planted(made: Environments) -> None:
    shutil.rmtree(made.venv)
    (made.venv / "bin").mkdir(parents=True)
    (made.venv / ".made").touch()
    (made.venv / "bin/ml-pipeline").write_text(f"#!/bin/sh\necho 'ml-pipeline {__version__}'\n")
    (made.venv / "bin/ml-pipeline").chmod(0o755)


def _unhashed(made: Environments) -> None:
    text = made.record().read_text()
    made.record().write_text(re.sub(r"fake\.py,[^,]*,", "fake.py,,", text))
    _alter(made)


def _system_site(made: Environments) -> None:
    config = made.venv / "pyvenv.cfg"
    config.write_text(config.read_text().replace("= false", "= true"))


def _byte_code(made: Environments) -> Path:
    folder = made.site / "__pycache__"
    folder.mkdir(exist_ok=True)
    planted = folder / f"fake.cpython-3{sys.version_info[1]}.pyc"
    planted.write_bytes(b"planted")
    return planted


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_alter, "fake.py differs from its wheel"),
        (_add("sitecustomize.py"), "sitecustomize.py is in no wheel"),
        (_add("planted.pth"), "planted.pth is in no wheel"),
        (lambda made: (made.site / "fake.py").unlink(), "fake.py is missing"),
        (_other_python, "bin/python is in no wheel"),
        (_planted, "it has no site-packages"),
        (_another_package, "evil-1.0-py3-none-any.whl is not in the lock"),
        (_without_info, "evil-1.0 has no wheel in this environment"),
        (_own_wheel_too, "-py3-none-any.whl is not /"),
        (_command, "bin/ml-pipeline differs from its entry point"),
        (_two_homes, "pyvenv.cfg has home twice"),
        (_unhashed, "fake.py differs from its wheel"),
        (_system_site, "pyvenv.cfg names another Python"),
    ],
    ids=[
        "altered",
        "sitecustomize",
        "pth",
        "missing",
        "python",
        "planted",
        "package",
        "info",
        "wheel",
        "command",
        "homes",
        "unhashed",
        "system",
    ],
)
@pytest.mark.slow
def test_an_environment_that_was_changed_is_not_used(
    made: Environments, change: Callable[[Environments], None], reason: str
) -> None:
    assert made.refusal() == ""
    change(made)
    assert reason in made.refusal()


@pytest.mark.slow
def test_a_wheel_whose_hash_is_in_the_lock_is_used(made: Environments) -> None:
    more = made.agent.root / "workspace/more.txt"
    digest = _another_package(made)
    try:
        more.write_text(f"evil==1.0 ; python_version > '3' \\\n    --hash=sha256:{digest}\n")
        assert made.refusal() == ""
        (made.site / "evil.py").write_text("x = 2\n")
        assert "evil.py differs from its wheel" in made.refusal()
    finally:
        more.write_text("# nothing\n")


@pytest.mark.slow
def test_planted_byte_code_is_removed(made: Environments) -> None:
    planted = _byte_code(made)
    assert made.refusal() == ""
    assert not planted.exists() or planted.read_bytes() != b"planted"


@pytest.mark.slow
def test_an_environment_of_its_own_that_was_changed_is_created_again(made: Environments) -> None:
    given = {**made.given, "ML_CACHE": str(made.venv.parent), "ML_CACHE_SHARED": ""}
    _alter(made)
    assert made.agent.run(**given) == {"bin": str(made.venv / "bin")}
    assert "fake.py differs from its wheel" in made.agent.log
    assert "stolen" not in (made.site / "fake.py").read_text()


# --- what a checkout was installed to -------------------------------------------------------------

SOURCES = {
    "pyproject.toml": "[project]\nname = 'jenkins-ml-pipeline'\n[project.scripts]\n"
    "ml-pipeline = 'ml_pipeline.cli:main'\n[project.entry-points.own]\na = 'ml_pipeline:a'\n",
    "requirements.txt": "numpy==1 --hash=sha256:0\n",
    "pipeline/ml_pipeline/__init__.py": "",
    "pipeline/ml_pipeline/cli.py": "def main(): pass\n",
}
POINTS = "[console_scripts]\nml-pipeline = ml_pipeline.cli:main\n\n[own]\na = ml_pipeline:a\n"
INFO = "jenkins_ml_pipeline-0.1.0.dist-info"


def _written(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, ""),
        ({"ml_pipeline/__pycache__/cli.pyc": "planted"}, ""),
        (
            {"ml_pipeline/cli.py": "def main(): steal()\n"},
            "ml_pipeline/cli.py differs from the checkout",
        ),
        (
            {"ml_pipeline/requirements.txt": "evil==1\n"},
            "ml_pipeline/requirements.txt differs from",
        ),
        ({"sitecustomize.py": "steal()\n"}, "sitecustomize.py differs from the checkout"),
        ({"numpy/__init__.py": "steal()\n"}, "numpy/__init__.py differs from the checkout"),
        (
            {f"{INFO}/entry_points.txt": POINTS + "b = os:system\n"},
            f"{INFO}/entry_points.txt differs from pyproject.toml",
        ),
    ],
)
def test_an_installed_checkout_is_compared_with_its_sources(
    tmp_path: Path, files: Mapping[str, str], message: str
) -> None:
    workspace, over = tmp_path / "workspace", tmp_path / "over"
    _written(workspace, SOURCES)
    copied = {
        name.removeprefix("pipeline/"): text
        for name, text in SOURCES.items()
        if name.startswith("pipeline/")
    }
    lock = {"ml_pipeline/requirements.txt": SOURCES["requirements.txt"]}
    _written(over, copied | lock | {f"{INFO}/entry_points.txt": POINTS, "run/ml-pipeline": ""})
    _written(over, files)
    program = SCRIPT.read_text().partition("<<'PYTHON'\n")[2].partition("\nPYTHON\n")[0]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-", "checkout", str(over), "", ""],
        input=program,
        cwd=workspace,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip().startswith(message), done.stderr
    assert bool(done.returncode) == bool(message)
    assert not list(over.rglob("*.pyc"))


def test_an_input_that_is_missing_is_named(agent: Agent) -> None:
    agent.command(__version__)
    script = f"unset ML_LOCK; . {SCRIPT}"
    environment = {"PATH": str(agent.path), "HOME": "/tmp"}
    done = subprocess.run(
        ["sh", "-c", script],
        env=environment | {f"ML_{n}": "-" for n in ("PACKAGE", "PACKAGE_DEFAULT", "CONTRACT")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "error=the variable ML_LOCK of mlAgent did not reach the agent" in done.stdout


@pytest.mark.parametrize("given", ["http_proxy", "HTTP_PROXY"])
def test_a_proxy_variable_is_set_in_both_spellings(agent: Agent, given: str) -> None:
    (agent.path / "ml-pipeline").write_text(
        f'#!/bin/sh\necho "ml-pipeline {__version__}, $http_proxy $HTTP_PROXY"\n'
    )
    (agent.path / "ml-pipeline").chmod(0o755)
    agent.run(**{given: "http://proxy.example:3128"})
    assert "http://proxy.example:3128 http://proxy.example:3128" in agent.log
