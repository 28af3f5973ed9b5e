"""Whether anybody notices that versions change: process and docker, at a constant rate.

An open-loop client asks for one row RATE times a second, for SECONDS, first while nothing changes
and then while five new versions take over. A request that waits counts from the moment at which it
was due. The model is the example's quick one, the client a process of its own; docker needs an
engine, on which the images of server and gateway are built.

Goals: no request fails, and the 99th percentile during the changes is at most twice the steady one.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import machine
import numpy as np
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.config import EnvironmentSection, ServingSection
from ml_pipeline.core.home import Home
from ml_pipeline.targets import container_detection
from ml_pipeline.targets.base import Placement, Target, deploy
from ml_pipeline.targets.docker.target import DockerTarget
from ml_pipeline.targets.process.target import ProcessTarget

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))
RATE, SECONDS, SWITCHES, TIMES = 1000, 30, 5, 2.0
WARM_UP_SECONDS = 2.0


def ask(url: str, body: bytes, rate: float, seconds: float) -> dict[str, Any]:
    """Ask on schedule, in this process; return what came of it, times in milliseconds."""
    import uvloop
    from ml_pipeline.traffic import open_loop

    place = open_loop.Endpoint.of(url)
    due = open_loop.constant_rate(rate, WARM_UP_SECONDS + seconds)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        requests = [place.request(body)] * len(due)
        answers = runner.run(open_loop.send(open_loop.ConnectionPool(place), requests, due))
    counted = [answer for answer in answers if answer.due >= WARM_UP_SECONDS]
    failed = [answer for answer in counted if answer.status != 200]
    good = [answer for answer in counted if answer.status == 200]
    versions = [json.loads(answer.body)["model_version"] for answer in good]
    late = np.array([answer.latency for answer in counted]) * 1000
    return {
        "requests": len(counted),
        "failed": len(failed),
        "why": sorted({answer.error or str(answer.status) for answer in failed}),
        "versions": sorted(set(versions)),
        "p50_ms": float(np.percentile(late, 50)),
        "p99_ms": float(np.percentile(late, 99)),
        "max_ms": float(late.max()),
        "sent_late_p99_ms": float(np.percentile([a.lag for a in counted], 99)) * 1000,
    }


@contextmanager
def asked(url: str, body: str, rate: float, seconds: float) -> Iterator[dict[str, Any]]:
    """Ask meanwhile, from another process; the figures are there once the block has ended."""
    command = [sys.executable, __file__, "--child", url, body, str(rate), str(seconds)]
    found: dict[str, Any] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        time.sleep(WARM_UP_SECONDS)
        yield found
        told, _ = child.communicate()
    if child.returncode != 0:
        raise SystemExit(f"the client ended with {child.returncode}")
    found |= json.loads(told)


def measured(
    target: Target, placement: Placement, bundle: Path, rate: float, seconds: float
) -> dict[str, Any]:
    """Return the figures of one target: ``steady`` and ``rollover``."""
    body = json.dumps({"features": Bundle.open(bundle).golden.inputs[0]})
    url = deploy(target, placement, bundle, 1).url
    try:
        with asked(url, body, rate, seconds) as steady:
            pass
        with asked(url, body, rate, seconds) as rollover:
            start = time.monotonic()
            took = []
            for number in range(SWITCHES):
                due = start + (number + 0.5) * seconds / (SWITCHES + 0.5)
                time.sleep(max(0.0, due - time.monotonic()))
                began = time.monotonic()
                deploy(target, placement, bundle, number + 2)
                took.append(time.monotonic() - began)
    finally:
        target.stop(placement)
    return {"steady": steady, "rollover": rollover | {"deploy_s": max(took)}}


def make_bundle(folder: Path) -> Path:
    """Return the bundle of the example's quick model."""
    unwanted = shutil.ignore_patterns("build", ".ml", ".*_cache", "__pycache__")
    shutil.copytree(ROOT / "examples/nepse", folder, ignore=unwanted)
    command = [sys.executable, "-P", "-m", "ml_pipeline", "run", "ci"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"run ci: {done.stdout}{done.stderr}")
    return folder / "build/ml/bundle"


def images() -> dict[str, str]:
    """Return the images of server and gateway, built of this checkout."""
    import docker

    from tests.docker.engine import build, make_base_image

    engine = docker.from_env()
    base = make_base_image(engine)
    built = {kind: build(engine, base, kind) for kind in ("server", "gateway")}
    engine.close()
    return {"image": built["server"], "gateway_image": built["gateway"]}


def main() -> int:
    options = machine.arguments(__doc__, rate=RATE, seconds=SECONDS)
    os.environ.setdefault(
        container_detection.ALLOW_VARIABLE, "allow"
    )  # no server outlives this run
    targets: dict[str, Target] = {"process": ProcessTarget(), "docker": DockerTarget()}
    figures: dict[str, Any] = {"rate": options.rate, "seconds": options.seconds}
    rows, goals = [], {}
    with tempfile.TemporaryDirectory() as name:
        bundle = make_bundle(Path(name) / "project")
        for kind, target in targets.items():
            own = images() if kind == "docker" else {}
            section = EnvironmentSection(target=kind, port=0, **own)
            home = Home(Path(name) / f"home-{kind}")
            home.make()
            placement = Placement("production", section, ServingSection(), home)
            found = measured(target, placement, bundle, options.rate, options.seconds)
            figures[kind] = found
            for part, seen in found.items():
                milliseconds = (seen[key] for key in ("p50_ms", "p99_ms", "max_ms"))
                lag, took = seen["sent_late_p99_ms"], seen.get("deploy_s")
                rows.append(
                    (
                        f"{kind}, {part}",
                        f"{seen['requests']:,}",
                        f"{seen['failed']} {' '.join(seen['why'])}".strip(),
                        str(len(seen["versions"])),
                        *(f"{value:.1f}" for value in (*milliseconds, lag)),
                        "" if took is None else f"{took:.1f}",
                    )
                )
            goals[f"{kind}: no request fails"] = not found["rollover"]["failed"]
            goals[f"{kind}: all versions answered"] = (
                len(found["rollover"]["versions"]) == SWITCHES + 1
            )
            goals[f"{kind}: p99 at most {TIMES:g} times the steady one"] = (
                found["rollover"]["p99_ms"] <= TIMES * found["steady"]["p99_ms"]
            )
    header = ("", "requests", "failed", "versions", "p50 ms", "p99 ms", "max ms")
    header += ("sent late, p99 ms", "slowest deploy s")
    title = f"rollover, {options.rate:g} requests/s for {options.seconds:g} s"
    machine.show(title, header, rows, machine.describe("onnxruntime", "uvicorn"))
    return machine.finish(options.json, figures, goals)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        url, body, rate, seconds = sys.argv[2:]
        sys.stdout.write(json.dumps(ask(url, body.encode(), float(rate), float(seconds))))
    else:
        raise SystemExit(main())
