# ruff: noqa: RUF001  the quotation marks are those that Jenkins prints
"""Compares a build with what a real Jenkins printed."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from pytest_jenkinsfile import Build

RECORDINGS = Path(__file__).parent / "recordings"
# Not steps, stages or echoes: what the controller says beside them, and traces of Java frames.
NOISES = (
    r"Running on ",
    r"Running in ",
    r"Started by |originally caused by:| Started by",
    r"Finished: ",
    r"\s+at |\tin |\t- |\s+\.\.\.|Also: |Caused: |Caused by",
    r"org\.jenkinsci\.plugins\.workflow\.actions\.ErrorAction",
    r"Pausing \(shutting down\)|Resuming build at|Ready to run at|Waiting for reconnection of",
    r"Loading library |Attempting to resolve| > git|Found match|The recommended git tool",
    r"No credentials specified|Cloning |Fetching upstream|Avoid second fetch",
    r"Checking out Revision|Commit message|First time build",
    r"Still waiting to schedule",
    r"No agent of the scenario has the label",
    r"Superseded by ",
    r"‘.*’ doesn’t match anything",
    r"\t\t (Affected|See)",
    r"\+ ",
    r"java\.io\.NotSerializableException|an exception which occurred",
    r"org\.codehaus\.groovy\.control\.MultipleCompilationErrorsException",
    r"Sending interrupt signal|Terminated|Killed|script returned exit code",
)
NOISE = re.compile("|".join(NOISES))


def script(name: str) -> Path:
    return RECORDINGS / f"{name}.jenkinsfile"


def recording(name: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((RECORDINGS / f"{name}.json").read_text(encoding="utf-8"))
    return values


def recorded(name: str) -> list[dict[str, Any]]:
    builds: list[dict[str, Any]] = recording(name)["builds"]
    return builds


def normal(line: str) -> str:
    """Leave out what differs between two runs of the same thing."""
    line = re.sub(r"(env\.\w+: )/.*", r"\1PATH", line)  # HOME, wherever that is
    line = re.sub(r"(: |=)(/\w*|<path>)$", r"\1PATH", line)
    line = re.sub(r"(-e \*+ )+", "-e … ", line)
    if line.startswith("Masking supported pattern matches of "):
        line = " ".join(sorted(line.split()))
    line = re.sub(r"@[0-9a-f]{4,}\b", "@<hash>", line)
    line = re.sub(r"^(home) /.*", r"\1 <home>", line)
    line = re.sub(r"since (?!<time>)\w.*", "since <time>.", line)
    line = re.sub(r"among steps \[.*", "among steps […]", line)
    line = re.sub(r"(probe|x)-[A-Za-z-]+|\bjob\b", "JOB", line)
    line = re.sub(r"(/|<workspace>)[^ :‘’'\"]*/", "…/", line)
    return re.sub(r"used the following variable\(s\).*", "", line).rstrip()


def compared_lines(lines: list[str], beside: str = "") -> list[int]:
    """The positions of the lines that count."""
    left_out = re.compile(beside)
    return [
        index
        for index, line in enumerate(lines)
        if line.strip() and not NOISE.match(line) and not (beside and left_out.match(line))
    ]


def difference(build: Build, real: dict[str, Any], beside: str = "") -> str:
    """Return where the consoles part, or nothing; branches may be interleaved in any way.

    ``beside`` is a regular expression for lines that this script's consoles need not share.
    """
    if build.result != real["result"]:
        return f"result {build.result}, in Jenkins {real['result']}"
    theirs = [normal(real["console"][index]) for index in compared_lines(real["console"], beside)]
    shown = [
        (part, branch)
        for line, branch in zip(build.console, build.branches, strict=True)
        for part in re.split(r"\r", re.sub(r"\x1b\[[0-9;]*m", "", line))
    ]
    ours = [
        (normal(shown[index][0]), shown[index][1])
        for index in compared_lines([line for line, _ in shown], beside)
    ]
    at = 0
    while ours:
        size = next((i for i, (_, branch) in enumerate(ours) if branch is None), len(ours))
        if size == 0:
            line = ours.pop(0)[0]
            if at >= len(theirs) or theirs[at] != line:
                return f"line {at}: {line!r}, in Jenkins {theirs[at : at + 3]}"
            at += 1
            continue
        block, ours = ours[:size], ours[size:]
        if not interleaved(tuple(theirs[at : at + size]), block):
            return f"line {at}: branches {block}, in Jenkins {theirs[at : at + size]}"
        at += size
    return f"Jenkins goes on with {theirs[at : at + 3]}" if at < len(theirs) else ""


def interleaved(lines: tuple[str, ...], block: list[tuple[str, str | None]]) -> bool:
    """Whether ``lines`` are the branches of ``block``, each in its order."""
    names = sorted({branch or "" for _, branch in block})
    branches = [[line for line, branch in block if branch == name] for name in names]

    @cache
    def fits(positions: tuple[int, ...]) -> bool:
        at = sum(positions)
        if at == len(lines):
            return True
        return any(
            position < len(branches[index])
            and branches[index][position] == lines[at]
            and fits((*positions[:index], position + 1, *positions[index + 1 :]))
            for index, position in enumerate(positions)
        )

    return len(lines) == len(block) and fits((0,) * len(branches))


def docker_calls(name: str) -> list[str]:
    calls: list[str] = json.loads((RECORDINGS / f"{name}.json").read_text())["docker_calls"]
    return calls


def verb(call: str) -> str:
    """A docker call without paths and variables: what is done to which image."""
    words = call.replace("\\,", ",").replace("\\ ", "_").split()
    if words[1] == "exec":
        return "docker exec"
    kept = [word for word in words if "/" not in word and "=" not in word.replace("A=b", "A-b")]
    kept = [word for word in kept if word not in ("-e", "-v", "-w")]
    return re.sub(r"-u \d+:\d+", "-u", " ".join(kept))
