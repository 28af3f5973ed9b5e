"""The server process: its imports, its start and its end."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest
from ml_pipeline.core.errors import EnvironmentFault, UsageError
from ml_pipeline.serving import control_socket, http_protocol, server
from ml_pipeline.serving.access import read_token
from ml_pipeline.serving.app import RequestLimits
from ml_pipeline.serving.prediction_log import read
from ml_pipeline.serving.sockets import bind

from tests.servers import await_ready, falsify_golden, free_port

pytestmark = pytest.mark.slow


@pytest.fixture
def serve():
    running = []

    def start(bundle, *more, **environment):
        port = free_port()
        command = [sys.executable, "-P", "-m", "ml_pipeline.serving", "--bundle", str(bundle)]
        process = subprocess.Popen(
            [*command, "--port", str(port), *more],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )
        running.append(process)
        return process, f"http://127.0.0.1:{port}"

    yield start
    for process in running:
        process.kill()
        process.communicate()


def test_sigterm_ends_the_server(serve, make_bundle):
    process, url = serve(make_bundle(), "--version", "4")
    await_ready(url)
    response = httpx.post(f"{url}/predict", json={"features": [1.0, "north"]})
    assert response.json()["model_version"] == 4
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) in (0, -signal.SIGTERM)
    assert process.stderr.read() == ""


def test_an_open_request_is_answered_before_the_server_ends(serve, make_bundle):
    process, url = serve(make_bundle())
    await_ready(url)
    half = threading.Event()

    def body():
        yield b'{"features": '
        half.set()
        time.sleep(0.5)
        yield b"[1.0, null]}"

    def end():
        half.wait(5)
        process.send_signal(signal.SIGTERM)

    thread = threading.Thread(target=end)
    thread.start()
    response = httpx.post(f"{url}/predict", content=body())
    thread.join()
    assert response.status_code == 200
    assert response.headers["connection"] == "close"
    process.wait(10)


def test_a_very_large_body_is_413_and_the_server_keeps_serving(serve, make_bundle):
    _, url = serve(make_bundle(), "--max-body", "1000")
    await_ready(url)
    with httpx.Client(base_url=url, timeout=60) as client:
        assert client.post("/predict", content=b" " * 5_000_000).status_code == 413
        assert client.post("/predict", json={"features": [1.0, None]}).status_code == 200


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: -5\r\n\r\n",
        b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: " + b"9" * 5000 + b"\r\n\r\n",
    ],
)
def test_invalid_http_gets_a_400(serve, make_bundle, raw):
    _, url = serve(make_bundle())
    await_ready(url)
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(raw)
        assert connection.recv(100).startswith(b"HTTP/1.1 4")
    assert httpx.get(f"{url}/health/live").status_code == 200


IMPORTS = """
import json, sys
from pathlib import Path
from ml_pipeline.serving import server
from ml_pipeline.serving.app import RequestLimits

async def report(self, sockets):
    print(json.dumps(sorted(sys.modules)))

server.ModelServer.serve = report
server.run(
    Path(sys.argv[1]), version=1, limits=RequestLimits(10, 1), host="127.0.0.1", port=0
)
"""


@pytest.mark.parametrize("start", [b"GET /", b"GET / HTTP/1.1\r\nx: "])
def test_endless_headers_close_the_connection(serve, make_bundle, start):
    _, url = serve(make_bundle())
    await_ready(url)
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(start)
        sent = 0
        try:
            while sent < 50_000_000:
                sent += connection.send(b"x" * 10_000)
        except OSError:
            pass
    assert sent < 10_000_000


def test_a_client_that_sends_no_headers_is_disconnected(make_bundle, monkeypatch):
    monkeypatch.setattr(http_protocol, "HEADER_SECONDS", 0.2)
    port = free_port()
    seen = []

    def client():
        await_ready(f"http://127.0.0.1:{port}")
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(b"GET /health/live HTTP/1.1\r\n")
            seen.append(connection.recv(100))
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=client)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        server.run(
            make_bundle(), version=1, limits=RequestLimits(1000, 1), host="127.0.0.1", port=port
        )
    thread.join()
    assert seen == [b""]


@pytest.mark.parametrize("sent", [b"", b"{"])
def test_a_body_that_does_not_arrive_is_a_408(make_bundle, monkeypatch, sent):
    monkeypatch.setattr(http_protocol, "BODY_SECONDS", 0.2)
    port = free_port()
    seen = []

    def client():
        await_ready(f"http://127.0.0.1:{port}")
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            head = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n"
            connection.sendall(head + sent)
            seen.append(connection.recv(100))
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=client)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        server.run(
            make_bundle(), version=1, limits=RequestLimits(1000, 1), host="127.0.0.1", port=port
        )
    thread.join()
    assert seen[0].startswith(b"HTTP/1.1 408")


def test_a_failed_control_connection_does_not_end_the_thread(tmp_path, monkeypatch):
    monkeypatch.setattr(server, "PAUSE_SECONDS", 0.0)
    controller = server.ControlThread(tmp_path / "c.sock", None, None, {"pid": 1})
    listening, failed = controller._socket, []

    class OutOfDescriptors:
        def accept(self):
            if not failed:
                failed.append(True)
                raise OSError(24, "Too many open files")
            return listening.accept()

    controller._socket = OutOfDescriptors()
    controller.start()
    assert control_socket.send_command(tmp_path / "c.sock", "status")[0] == {"pid": 1}
    assert failed


def test_the_shadow_socket_refuses_other_commands(serve, make_bundle, tmp_path):
    path = tmp_path / "c.sock"
    _, url = serve(make_bundle(), "--shadow-control", str(path))
    await_ready(url)
    for command in ("lend", "serve", "pause"):
        assert control_socket.send_command(path, command) == ({"refused": command}, None)
    assert control_socket.send_command(path, "mirror")[0] == {"mirroring": False}
    done = subprocess.run(
        [sys.executable, "-m", "ml_pipeline.serving.control_socket", str(path), "unmirror"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == {"mirroring": False}
    assert httpx.get(f"{url}/health/live").status_code == 200


def test_imports_only_onnx_runtime_numpy_and_the_web_stack(make_bundle):
    command = [sys.executable, "-c", IMPORTS, str(make_bundle())]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in json.loads(done.stdout)}
    assert {"onnxruntime", "numpy", "starlette", "uvicorn", "msgspec"} <= loaded
    heavy = {"pandas", "pyarrow", "mlflow", "sklearn", "xgboost", "onnx", "scipy", "matplotlib"}
    assert not (heavy | {"pydantic", "yaml", "great_expectations", "httpx"}) & loaded


class TestRefusesToStart:
    def test_with_a_bundle_that_was_changed(self, serve, make_bundle):
        bundle = make_bundle()
        (bundle / "reference.parquet").write_bytes(b"changed..")
        process, _ = serve(bundle)
        assert process.wait(20) == 1
        assert process.stderr.read().startswith("error: ")

    def test_with_wrong_golden_predictions(self, serve, make_bundle):
        bundle = make_bundle()
        falsify_golden(bundle)
        process, _ = serve(bundle)
        assert process.wait(20) == 1
        assert "a golden prediction is" in process.stderr.read()

    def test_on_a_public_address_without_a_token(self, serve, make_bundle):
        process, _ = serve(make_bundle(), "--host", "0.0.0.0")
        assert process.wait(20) == 2
        assert "no bearer token is configured" in process.stderr.read()

    def test_with_a_port_in_use(self, serve, make_bundle):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            process, _ = serve(make_bundle(), "--port", str(taken.getsockname()[1]))
            assert process.wait(20) == 3
            assert "cannot listen on 127.0.0.1" in process.stderr.read()


class TestToken:
    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.5", "example.org"])
    def test_is_required_on_other_hosts(self, host):
        with pytest.raises(UsageError, match="is not a loopback address"):
            read_token(host, None)

    @pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
    def test_is_not_needed_on_loopback(self, host):
        assert read_token(host, None) is None

    @pytest.mark.parametrize("value", ["", " ", "a\n", "schlüssel", " x"])
    def test_an_invalid_token_is_refused(self, monkeypatch, value):
        monkeypatch.setenv("API_TOKEN", value)
        with pytest.raises(UsageError, match="API_TOKEN holds no token"):
            read_token("0.0.0.0", "API_TOKEN")

    def test_is_read_by_name(self, monkeypatch):
        monkeypatch.setenv("API_TOKEN", "s3cret")
        assert read_token("0.0.0.0", "API_TOKEN") == "s3cret"


def test_bind_refuses_an_address_that_is_not_of_this_machine():
    with pytest.raises(EnvironmentFault, match=r"cannot listen on 192\.0\.2\.1:0"):
        bind("192.0.2.1", 0)


class TestPredictionLog:
    def test_requests_answered_before_sigterm_are_on_disk(self, serve, make_bundle, tmp_path):
        folder = tmp_path / "log"
        process, url = serve(make_bundle(), "--version", "4", "--predictions", str(folder))
        await_ready(url)
        asked = [f"request-{number}" for number in range(50)]
        with httpx.Client(base_url=url, timeout=60) as client:
            for name in asked:
                body = {"features": [1.0, "north"]}
                assert client.post("/predict", json=body, headers={"x-request-id": name}).json()
            process.send_signal(signal.SIGTERM)
        process.wait(10)
        entries = list(read(folder))
        assert [entry.request_id for _, entry in entries] == asked
        source = entries[0][0]
        assert (source.model, source.model_version, source.features) == ("small", 4, ["x", "c"])

    def test_without_a_folder_there_is_no_log(self, serve, make_bundle, tmp_path):
        process, url = serve(make_bundle())
        await_ready(url)
        assert httpx.post(f"{url}/predict", json={"features": [1.0, None]}).status_code == 200
        process.terminate()
        process.wait(10)
        assert not list(tmp_path.rglob("*.jsonl"))

    def test_a_folder_that_cannot_be_written_ends_the_start(self, serve, make_bundle, tmp_path):
        (tmp_path / "file").write_text("")
        process, _ = serve(make_bundle(), "--predictions", str(tmp_path / "file/log"))
        assert process.wait(20) == 3
        assert "prediction log: cannot write to" in process.stderr.read()


def test_its_log_is_json_lines(serve, make_bundle):
    process, url = serve(make_bundle(), "--log-requests", "1")
    await_ready(url)
    httpx.post(f"{url}/predict", json={"features": [1.0, None]}, headers={"x-request-id": "mine"})
    process.terminate()
    process.wait(10)
    lines = [json.loads(line) for line in process.stderr.read().splitlines()]
    assert "mine" in {line.get("request_id") for line in lines}


def test_a_connection_beyond_the_limit_is_a_503(make_bundle, monkeypatch):
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 3)
    port = free_port()
    seen = []

    def client():
        await_ready(f"http://127.0.0.1:{port}")
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(4)]
        time.sleep(0.2)
        seen.append(httpx.get(f"http://127.0.0.1:{port}/health/live").status_code)
        for connection in idle:
            connection.close()
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=client)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        server.run(
            make_bundle(), version=1, limits=RequestLimits(1000, 1), host="127.0.0.1", port=port
        )
    thread.join()
    assert seen == [503]
