"""Size, build and start of the two images, against the Dockerfile that one would write first.

The peer is one stage, ``pip install -r requirements.txt`` and the sources on the same base image.
Goals: each image smaller than the peer, the server's layers under 250 MB, and a build after a
change of the sources alone within 60 s.
"""

from __future__ import annotations

import io
import statistics
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import machine

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))
from tests.docker.engine import build_arguments, context, make_base_image  # noqa: E402

MEGABYTE = 1_000_000
SERVER_MEGABYTES = 250
REBUILD_SECONDS = 60
STARTS = 5
PLAIN = """
ARG BASE_IMAGE
FROM ${BASE_IMAGE}
ARG PIP_INDEX_URL
COPY docker/ca/ /ca/
COPY requirements.txt pyproject.toml README.md /source/
RUN python3 -m venv /venv && PIP_CERT=$(ls /ca/*.crt | head -n 1) \\
    /venv/bin/pip install --quiet -r /source/requirements.txt
COPY pipeline /source/pipeline
RUN /venv/bin/pip install --quiet --no-deps --no-build-isolation /source
ENV PATH=/venv/bin:$PATH
"""


def build(
    engine: docker.DockerClient, base: str, name: str, *, cached: bool, change: str = ""
) -> tuple[Any, float]:
    """Build docker/NAME.Dockerfile or the peer; ``change`` is added to the sources."""
    with context() as given, tempfile.TemporaryFile() as stream:
        with (
            tarfile.open(fileobj=given) as source,
            tarfile.open(fileobj=stream, mode="w") as archive,
        ):
            for entry in source:
                content = source.extractfile(entry) if entry.isreg() else None
                if entry.name == "pipeline/ml_pipeline/core/errors.py" and content is not None:
                    add(archive, entry.name, content.read().decode() + change)
                else:
                    archive.addfile(entry, content)
            add(archive, "docker/plain.Dockerfile", PLAIN)
        stream.seek(0)
        started = time.perf_counter()
        image, _ = engine.images.build(
            fileobj=stream,
            custom_context=True,
            dockerfile=f"docker/{name}.Dockerfile",
            buildargs=build_arguments(base),
            network_mode="host",
            nocache=not cached,
            tag=f"ml-pipeline-benchmark-{name}",
            rm=True,
        )
    return image, time.perf_counter() - started


def add(archive: tarfile.TarFile, name: str, text: str) -> None:
    entry = tarfile.TarInfo(name)
    content = text.encode()
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def seconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(STARTS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> int:
    options = machine.arguments(__doc__)
    engine = docker.from_env()
    base = make_base_image(engine)
    base_size = engine.images.get(base).attrs["Size"]
    commands = {
        "agent": ["ml-pipeline", "--version"],
        "server": ["--help"],
        "plain": ["ml-pipeline", "--version"],
    }
    rows, figures = [], {}
    for name, command in commands.items():
        image, cold = build(engine, base, name, cached=False)
        change = f"\n# {time.time_ns()}\n"
        _, warm = build(engine, base, name, cached=True, change=change)
        start = seconds(lambda i=image, c=command: engine.containers.run(i.id, c, remove=True))
        size = image.attrs["Size"]
        own = (size - base_size) / MEGABYTE
        figures[name] = {"bytes": size, "own_mb": own, "cold": cold, "warm": warm, "start": start}
        shown = [f"{value:.0f}" for value in (size / MEGABYTE, own, cold, warm)]
        rows.append((name, *shown, f"{start:.2f}"))
    goals = {
        f"{name} smaller than the plain image": figures[name]["bytes"] < figures["plain"]["bytes"]
        for name in ("agent", "server")
    }
    goals[f"server's layers under {SERVER_MEGABYTES} MB"] = (
        figures["server"]["own_mb"] < SERVER_MEGABYTES
    )
    for name in ("agent", "server"):
        goals[f"{name} built anew after a change within {REBUILD_SECONDS} s"] = (
            figures[name]["warm"] < REBUILD_SECONDS
        )
    facts = machine.describe("docker") | {"engine": engine.version()["Version"], "base": base}
    header = ("image", "MB", "without base MB", "build s", "after a change s", "start s")
    machine.show("images", header, rows, facts)
    engine.close()
    return machine.finish(options.json, figures, goals)


if __name__ == "__main__":
    raise SystemExit(main())
