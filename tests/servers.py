"""Helpers for tests of servers: ports, readiness, predictions and prediction logs."""

import contextlib
import hashlib
import json
import socket
import time

import httpx
import msgspec
from ml_pipeline.serving.prediction_log import LoggedModel, LoggedRequest

TOKEN = "t0ken-of-the-tests"
"""Token of servers that always require one."""


def free_port():
    """Return a free port of the loopback address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def await_answer(url, seconds=120):
    """Wait until GET ``url`` is 200."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, trust_env=False).status_code == httpx.codes.OK:
                return
        time.sleep(0.02)
    raise AssertionError(f"{url} did not answer within {seconds} s")


def await_ready(url):
    """Wait until the server at ``url`` is ready."""
    await_answer(f"{url}/health/ready")


def served_version(url):
    """Return the version in the response to a row of `make_bundle`'s model."""
    headers = {"authorization": f"Bearer {TOKEN}"}
    row = {"features": [1.0, "north"]}
    response = httpx.post(f"{url}/predict", json=row, headers=headers, timeout=60, trust_env=False)
    return response.raise_for_status().json()["model_version"]


def log_predictions(path, version, features, requests):
    """Write a file of a prediction log: rows by request id, all with the prediction 0.5."""
    lines = [LoggedModel("small", version, "d", features)]
    lines += [
        LoggedRequest(number, 1.0, version, rows, [0.5] * len(rows))
        for number, rows in requests.items()
    ]
    path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


def falsify_golden(bundle):
    """Move a golden probability, so that the bundle is whole and the model is wrong."""
    golden = json.loads((bundle / "golden.json").read_text())
    golden["probabilities"][0] += 0.01
    content = json.dumps(golden).encode()
    (bundle / "golden.json").write_bytes(content)
    manifest = json.loads((bundle / "manifest.json").read_text())
    entry = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    manifest["files"]["golden.json"] = entry
    (bundle / "manifest.json").write_text(json.dumps(manifest))
