"""bin/test fast: which tests it leaves out, and what it holds the others to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import fast_lane
from tests.fast_lane import ROOT, Watch, need_of


def item(path: str, *fixtures: str, slow: bool = False) -> Any:
    marks = {"slow": pytest.mark.slow} if slow else {}
    return SimpleNamespace(
        path=(ROOT / path).resolve(),
        nodeid=path,
        fixturenames=list(fixtures),
        get_closest_marker=marks.get,
    )


@pytest.mark.parametrize(
    ("test", "need"),
    [
        (item("gate/test_decision.py", "tmp_path"), ""),
        (item("gate/test_decision.py", slow=True), "time"),
        (item("docker/test_engine.py"), "a Docker engine"),
        (item("jenkins/test_run.py"), "a JVM"),
        (
            item("promotion/test_journal.py", "tmp_path", "registry_database"),
            "a registry's database",
        ),
        (item("targets/test_target.py", "target_place"), "servers"),
        (item("../harness/tests/test_any.py"), "a distribution of its own"),
    ],
)
def test_needs_of_a_test_are_determined_by_folder_and_fixtures(test: Any, need: str) -> None:
    assert need_of(test) == need


def test_each_test_is_in_one_lane() -> None:
    tests = [
        item("gate/test_decision.py", "tmp_path"),
        item("gate/test_decision.py", slow=True),
        item("stages/test_gate.py"),
        item("../harness/tests/test_any.py"),
    ]
    chosen = {}
    for lane in ("fast", "rest"):
        chosen[lane] = list(tests)
        hook = SimpleNamespace(pytest_deselected=lambda items: None)
        config: Any = SimpleNamespace(
            stash=pytest.Stash(), hook=hook, getoption={"--lane": lane}.__getitem__
        )
        fast_lane.pytest_collection_modifyitems(config, chosen[lane])
    assert chosen == {"fast": tests[:1], "rest": tests[1:]}


def test_folders_that_are_left_out_exist() -> None:
    for folder in fast_lane.FOLDERS:
        assert (ROOT / folder).is_dir(), folder


def test_fixtures_that_are_left_out_exist() -> None:
    sources = "\n".join(path.read_text(encoding="utf-8") for path in ROOT.rglob("*.py"))
    for fixture in fast_lane.FIXTURES.keys() - {"jenkins"}:
        assert f"def {fixture}(" in sources, fixture


class TestWatch:
    def test_names_programs_and_databases(self) -> None:
        watch = Watch()
        watch.audit("subprocess.Popen", ("/usr/bin/java", ["java", "-version"], None, None))
        watch.audit("subprocess.Popen", (None, [b"docker", "info"], None, None))
        watch.audit("subprocess.Popen", ("git", ["git", "status"], None, None))
        watch.audit("sqlite3.connect", (Path("/home/ml/mlflow.db"),))
        watch.audit("sqlite3.connect", ("/data/shop.db",))
        assert watch.faults() == ["starts java", "starts docker", "opens the database mlflow.db"]

    def test_any_number_of_polls_is_allowed(self) -> None:
        watch = Watch()
        slept: list[float] = []
        sleep = watch.sleep(slept.append)
        for _ in range(5):
            sleep(0.2)
        assert slept == [0.2] * 5
        assert watch.faults() == []
        sleep(0.3)
        assert watch.faults() == ["sleeps 0.3 s"]

    def test_is_reset_for_each_test(self) -> None:
        watch = Watch()
        watch.audit("sqlite3.connect", ("mlflow.db",))
        watch.sleep(lambda _: None)(9)
        watch.restart()
        assert watch.faults() == []


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("import sqlite3; sqlite3.connect(tmp_path / 'mlflow.db').close()", "opens the database"),
        ("import time; time.sleep(0.3)", "sleeps 0.3 s"),
        ("import subprocess; subprocess.run(['true'], check=True)", ""),
    ],
    ids=["database", "sleep", "program"],
)
def test_a_test_that_does_more_fails_in_the_fast_lane(
    body: str, fault: str, tmp_path: Path
) -> None:
    file = tmp_path / "test_more.py"
    file.write_text(f"def test_more(tmp_path):\n    {body}\n")
    plugin = f"import sys; sys.path.insert(0, {str(ROOT.parent)!r}); import pytest; "
    run = "sys.exit(pytest.main(['-q', '-p', 'tests.fast_lane', '--lane', 'fast', 'test_more.py']))"
    done = subprocess.run(
        [sys.executable, "-c", plugin + run],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (1 if fault else 0), done.stdout + done.stderr
    if fault:
        assert f"{fault}" in done.stdout
        assert "mark the test with pytest.mark.slow" in done.stdout
