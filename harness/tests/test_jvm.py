"""The locked artefacts and the Java process."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_jenkinsfile import HarnessError, Jenkins, jvm
from pytest_jenkinsfile.errors import EngineError


def test_the_lock_names_artefacts_and_checksums_only() -> None:
    text = jvm.LOCK.read_text()
    assert "://" not in text
    versions = {artifact.artifact: artifact.version for artifact in jvm.locked_artifacts()}
    assert (versions["groovy-cps"], versions["groovy-all"]) == ("1.31", "2.4.21")
    assert all(len(artifact.sha256) == 64 for artifact in jvm.locked_artifacts())


def test_another_content_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = jvm.locked_artifacts()[0]
    good = jvm.fetch(first)
    forged = tmp_path / "forged.jar"
    forged.write_bytes(good.read_bytes() + b"x")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(jvm, "_resolve", lambda artifact: forged)
    with pytest.raises(EngineError, match=first.sha256):
        jvm.fetch(first)
    assert not (tmp_path / "cache" / "pytest-jenkinsfile" / "jars" / first.file_name).exists()


def test_a_damaged_cache_is_filled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = jvm.locked_artifacts()[0]
    good = jvm.fetch(first)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(jvm, "_resolve", lambda artifact: good)
    kept = jvm.fetch(first)
    kept.write_bytes(b"damaged")
    assert jvm.fetch(first).read_bytes() == good.read_bytes()


def test_the_classes_are_compiled_once_for_each_state_of_the_sources() -> None:
    jars = [str(jvm.fetch(artifact)) for artifact in jvm.locked_artifacts()]
    first = jvm.compile_engine(jvm.java(), jars)
    assert first == jvm.compile_engine("no compiler is started", [])
    assert (first / "jenkinsfile" / "Main.class").is_file()


def test_what_does_not_compile_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jars = [str(jvm.fetch(artifact)) for artifact in jvm.locked_artifacts()]
    broken = tmp_path / "sources"
    broken.mkdir()
    (broken / "Broken.groovy").write_text("class {")
    monkeypatch.setattr(jvm, "SOURCES", broken)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(EngineError, match="does not compile"):
        jvm.compile_engine(jvm.java(), jars)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_an_engine_that_dies_is_reported_and_the_next_run_starts_another() -> None:
    with Jenkins() as jenkins:
        assert jenkins.run("echo 'x'\n").result == "SUCCESS"
        process = jenkins._engine._process
        assert process is not None
        process.kill()
        process.wait()
        with pytest.raises(HarnessError, match="ended"):
            jenkins.run("echo 'x'\n")
        assert jenkins.run("echo 'x'\n").result == "SUCCESS"
