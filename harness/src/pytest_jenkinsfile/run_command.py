"""The command ``run``: run a Jenkinsfile on this machine and print its console as Jenkins does."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pytest_jenkinsfile import answers as answer_files
from pytest_jenkinsfile.build import Build
from pytest_jenkinsfile.errors import UsageError
from pytest_jenkinsfile.jenkins import Jenkins

PASS, FAILED, WAITING = 0, 1, 4
LIBRARY = "JENKINSFILE_LIBRARY"
"""The environment variable that names the folder of the shared library."""
NO_SCM = "‘checkout scm’ is only available when using"  # noqa: RUF001  as Jenkins prints it


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments; ``run`` takes what they parse to."""
    add = parser.add_argument
    add("file", nargs="?", default="Jenkinsfile", type=Path, help="the script; Jenkinsfile")
    add(
        "--builds",
        type=_positive,
        default=1,
        metavar="N",
        help="how many builds, one after the other",
    )
    add("--answers", type=Path, help="a JSON list of {input, by, do, values}: who answers prompts")
    add("--approve-as", metavar="USER", help="approve what the answers leave open as this user")
    add("--started-by", default="admin", metavar="USER", help="who started the build; admin")
    add("--branch", help="a branch or pull request (PR-7) of a multibranch job")
    add("--tag", help="a tag of a multibranch job")
    add("--var", action="append", default=[], metavar="K=V", help="a parameter of the build")
    add("--env", action="append", default=[], metavar="K=V", help="a variable of the controller")
    add(
        "--library",
        type=Path,
        metavar="DIR",
        help=f"a shared library; else ${LIBRARY}, else the script's folder if it has vars/",
    )
    add(
        "--agent",
        action="append",
        default=[],
        metavar="LABELS",
        help="an agent with these labels, instead of one that every label fits",
    )
    add(
        "--step",
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help="a step that is not run: it returns VALUE (JSON or a text), and its body is run",
    )
    add("--credentials", type=Path, help="a JSON object: credentials by id")
    add("--plugin", action="append", default=[], metavar="NAME", help="an optional plugin")
    add(
        "--tool",
        action="append",
        default=[],
        metavar="TYPE=NAME[=HOME]",
        help="an installed tool, such as maven=M3",
    )
    add("--scm", type=Path, help="what checkout brings; with a branch the script's folder")
    add(
        "--repository",
        action="append",
        default=[],
        metavar="URL=DIR",
        help="what git and checkout of this address bring, instead of a clone of it",
    )
    add("--folder", type=Path, help="keep workspaces and archived files here")
    add("--clock", choices=("real", "jump"), default="real", help="jump: sleep takes no time")
    add("--sandbox", action=argparse.BooleanOptionalAction, help="default: with a branch or tag")
    add("--restart-everywhere", action="store_true", help="reload the program at every step")
    add("--json", action="store_true", help="print results and consoles as JSON")


def _positive(text: str) -> int:
    number = int(text) if text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a number of 1 or more")
    return number


def run(
    options: Mapping[str, Any],
    write: Callable[[str], None] = print,
    jenkins: Jenkins | None = None,
    env: Mapping[str, str] | None = None,
) -> int:
    """Run the script with real ``sh`` and return 0 for success, 4 if it waits for a person, else 1.

    Args:
        options: what :func:`add_arguments` parses to.
        write: prints a line.
        jenkins: its Java process is used; without it one is started and ended.
        env: variables of the controller that ``--env`` may override.

    Raises:
        UsageError: an argument is wrong.
        NotInHarness: the script needs what the harness lacks.
        EngineError: the engine cannot be fetched or started.
    """
    file = options["file"]
    if not file.is_file():
        raise UsageError(f"there is no {file}")
    if options["branch"] and options["tag"]:
        raise UsageError("--branch and --tag exclude each other")
    as_json = options["json"]
    library = _library(options["library"], file)
    with contextlib.nullcontext(jenkins) if jenkins else Jenkins() as running:
        build = running.run(
            file,
            mode="live",
            library=library or {},
            plugins=options["plugin"],
            agents=_agents(options["agent"]),
            steps=_steps(options["step"]),
            tools=_tools(options["tool"]),
            builds=options["builds"],
            answers=answer_files.read_answers(options["answers"]) if options["answers"] else None,
            approve_as=options["approve_as"],
            started_by=options["started_by"],
            branch=options["branch"],
            tag=options["tag"],
            parameters=_pairs("--var", options["var"]),
            env=dict(env or {}) | _pairs("--env", options["env"]),
            credentials=_credentials(options["credentials"]),
            scm=options["scm"],
            repositories=_repositories(options["repository"]),
            folder=options["folder"],
            clock=options["clock"],
            sandbox=options["sandbox"],
            restart_everywhere=options["restart_everywhere"],
            mismatches="warn",
            on_line=None if as_json else write,
        )
    if any(NO_SCM in line for one in build.builds for line in one.console):
        raise UsageError(
            f"{file} checks out the source that it comes from, and none was given",
            expected="--branch NAME (then it is the script's folder) or --scm DIR",
        )
    if as_json:
        write(json.dumps(report(build), ensure_ascii=False, indent=2))
    else:
        for line in _problems(build):
            write(line)
    return WAITING if build.unanswered else exit_code(build.builds)


def report(build: Build) -> dict[str, Any]:
    """All builds of the run in the shape ``{"builds": [{"result", "console"}]}``."""
    return {"builds": [{"result": one.result, "console": one.console} for one in build.builds]}


def exit_code(builds: Sequence[Build]) -> int:
    if any(build.result is None for build in builds):
        return WAITING
    if any(build.result != "SUCCESS" or build.mismatches for build in builds):
        return FAILED
    return PASS


def _problems(build: Build) -> list[str]:
    waits = {one.waits_at for one in build.builds if one.waits_at} | set(build.unanswered)
    waiting = [
        f"The prompt {prompt} has no answer: give --approve-as or --answers"
        for prompt in sorted(waits)
    ]
    return waiting + [
        f"Wrong value: {mismatch}" for one in build.builds for mismatch in one.mismatches
    ]


def _library(given: Path | None, file: Path) -> Path | None:
    if given is not None and not given.is_dir():
        raise UsageError(f"--library {given} is not a folder", expected="a checkout with vars/")
    named = os.environ.get(LIBRARY)
    if given is None and named:
        if not Path(named).is_dir():
            raise UsageError(f"{LIBRARY}={named} is not a folder", expected="a checkout with vars/")
        return Path(named)
    own = file.resolve().parent
    return own if given is None and (own / "vars").is_dir() else given


def _agents(given: Sequence[str]) -> Mapping[str, Sequence[str]] | Literal["any"]:
    if not given:
        return "any"
    return {
        f"agent-{number}": labels.replace(",", " ").split()
        for number, labels in enumerate(given, start=1)
    }


def _tools(given: Sequence[str]) -> dict[str, dict[str, str | None]]:
    tools: dict[str, dict[str, str | None]] = {}
    for tool in given:
        kind, _, rest = tool.partition("=")
        name, _, home = rest.partition("=")
        if not kind or not name:
            raise UsageError(f"--tool {tool}", expected="TYPE=NAME or TYPE=NAME=HOME")
        tools.setdefault(kind, {})[name] = home or None
    return tools


def _steps(given: Sequence[str]) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for step in given:
        name, _, value = step.partition("=")
        if not name.isidentifier():
            raise UsageError(f"--step {step}", expected="NAME or NAME=VALUE")
        try:
            answers[name] = json.loads(value) if value else None
        except ValueError:
            answers[name] = value
    return answers


def _repositories(given: Sequence[str]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for pair in given:
        url, _, folder = pair.rpartition("=")
        if not url or not Path(folder).is_dir():
            raise UsageError(f"--repository {pair}", expected="URL=DIR with a folder that exists")
        found[url] = Path(folder)
    return found


def _pairs(flag: str, given: Sequence[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for pair in given:
        name, found, value = pair.partition("=")
        if not found or not name:
            raise UsageError(f"{flag} {pair}", expected="NAME=VALUE")
        pairs[name] = value
    return pairs


def _credentials(file: Path | None) -> dict[str, dict[str, str]] | None:
    if file is None:
        return None
    try:
        given: dict[str, dict[str, str]] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"--credentials {file}: {error}", expected="a JSON object") from None
    return given
