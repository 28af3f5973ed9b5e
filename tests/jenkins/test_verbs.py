"""What `ml-pipeline jenkinsfile` and `ml-pipeline jobs` add to the commands that they call."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import ml_pipeline
import pytest
import pytest_jenkinsfile
import strict_jenkins_jobs
from ml_pipeline import cli
from ml_pipeline.jenkins import distributions


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ML_HOME", raising=False)
    file = tmp_path / "Jenkinsfile"
    file.write_text("node { sh 'mkdir -p \"$ML_HOME/servers/staging\"; echo home=$ML_HOME' }\n")
    return file


@pytest.mark.parametrize(
    ("words", "package", "folder"),
    [
        (["jenkinsfile", "run"], "pytest-jenkinsfile", "harness"),
        (["jobs", "check"], "strict-jenkins-jobs", "strict-jenkins-jobs"),
        (["jobs", "diff"], "strict-jenkins-jobs", "strict-jenkins-jobs"),
    ],
)
def test_a_distribution_that_is_not_installed_is_named_with_its_command(
    words: list[str],
    package: str,
    folder: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(distributions, "find_spec", lambda _name: None)
    assert cli.main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f"ml-pipeline {words[0]}: the package {package} is not installed; install it with "
        f"'pip install ./{folder}' in a checkout of the library, or with "
        f"pip install '{package} @ git+ADDRESS#subdirectory={folder}'"
    )
    assert (Path(__file__).parents[2] / folder / "pyproject.toml").is_file()


def test_stages_of_a_build_have_a_home_and_the_servers_in_it_are_named(
    script: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["jenkinsfile", "run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    home = script.parent / ".ml"
    assert f"home={home}" in lines
    assert lines[-1].startswith("Servers, registry and keys are in")
    assert "'ml-pipeline stop'" in lines[-1]


def test_the_variable_of_the_library_names_its_checkout(
    script: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (script.parent / "library/vars").mkdir(parents=True)
    (script.parent / "library/vars/greet.groovy").write_text("def call() { echo 'hi' }\n")
    script.write_text("@Library('any') _\ngreet()\n")
    monkeypatch.setenv("ML_PIPELINE_LIBRARY", "library")
    assert cli.main(["jenkinsfile", "run"]) == 0
    assert "hi" in capsys.readouterr().out.splitlines()
    monkeypatch.setenv("ML_PIPELINE_LIBRARY", "none")
    assert cli.main(["jenkinsfile", "run"]) == 2
    assert "ML_PIPELINE_LIBRARY=none is not a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("script_text", "code", "message"),
    [
        ("resolveScm 'x'\n", 2, "the step 'resolveScm' is not supported by pytest-jenkinsfile"),
        ("node { checkout scm }\n", 2, "--branch NAME"),
        ("error 'x'\n", 1, ""),
    ],
)
def test_exit_codes_are_those_of_the_harness(
    script: Path,
    script_text: str,
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    script.write_text(script_text)
    assert cli.main(["jenkinsfile", "run"]) == code
    assert message in capsys.readouterr().err


def test_an_engine_that_cannot_be_fetched_is_an_environment_error(
    script: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pytest_jenkinsfile import EngineError, jvm

    def unreachable() -> None:
        raise EngineError("groovy-cps cannot be fetched from https://user:secret@mirror.example")

    monkeypatch.setattr(jvm, "start", unreachable)
    assert cli.main(["jenkinsfile", "run"]) == 3
    error = capsys.readouterr().err
    assert "https://user:***@mirror.example" in error


def test_jobs_end_with_the_exit_code_of_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("JENKINS_USER", "JENKINS_TOKEN"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("JENKINS_URL", "http://127.0.0.1:9")
    assert cli.main(["jobs", "check"]) == 2
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs/a.yaml").write_text("- job: {name: a, project-type: folder}\n")
    assert cli.main(["jobs", "check"]) == 0
    assert cli.main(["jobs", "diff"]) == 3
    assert "cannot be reached" in capsys.readouterr().err


def test_the_command_line_loads_neither_distribution() -> None:
    code = (
        "import sys, ml_pipeline.cli.main; "
        "print([n for n in sys.modules if n.startswith(('pytest_jenkinsfile', 'strict_jenkins'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_one_tag_releases_all_distributions_with_its_version() -> None:
    assert pytest_jenkinsfile.__version__ == ml_pipeline.__version__
    assert strict_jenkins_jobs.__version__ == ml_pipeline.__version__
