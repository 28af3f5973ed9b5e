"""MLflow tracking servers that keep the artefacts themselves, for tests."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.postgres import Postgres

QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


@contextmanager
def mlflow_server(folder: Path, store: str) -> Iterator[str]:
    """Run a server on the database at ``store``, with its artefacts in ``folder``; yield its URL.

    The database's address may hold a password: it is handed over in the environment.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1", "--artifacts-destination", "artifacts",
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | QUIET | {"MLFLOW_BACKEND_STORE_URI": store},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            _wait(url, process, folder / "log")
            yield url
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # its state is discarded
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


@pytest.fixture(scope="session")
def postgres_registry(
    postgres: Postgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of an MLflow server on PostgreSQL."""
    database = postgres.create("mlflow")
    store = postgres.url(database, password=postgres.password)
    with mlflow_server(tmp_path_factory.mktemp("mlflow"), store) as url:
        yield url
