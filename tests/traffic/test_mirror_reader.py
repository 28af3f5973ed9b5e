"""The reader of a live shadow that requests its copies itself, as in a container."""

import json
import signal
import subprocess
import sys
import time

import httpx
import pytest
from ml_pipeline.online import live_shadow
from ml_pipeline.serving import control_socket
from ml_pipeline.traffic import mirror_reader

from tests.servers import await_ready, free_port


@pytest.fixture
def processes():
    started = []

    def start(*command):
        started.append(subprocess.Popen([sys.executable, "-P", "-m", *map(str, command)]))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_sigterm_ends_the_copying_and_writes_the_counts(processes, make_bundle, tmp_path):
    path, bundle, ports = tmp_path / "c.sock", make_bundle(), (free_port(), free_port())
    for port, more in zip(ports, (("--shadow-control", path), ()), strict=True):
        own = ("--bundle", bundle, "--port", port, "--version", 3)
        processes("ml_pipeline.serving", *own, *more)
    url, challenger = (f"http://127.0.0.1:{port}" for port in ports)
    await_ready(url)
    await_ready(challenger)
    records = tmp_path / "records.jsonl"
    settings = mirror_reader.MirrorReaderSettings(
        challenger, 3, 5.0, None, str(records), control=str(path)
    )
    config = tmp_path / "settings.json"
    config.write_text(settings.to_json())
    reader = processes("ml_pipeline.traffic.mirror_reader", config)
    while not control_socket.send_command(path, "mirror")[0]["mirroring"]:
        time.sleep(0.02)
    ids = {"x-request-id": "r-1"}
    assert httpx.post(f"{url}/predict", json={"features": [1, "a"]}, headers=ids).is_success
    while not live_shadow.read_exchanges(records):
        time.sleep(0.02)
    reader.send_signal(signal.SIGTERM)
    assert reader.wait(10) == 0
    exchanges = live_shadow.read_exchanges(records)
    counts = json.loads((tmp_path / mirror_reader.COUNTS).read_text())
    assert (counts["offered"], counts["dropped"], [one.id for one in exchanges]) == (1, 0, ["r-1"])
    assert exchanges[0].champion.predictions == exchanges[0].challenger.predictions
    assert control_socket.send_command(path, "mirror")[0] == {"mirroring": False}
