"""Runs the commands of pages that show consoles, and writes their output into the pages.

Each `##` section of a page with ```console blocks is a scenario in a copy of examples/nepse with
its own home; a ```yaml block of the section is merged into ml.yaml of the copy. Commands start with
`$ `; the lines below them are replaced. Of `ml-pipeline run` only the closing table is kept; of
`bin/demo`, which runs beside the copy, all but the lines of its deliveries before that. The
docker section needs an engine with the images of docs/how-to/containers.md (others by
ML__ENVIRONMENTS__PRODUCTION__IMAGE and so on). The servers take free ports; the page shows the
example's own.

Run: .venv/bin/python docs/consoles.py [PAGE ...]
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

DOCS = Path(__file__).resolve().parent
EXAMPLE = DOCS.parent / "examples/nepse"
PAGES = ("how-to/roll-back.md", "how-to/monitor.md")
PROMPT = "$ "
PORTS = {"PRODUCTION": 8000, "STAGING": 8001}
DEMO = "bin/demo "
DEMO_PORTS = {"PRODUCTION": 8030, "STAGING": 8031}
"""Those of `bin/demo --drift`."""
PROGRESS = re.compile(r"(?:(?:\S.{18} (?:pass|skipped) +[\d.]+ s|  … .*)\n)+\n(?=stage  )")
"""The lines of stages that run, above their table."""
BLOCK = re.compile(r"^```(console|yaml)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass
class DocsScenario:
    """The commands of a section, and its settings for ml.yaml."""

    title: str
    commands: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)


def scenarios(text: str) -> Iterator[DocsScenario]:
    """Yield the sections of a page that have commands, in order."""
    for part in sections(text):
        scenario = DocsScenario(part.partition("\n")[0])
        for kind, content in BLOCK.findall(part):
            if kind == "yaml":
                scenario.settings |= yaml.safe_load(content)
            else:
                scenario.commands += commands_of(content)
        if scenario.commands:
            yield scenario


def commands_of(block: str) -> list[str]:
    """Return the commands of a block; `bin/demo` shows those that it runs itself."""
    lines = block.splitlines()
    commands = [line.removeprefix(PROMPT) for line in lines if line.startswith(PROMPT)]
    return commands[:1] if commands and commands[0].startswith(DEMO) else commands


def sections(text: str) -> list[str]:
    return re.split(r"^## ", text, flags=re.MULTILINE)[1:]


def checkout(folder: Path, scenario: DocsScenario) -> Path:
    """Copy the example into the folder, with the scenario's settings; return the project's root."""
    unwanted = shutil.ignore_patterns("build", ".ml", ".*_cache", "__pycache__")
    root = Path(shutil.copytree(EXAMPLE, folder / "examples/nepse", ignore=unwanted))
    shutil.copytree(DOCS.parent / "bin", folder / "bin", ignore=unwanted)
    values = yaml.safe_load((root / "ml.yaml").read_text())
    (root / "ml.yaml").write_text(yaml.safe_dump(values | scenario.settings, sort_keys=False))
    return root


def excerpt(command: str, output: str) -> str:
    """Return the part of a command's output that the page shows."""
    lines = [line.rstrip() for line in output.strip("\n").splitlines()]
    if command.startswith("ml-pipeline run "):
        table = next(index for index, line in enumerate(lines) if line.startswith("stage  "))
        lines = ["…", *lines[table:]]
    if command.startswith(DEMO):
        return PROGRESS.sub("…\n", "\n".join(lines))
    return "\n".join(lines)


def free_ports() -> dict[str, int]:
    """Return a free port for each environment, with as many digits as the example's."""
    ports = []
    for port in range(8100, 10000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                ports.append(port)
        if len(ports) == len(PORTS):
            break
    return dict(zip(PORTS, ports, strict=True))


def output_of(command: str, root: Path, ports: Mapping[str, int]) -> str:
    """Run a command in a shell and return its output."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {name: text for name, text in os.environ.items() if name != "ML_HOME"}
    settings = {f"ML__ENVIRONMENTS__{name}__PORT": str(port) for name, port in ports.items()}
    is_demo = command.startswith(DEMO)
    process = subprocess.run(
        ["bash", "-c", command.replace(DEMO, "python bin/demo.py ", 1) if is_demo else command],
        cwd=root.parents[1] if is_demo else root,
        env=environment | settings | {"PATH": path, "ML_PROCESS_TARGET_IN_CONTAINER": "allow"},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if process.returncode not in (0, 4):
        raise SystemExit(f"{command}: {process.returncode}\n{process.stdout}{process.stderr}")
    output = process.stdout
    shown = DEMO_PORTS if is_demo else PORTS
    for name, port in ports.items():
        output = output.replace(f":{port}", f":{shown[name]}")
    return output


def update(text: str) -> str:
    """Run the scenarios of a page and return it with their output."""
    for scenario in scenarios(text):
        with tempfile.TemporaryDirectory() as folder:
            root, ports = checkout(Path(folder), scenario), free_ports()
            try:
                output = [excerpt(one, output_of(one, root, ports)) for one in scenario.commands]
            finally:
                output_of("ml-pipeline stop", root, ports)
        text = with_output(text, scenario.title, output)
    return text


def with_output(text: str, title: str, output: list[str]) -> str:
    """Return the page with a section's output replaced, command by command."""
    before = next(part for part in sections(text) if part.partition("\n")[0] == title)
    outputs = iter(output)

    def block(match: re.Match[str]) -> str:
        if match[1] != "console":
            return match[0]
        commands = commands_of(match[2])
        shown = (f"{PROMPT}{one}\n{next(outputs)}" for one in commands)
        return "```console\n" + "\n\n".join(shown) + "\n```"

    return text.replace(before, BLOCK.sub(block, before))


def main() -> None:
    for name in sys.argv[1:] or PAGES:
        page = DOCS / name
        page.write_text(update(page.read_text()))


if __name__ == "__main__":
    main()
