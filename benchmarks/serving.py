"""Requests a second and latency of the server, beside the usual ways to put a model behind HTTP.

One model (200 trees, 14 features), one worker, one row a request, 16 connections; server and client
each have a core of their own. The servers are asked in turn, in short rounds, and compared round by
round, since ratios hold better than figures. Ours validates, counts and logs every prediction.

Goals, by name as by position: at least 80 times ``mlflow models serve``; at least 65 % of a bare
ASGI application that does none of that. Ready within a second after the interpreter's own start.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import selectors
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import machine
import numpy as np
import psutil
from ml_pipeline.features.schema import Feature, FeatureSchema
from ml_pipeline.serving.prediction_log import read

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "benchmarks/serving_peers"
ENVIRONMENT = ROOT / "build/benchmarks/serving"

TREES, FEATURES, ROWS = 200, 14, 256
CONNECTIONS = 16
ROUNDS, ROUND_SECONDS, WARM_UP_SECONDS = 9, 1.0, 1.0
STARTS = 5
READY_SECONDS = 120.0
TIMES_MLFLOW, SHARE_OF_BARE, START_SECONDS = 80.0, 0.65, 1.0

OURS, BARE, MLFLOW = "ml-pipeline", "bare ASGI", "mlflow models serve"
BY_NAME = "ml-pipeline, by name"
WITHOUT = "ml-pipeline, no prediction log"
UVICORN = {
    "FastAPI, XGBoost inplace_predict": "fastapi_xgboost",
    "FastAPI, ONNX Runtime": "fastapi_onnx",
    "Litestar, ONNX Runtime": "litestar_onnx",
    "Starlette, msgspec": "starlette_msgspec",
    BARE: "bare_asgi",
}


@dataclass
class Server:
    """A server that runs, and what was measured of it: a figure a round."""

    name: str
    url: str
    requests: list[bytes]
    process: subprocess.Popen[bytes]
    rates: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    """Seconds of processor time a request."""

    def busy(self) -> float:
        """Return the processor time that the server has used, in seconds."""
        process = psutil.Process(self.process.pid)
        all_of_it = [process, *process.children(recursive=True)]
        return sum(sum(each.cpu_times()[:2]) for each in all_of_it)


def main() -> int:
    options = machine.arguments(__doc__)
    with tempfile.TemporaryDirectory() as scratch, servers(Path(scratch)) as running:
        for server in running:
            load(server, WARM_UP_SECONDS)
            server.rates.clear()
            server.seconds.clear()
            server.processor.clear()
        for _ in range(ROUNDS):
            for server in running:
                load(server, ROUND_SECONDS)
        start, interpreter = start_up(Path(scratch))
        logged = sum(1 for _ in read(Path(scratch) / "predictions"))
    by_name = {server.name: server for server in running}
    rows, figures = [], {}
    for server in running:
        found = {
            "requests_per_second": statistics.median(server.rates),
            "p50_ms": percentile(server.seconds, 50) * 1000,
            "p99_ms": percentile(server.seconds, 99) * 1000,
            "processor_us": statistics.median(server.processor) * 1e6,
            "times_mlflow": ratio(server, by_name[MLFLOW]),
            "share_of_bare": ratio(server, by_name[BARE]),
        }
        figures[server.name] = found
        rows.append(
            (
                server.name,
                f"{found['requests_per_second']:,.0f}",
                f"{found['p50_ms']:.2f}",
                f"{found['p99_ms']:.2f}",
                f"{found['processor_us']:,.0f}",
                f"{found['times_mlflow']:.1f}",
                f"{found['share_of_bare']:.0%}",
            )
        )
    header = (
        "server",
        "requests/s",
        "p50 ms",
        "p99 ms",
        "processor µs",
        "times mlflow",
        "of bare ASGI",
    )
    names = ("mlflow", "xgboost", "onnxruntime", "uvicorn", "uvloop", "starlette", "msgspec")
    machine.show("serving", header, rows, machine.describe(*names) | peer_versions())
    sys.stdout.write(
        f"ready {start:.2f} s after the interpreter, which takes {interpreter:.2f} s; "
        f"{logged:,} requests in the prediction log\n"
    )
    figures["start"] = {"seconds": start, "interpreter": interpreter}
    goals = {
        **{
            f"{server.name}: at least {least:{form}} {word} {other}": ratio(server, by_name[other])
            >= least
            for server in (by_name[OURS], by_name[BY_NAME])
            for other, least, form, word in (
                (MLFLOW, TIMES_MLFLOW, "g", "times"),
                (BARE, SHARE_OF_BARE, ".0%", "of"),
            )
        },
        f"ready within {START_SECONDS:g} s after the interpreter": start <= START_SECONDS,
    }
    return machine.finish(options.json, figures, goals)


def ratio(server: Server, other: Server) -> float:
    """Return the median over the rounds of how many times as many requests were answered."""
    pairs = zip(server.rates, other.rates, strict=True)
    return statistics.median(one / another for one, another in pairs)


def percentile(values: list[float], number: int) -> float:
    return statistics.quantiles(values, n=100)[number - 1]


# --- the model ------------------------------------------------------------------------------------


def write_model(folder: Path) -> np.ndarray[Any, Any]:
    """Train the model, write it for all servers, and return rows to ask for."""
    import mlflow
    import onnxmltools
    import pandas as pd
    import xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    random = np.random.default_rng(7)
    x = random.normal(size=(20_000, FEATURES)).astype(np.float32)
    y = (x @ random.normal(size=FEATURES) + random.logistic(size=len(x)) > 0).astype(int)
    model = xgboost.XGBClassifier(n_estimators=TREES, max_depth=4, learning_rate=0.05, n_jobs=1)
    model.fit(x, y)
    rows = x[:ROWS]
    booster = model.get_booster()
    booster.save_model(folder / "model.ubj")
    exported = onnxmltools.convert_xgboost(
        model, initial_types=[("features", FloatTensorType([None, FEATURES]))], target_opset=15
    )
    (folder / "model.onnx").write_bytes(exported.SerializeToString())
    probabilities = model.predict_proba(rows)[:, 1]
    frame = pd.DataFrame(rows.astype(float), columns=[f"f{number}" for number in range(FEATURES)])
    signature = mlflow.models.infer_signature(frame, probabilities)
    mlflow.xgboost.save_model(
        booster, str(folder / "mlflow"), model_format="ubj", signature=signature
    )
    write_bundle(folder, rows, probabilities)
    return rows


def write_bundle(
    folder: Path, rows: np.ndarray[Any, Any], probabilities: np.ndarray[Any, Any]
) -> None:
    schema = FeatureSchema(tuple(Feature(f"f{number}", "numeric") for number in range(FEATURES)))
    golden = {"inputs": rows[:8].tolist(), "probabilities": probabilities[:8].tolist()}
    files = {
        "model.onnx": (folder / "model.onnx").read_bytes(),
        "golden.json": json.dumps(golden).encode(),
        **dict.fromkeys(("reference.parquet", "source.tar.gz", "sbom.cdx.json"), b"none"),
        "MODEL_CARD.md": b"none",
    }
    bundle = folder / "bundle"
    bundle.mkdir()
    entries = {}
    for name, content in files.items():
        (bundle / name).write_bytes(content)
        entries[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    manifest = {
        "schema": "ml-pipeline/bundle/1",
        "project": "benchmark",
        "profile": "full",
        "problem": "table",
        "identity": "0" * 64,
        "identity_parts": {},
        "training": {},
        "cutoffs": {},
        "features": schema.to_json(),
        "files": entries,
    }
    (bundle / "manifest.json").write_text(json.dumps(manifest))


# --- the servers ----------------------------------------------------------------------------------


@contextmanager
def servers(folder: Path) -> Iterator[list[Server]]:
    """Start all servers on the first core, see that they agree, and end them afterwards."""
    python = peer_environment()
    rows = write_model(folder).tolist()
    own = [json.dumps({"features": row}).encode() for row in rows]
    columns = [f"f{number}" for number in range(FEATURES)]
    named = [
        json.dumps({"features": dict(zip(columns, row, strict=True))}).encode() for row in rows
    ]
    split = [
        json.dumps({"dataframe_split": {"columns": columns, "data": [row]}}).encode()
        for row in rows
    ]
    running: list[Server] = []
    try:
        command, port = serving(folder, "--predictions", str(folder / "predictions"))
        running.append(start(OURS, command, port, "/predict", own, "/health/ready"))
        command, port = serving(folder, "--predictions", str(folder / "by-name"))
        running.append(start(BY_NAME, command, port, "/predict", named, "/health/ready"))
        command, port = serving(folder)
        running.append(start(WITHOUT, command, port, "/predict", own, "/health/ready"))
        for name, factory in UVICORN.items():
            port = free_port()
            command = [str(python), "-m", "uvicorn", "--factory", f"peers:{factory}"]
            command += ["--app-dir", str(PEERS), "--port", str(port), "--no-access-log"]
            command += ["--log-level", "warning", "--no-proxy-headers"]
            running.append(start(name, command, port, "/predict", own, None, MODEL=str(folder)))
        port = free_port()
        command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
        command += ["-m", str(folder / "mlflow"), "-p", str(port), "--workers", "1"]
        own_bin = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        running.append(start(MLFLOW, command, port, "/invocations", split, "/ping", PATH=own_bin))
        agree(running)
        yield running
    finally:
        for server in running:
            end(server.process)


def serving(folder: Path, *more: str) -> tuple[list[str], int]:
    port = free_port()
    command = [sys.executable, "-P", "-m", "ml_pipeline.serving", "--port", str(port)]
    return [*command, "--bundle", str(folder / "bundle"), "--version", "1", *more], port


def start(
    name: str,
    command: list[str],
    port: int,
    path: str,
    bodies: list[bytes],
    ready: str | None,
    **environment: str,
) -> Server:
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    process = subprocess.Popen(
        command,
        env=os.environ | single | environment,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {CORES[0]}),  # noqa: PLW1509  # no threads yet
    )
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    requests = [f"{head}content-length: {len(body)}\r\n\r\n".encode() + body for body in bodies]
    url = f"http://127.0.0.1:{port}"
    try:
        wait(process, f"{url}{ready}" if ready else None, port)
    except BaseException:
        end(process)
        raise
    return Server(name, url, requests, process)


def wait(process: subprocess.Popen[bytes], url: str | None, port: int) -> None:
    """Wait until ``url`` answers with 200, or the port is open where there is none."""
    deadline = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if url is None:
                socket.create_connection(("127.0.0.1", port)).close()
            else:
                urllib.request.urlopen(url, timeout=5).close()
            return
        time.sleep(0.005)
    raise SystemExit(f"no server on port {port}: {process.args}")


def end(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def peer_environment() -> Path:
    """Return a Python that has the peers' packages, and ours behind them."""
    python = ENVIRONMENT / "bin/python"
    lock = PEERS / "requirements.txt"
    stamp = ENVIRONMENT / "lock"
    if not stamp.exists() or stamp.read_bytes() != lock.read_bytes():
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "--no-deps", "--require-hashes", "-r", str(lock)], check=True)
        packages = next((ENVIRONMENT / "lib").glob("python*/site-packages"))
        own = next(path for path in sys.path if path.endswith("site-packages"))
        (packages / "own.pth").write_text(own + "\n")
        stamp.write_bytes(lock.read_bytes())
    return python


def peer_versions() -> dict[str, str]:
    code = (
        "import json; from importlib.metadata import version;"
        "print(json.dumps({name: version(name) for name in ('fastapi', 'litestar')}))"
    )
    python = str(ENVIRONMENT / "bin/python")
    done = subprocess.run([python, "-c", code], check=True, capture_output=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


# --- the client -----------------------------------------------------------------------------------

CORES = sorted(os.sched_getaffinity(0))


class Connection:
    """One connection that asks for the next row as soon as it has its answer."""

    def __init__(self, server: Server, first: int) -> None:
        host, _, port = server.url.removeprefix("http://").partition(":")
        self.socket = socket.create_connection((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._requests = server.requests
        self._next = first
        self._received = b""
        self.sent = 0.0

    def ask(self) -> None:
        self._received = b""
        request = self._requests[self._next % len(self._requests)]
        self._next += 1
        self.sent = time.perf_counter()
        self.socket.sendall(request)

    def answer(self) -> bytes | None:
        """Return the body once it is there as a whole; None before."""
        more = self.socket.recv(65536)
        if not more:
            raise SystemExit("the server closed a connection")
        self._received += more
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return None
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"not answered: {self._received!r}")
        _, _, rest = head.lower().partition(b"content-length:")
        return body if len(body) >= int(rest.partition(b"\r\n")[0]) else None


def load(server: Server, seconds: float) -> None:
    """Ask over all connections for a time; add the rate and the latencies to the server's."""
    os.sched_setaffinity(0, {CORES[-1]})
    found: list[float] = []
    connections = [Connection(server, number * 16) for number in range(CONNECTIONS)]
    with selectors.EpollSelector() as selector:
        for connection in connections:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.ask()
        busy = server.busy()
        started = time.perf_counter()
        end_at = started + seconds
        while (now := time.perf_counter()) < end_at:
            for key, _ in selector.select(end_at - now):
                connection = key.data
                if connection.answer() is not None:
                    found.append(time.perf_counter() - connection.sent)
                    connection.ask()
        taken = time.perf_counter() - started
        busy = server.busy() - busy
    for connection in connections:
        connection.socket.close()
    os.sched_setaffinity(0, CORES)
    server.rates.append(len(found) / taken)
    server.processor.append(busy / len(found))
    server.seconds += found


def agree(running: list[Server]) -> None:
    """See that all servers give the same probabilities."""
    answers = []
    for server in running:
        connection = Connection(server, 0)
        found = []
        for _ in range(ROWS):
            connection.ask()
            while (body := connection.answer()) is None:
                pass
            told = json.loads(body)
            found.append(told["probability"] if "probability" in told else told["predictions"][0])
        connection.socket.close()
        answers.append(found)
    differences = np.abs(np.array(answers) - np.array(answers[0])).max(axis=1)
    if not (differences <= 1e-5).all():
        raise SystemExit(f"the servers disagree: {differences}")


def start_up(folder: Path) -> tuple[float, float]:
    """Return how long after the interpreter ours is ready, and how long the interpreter takes."""
    differences, interpreters = [], []
    for _ in range(STARTS + 1):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-P", "-c", "pass"], check=True)
        interpreter = time.perf_counter() - began
        command, port = serving(folder)
        began = time.perf_counter()
        process = subprocess.Popen(command, start_new_session=True)
        wait(process, f"http://127.0.0.1:{port}/health/ready", port)
        differences.append(time.perf_counter() - began - interpreter)
        interpreters.append(interpreter)
        end(process)
    return statistics.median(differences[1:]), statistics.median(interpreters[1:])


if __name__ == "__main__":
    raise SystemExit(main())
