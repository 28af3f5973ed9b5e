"""docker/agent.Dockerfile: what is in the image, who may run it, and the stages in it."""

import json
import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from tests.docker.engine import ROOT

STAGES = ("lint", "test", "validate-data --ci-data", "train --quick", "evaluate", "package")
UID = 12345
"""Of nobody: it has no entry in the image's passwd."""


@pytest.fixture(scope="module")
def image(engine, agent_image):
    return engine.images.get(agent_image)


@pytest.fixture
def run(engine, agent_image):
    def run(*command, **options):
        options = {"user": f"{UID}:{UID}", "network_mode": "none", "read_only": True} | options
        options.setdefault("tmpfs", {"/tmp": ""})
        return engine.containers.run(agent_image, list(command), remove=True, **options).decode()

    return run


def locked(name):
    """Return the versions of each package in a lock; some have one for each Python."""
    found = defaultdict(set)
    text = (ROOT / name).read_text()
    for package, version in re.findall(r"^([a-z0-9-]+)(?:\[.*\])?==([^ ;\\]+)", text, re.MULTILINE):
        found[package].add(version)
    return found


def strangers(installed, lock):
    return {name: version for name, version in installed.items() if version not in lock[name]}


INSTALLED = """
import json, re
from importlib import metadata
found = metadata.distributions()
print(json.dumps({re.sub("[-_.]+", "-", each.name).lower(): each.version for each in found}))
"""


def test_the_image_has_exactly_the_lock_and_the_package(run):
    installed = json.loads(run("python", "-c", INSTALLED))
    assert installed.pop("jenkins-ml-pipeline")
    lock = locked("requirements.txt")
    assert strangers(installed, lock) == {}
    left_out = set(lock) - set(installed)
    assert "xgboost" in left_out, "the build for GPUs, of 700 MB"
    assert {"mlflow", "pandas", "xgboost-cpu", "hatchling"} <= set(installed)


def test_the_estimators_with_native_code_load(run):
    assert run("python", "-c", "import lightgbm, xgboost; print('loaded')").strip() == "loaded"


COMPILED = """
import importlib.util, json, pathlib, sysconfig
found = {}
for name in ("ml_pipeline", "pandas", "mlflow"):
    for source in (pathlib.Path(sysconfig.get_path("purelib")) / name).rglob("*.py"):
        cached = pathlib.Path(importlib.util.cache_from_source(str(source)))
        flags = cached.read_bytes()[4:8].hex() if cached.exists() else "none"
        found[flags] = found.get(flags, 0) + 1
print(json.dumps(found))
"""


def test_modules_are_compiled_independently_of_dates(run):
    found = json.loads(run("python", "-c", COMPILED))
    assert set(found) == {"01000000"}, "unchecked hash-based, see PEP 552"
    assert found["01000000"] > 1000


def test_the_agent_image_has_no_build_files(image, run):
    history = "\n".join(layer["CreatedBy"] for layer in image.history())
    assert "PIP_INDEX_URL" not in history
    assert "CA_BUNDLE" not in history
    assert not [each for each in image.attrs["Config"]["Env"] if "PIP" in each or "CERT" in each]
    unwanted = "-name machine.crt -o -name pip -o -path '*/.cache/*' -o -path '/build/*'"
    script = f"find / -xdev \\( {unwanted} \\) -not -path '/usr/*' 2>/dev/null || true"
    assert run("sh", "-c", script).split() == []


def test_the_image_has_labels_and_a_user_without_a_name(image):
    labels = image.labels
    assert labels["org.opencontainers.image.title"] == "ml-pipeline agent"
    assert labels["org.opencontainers.image.version"] == "0.0.test"
    assert labels["org.opencontainers.image.revision"] == "abc123"
    assert image.attrs["Config"]["User"] == "10001:10001"
    assert not image.attrs["Config"]["Entrypoint"]


def test_any_user_has_a_name_and_a_home(run):
    code = (
        "import getpass, os, pathlib; print(os.getuid(), getpass.getuser(), os.environ['LOGNAME']);"
        "(pathlib.Path.home() / 'x').touch(); print(pathlib.Path.home())"
    )
    assert run("python", "-c", code).split() == [str(UID), "ml", "ml", "/tmp"]
    assert run("ml-pipeline", "--version").startswith("ml-pipeline ")


def test_as_docker_inside_runs_it(engine, agent_image, tmp_path):
    """`run -t -d -u UID -w WS … cat`, then `top`, `exec`, `ps` and `stop`, as Jenkins does."""
    shutil.chown(tmp_path, UID, UID)
    container = engine.containers.run(
        agent_image,
        ["cat"],
        tty=True,
        detach=True,
        user=f"{UID}:{UID}",
        working_dir=str(tmp_path),
        volumes={str(tmp_path): {"bind": str(tmp_path)}},
    )
    try:
        assert [row[-1] for row in container.top()["Processes"]] == ["cat"]
        listed = container.exec_run(["ps", "-A", "-o", "pid,command", "e"])
        assert listed.exit_code == 0
        assert b" cat" in listed.output
        done = container.exec_run(["sh", "-c", 'echo "$HOME $USER" > told; ml-pipeline --version'])
        assert done.exit_code == 0
        assert (tmp_path / "told").read_text() == "/tmp ml\n"
    finally:
        container.stop(timeout=1)
        container.remove(v=True, force=True)


@pytest.mark.slow
def test_the_stages_of_a_pull_request_without_network_on_a_read_only_root(run, tmp_path):
    project = tmp_path / "nepse"
    unwanted = shutil.ignore_patterns("build", ".ml", ".*_cache", "__pycache__")
    shutil.copytree(ROOT / "examples/nepse", project, ignore=unwanted)
    subprocess.run(["chown", "-R", f"{UID}:{UID}", str(project)], check=True)
    script = "\n".join(f"ml-pipeline {stage}" for stage in STAGES)
    output = run(
        "sh",
        "-ec",
        script,
        working_dir="/workspace/nepse",
        volumes={str(project): {"bind": "/workspace/nepse"}},
        stderr=True,
    )
    verdicts = re.findall(r"^(\S+) +(pass|fail|error)\b", output, re.MULTILINE)
    assert verdicts == [(stage.split()[0], "pass") for stage in STAGES], output
    assert (project / "build/ml/bundle/manifest.json").exists()
    assert {path.stat().st_uid for path in (project / "build").rglob("*")} == {UID}


def test_no_file_names_a_registry_or_this_machine():
    for path in Path(ROOT / "docker").rglob("*"):
        if path.is_file() and path.suffix not in (".crt", ".pem", ".pyc"):
            hosts = re.findall(r"https?://([A-Za-z0-9.-]+)", path.read_text())
            assert set(hosts) <= {"127.0.0.1"}, path
