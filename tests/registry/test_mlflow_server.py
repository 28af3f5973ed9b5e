"""The same registry behind a tracking server, which keeps the artefacts itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from pipeline.home import Home
from pipeline.registry.mlflow_registry import CHAMPION, Registry

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, registry_database: Path) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "server.db").write_bytes(registry_database.read_bytes())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1", "--backend-store-uri", "sqlite:///server.db",
        "--artifacts-destination", "artifacts",
    ]  # fmt: skip
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    url = f"http://127.0.0.1:{port}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | quiet,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            _wait(url, process, folder / "log")
            yield url
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(f"{url}/health", trust_env=False).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    pytest.fail(f"no answer within a minute: {log.read_text()}")


def test_a_version_with_its_records_and_aliases(
    server: str,
    make_bundle: Callable[..., Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    home = Home(tmp_path / "home")
    registry = Registry(server, "small", home, stages=True)
    assert registry.champion() is None
    bundle = make_bundle()
    version = registry.register(bundle, {"git.commit": "f" * 40})
    assert registry.register(bundle) == version
    assert registry.challenger() == version

    registry.attach(version, "gate.json", b"one")
    registry.attach(version, "gate.json", b"two")
    assert registry.record(version, "gate.json") == b"two"

    fetched = registry.download(version, tmp_path / "fetched")
    assert (fetched / "manifest.json").read_bytes() == (bundle / "manifest.json").read_bytes()

    registry.set_alias(CHAMPION, version)
    assert registry.champion() == version
    assert [item.current_stage for item in registry._all()] == ["Production"]
    registry.set_alias(CHAMPION, None)
    assert registry.champion() is None

    assert sorted(item.name for item in home.root.iterdir()) == [".gitignore", "registry.lock"]
    assert capfd.readouterr() == ("", "")
