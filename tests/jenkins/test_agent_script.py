"""resources/ml-pipeline/agent.sh with a real shell: where ml-pipeline comes from on an agent."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline import __version__

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
)


@dataclass
class Agent:
    """A machine that has a few tools, Python, and nothing of ours."""

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
            "ML_PACKAGE": "",
            "ML_PACKAGE_DEFAULT": "",
            "ML_LOCK": "",
            "ML_CACHE": str(self.root / "cache"),
            "ML_CACHE_DAYS": "30",
            "ML_CONTRACT": CONTRACT,
            "PIP_NO_INDEX": "1",
        } | variables
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


@pytest.fixture
def agent(tmp_path: Path) -> Agent:
    return Agent(tmp_path)


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A package with the command, whose version is ours."""
    path = tmp_path / f"jenkins_ml_pipeline-{__version__}-py3-none-any.whl"
    info = f"jenkins_ml_pipeline-{__version__}.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("fake.py", f"def main():\n    print('ml-pipeline {__version__}')\n")
        file.writestr(
            f"{info}/METADATA",
            f"Metadata-Version: 2.1\nName: jenkins-ml-pipeline\nVersion: {__version__}\n",
        )
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/entry_points.txt", "[console_scripts]\nml-pipeline = fake:main\n")
        file.writestr(f"{info}/RECORD", "")
    return path


def test_the_command_of_the_image_is_taken(agent: Agent) -> None:
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


def test_without_any_package_the_error_says_how_to_set_it(agent: Agent) -> None:
    error = agent.run()["error"]
    assert "package:" in error
    assert "ML_PIPELINE_PACKAGE" in error
    assert "docs/how-to/jenkins.md" in error


def test_no_python_is_said_so(agent: Agent, wheel: Path) -> None:
    (agent.path / "python3").unlink()
    assert "no Python 3.11" in agent.run(ML_PACKAGE=str(wheel))["error"]


def test_a_lock_that_is_not_there_is_said_so(agent: Agent, wheel: Path) -> None:
    assert "lock.txt is not in" in agent.run(ML_PACKAGE=str(wheel), ML_LOCK="lock.txt")["error"]


@pytest.mark.slow
def test_the_environment_is_made_once_for_one_lock(agent: Agent, wheel: Path) -> None:
    lock = agent.root / "workspace/lock.txt"
    lock.write_text("# nothing\n")
    variables = {"ML_PACKAGE_DEFAULT": str(wheel), "ML_LOCK": "lock.txt"}
    first = agent.run(**variables)
    assert "making" in agent.log
    told = subprocess.run(
        [f"{first['bin']}/ml-pipeline"], capture_output=True, text=True, check=True
    )
    assert told.stdout == f"ml-pipeline {__version__}\n"
    assert agent.run(**variables) == first
    assert "making" not in agent.log
    lock.write_text("# something else\n")
    assert agent.run(**variables)["bin"] != first["bin"]


@pytest.mark.slow
def test_environments_that_nobody_uses_go_when_a_new_one_is_made(agent: Agent, wheel: Path) -> None:
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
        ["sleep", "60"], env={"PYTHONPATH": f"{cache}/checkout-served:/elsewhere"}
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


def test_what_cannot_be_installed_is_an_error_and_leaves_nothing_half_made(agent: Agent) -> None:
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
