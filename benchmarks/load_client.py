"""Which client can hold a constant rate, and which of them notices that the server stalls.

The same schedule, 500 requests a second for 5 seconds, to a server that answers a constant at once,
but stands still for half a second in the middle: 250 of 2500 requests are due meanwhile, so the
95th percentile that clients have to wait is 250 ms. Client and server have a core each.

Goals: our client sends within 25 ms of the schedule (99 %), sees at least 200 ms at p95, and costs
less processor time a request than httpx and aiohttp. Locust is measured where the command is found.
"""

from __future__ import annotations

import asyncio
import csv
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import machine
import uvloop

RATE, SECONDS, STALL = 500, 5.0, 0.5
PATIENCE = 30.0
BODY = b'{"features": [1.0, "north"]}'
SERVER = f"""
import asyncio, os, time
os.sched_setaffinity(0, {{0}})
began = None
class Answers(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.buffer = transport, b""
    def data_received(self, data):
        self.buffer += data  # some clients send head and body apart
        if not self.buffer.endswith(b"]}}"):
            return
        self.buffer = b""
        global began
        began = began or time.monotonic()
        if began > 0 and time.monotonic() - began > {SECONDS / 2}:
            began = -1
            time.sleep({STALL})
        self.transport.write(b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\n{{}}")
async def main():
    server = await asyncio.get_running_loop().create_server(Answers, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""
USERS = 50
LOCUST = f"""
import os
from locust import FastHttpUser, constant_throughput, task
class User(FastHttpUser):
    wait_time = constant_throughput({RATE / USERS})
    @task
    def ask(self):
        self.client.post("/predict", data={BODY!r})
"""
Ask = Callable[[], Awaitable[Any]]


async def on_schedule(ask: Ask) -> tuple[list[float], list[float]]:
    """Return latencies from the scheduled moments, and how late each request was sent."""
    latencies, lags = [], []
    start = time.perf_counter()

    async def one(due: float) -> None:
        lags.append(time.perf_counter() - start - due)
        await ask()
        latencies.append(time.perf_counter() - start - due)

    async with asyncio.TaskGroup() as group:
        for index in range(int(RATE * SECONDS)):
            wait = start + index / RATE - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            group.create_task(one(index / RATE))
    return latencies, lags


async def ours(url: str) -> tuple[list[float], list[float]]:
    from ml_pipeline.traffic import open_loop

    place = open_loop.Endpoint.of(url)
    due = open_loop.constant_rate(RATE, SECONDS)
    found = await open_loop.send(
        open_loop.ConnectionPool(place), [place.request(BODY)] * len(due), due
    )
    return [answer.latency for answer in found], [answer.lag for answer in found]


async def with_aiohttp(url: str) -> tuple[list[float], list[float]]:
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=128)) as session:

        async def ask() -> None:
            async with session.post(f"{url}/predict", data=BODY) as response:
                await response.read()

        return await on_schedule(ask)


async def with_httpx(url: str) -> tuple[list[float], list[float]]:
    import httpx

    limits = httpx.Limits(max_connections=128, max_keepalive_connections=128)
    async with httpx.AsyncClient(limits=limits, trust_env=False, timeout=60) as client:
        return await on_schedule(lambda: client.post(f"{url}/predict", content=BODY))


KEYS = ("rate", "lag_p99_ms", "p95_ms", "cpu_us")
CLIENTS = {"ours": ours, "aiohttp": with_aiohttp, "httpx": with_httpx}


def child(name: str, url: str) -> None:
    """Measure one client, in a process of its own; prints JSON."""
    os.sched_setaffinity(0, {1})
    before = resource.getrusage(resource.RUSAGE_SELF)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        start = time.perf_counter()
        latencies, lags = runner.run(CLIENTS[name](url))
        wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    latencies.sort()
    figures = {
        "rate": len(latencies) / wall,
        "lag_p99_ms": sorted(lags)[int(0.99 * len(lags))] * 1000,
        "p95_ms": latencies[int(0.95 * len(latencies))] * 1000,
        "cpu_us": cpu / len(latencies) * 1e6,
    }
    sys.stdout.write(json.dumps(figures))


def locust(url: str, command: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "users.py"
        file.write_text(LOCUST)
        words = [command, "-f", str(file), "--headless", "-u", str(USERS), "-r", str(USERS)]
        words += ["-t", f"{SECONDS:g}s", "--host", url, "--csv", f"{name}/out", "--only-summary"]
        subprocess.run(["taskset", "-c", "1", *words], check=True, capture_output=True)
        rows = list(csv.DictReader(Path(f"{name}/out_stats.csv").read_text().splitlines()))
        return {"rate": float(rows[-1]["Requests/s"]), "p95_ms": float(rows[-1]["95%"])}


def measured(name: str, command: str | None) -> dict[str, float]:
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            url = f"http://127.0.0.1:{(server.stdout.readline() if server.stdout else '').strip()}"
            if command is not None:
                return locust(url, command)
            words = [sys.executable, __file__, "--child", name, url]
            done = subprocess.run(
                words, check=True, capture_output=True, text=True, timeout=PATIENCE
            )
        except subprocess.TimeoutExpired:
            return dict.fromkeys(KEYS, math.inf) | {"rate": 0.0}
        finally:
            server.kill()
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> int:
    options = machine.arguments(__doc__)
    figures = {name: measured(name, None) for name in CLIENTS}
    command = shutil.which("locust")
    if command is not None:
        figures["locust"] = measured("locust", command)
    rows = [
        (name, *(f"{found[key]:.0f}" if key in found else "" for key in KEYS))
        if found["rate"]
        else (name, f"not done in {PATIENCE:g} s", "", "", "")
        for name, found in figures.items()
    ]
    header = ("client", "requests/s", "sent late, p99 ms", "p95 ms", "CPU us a request")
    machine.show("load clients", header, rows, machine.describe("httptools", "aiohttp", "httpx"))
    own = figures["ours"]
    goals = {
        "ours sends within 25 ms of the schedule": own["lag_p99_ms"] <= 25,
        "ours sees the stall: p95 of at least 200 ms": own["p95_ms"] >= 200,
        "ours costs less than aiohttp and httpx": all(
            own["cpu_us"] < figures[peer]["cpu_us"] for peer in ("aiohttp", "httpx")
        ),
    }
    return machine.finish(options.json, figures, goals)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        raise SystemExit(main())
