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
    """Add the arguments of the command, which ``run`` gets as options."""
    add = parser.add_argument
    add(
        "file", nargs="?", default="Jenkinsfile", type=Path, help="the script; default: Jenkinsfile"
    )
    add(
        "--builds",
        type=_positive,
        default=1,
        metavar="N",
        help="number of builds, one after the other",
    )
    add("--answers", type=Path, help="answers to prompts: a JSON list of {input, by, do, values}")
    add("--approve-as", metavar="USER", help="approve prompts without an answer as this user")
    add(
        "--started-by",
        default="admin",
        metavar="USER",
        help="user who starts the build; default: admin",
    )
    add("--branch", help="a branch or pull request (PR-7) of a multibranch job")
    add("--tag", help="a tag of a multibranch job")
    add("--var", action="append", default=[], metavar="K=V", help="a parameter of the build")
    add("--env", action="append", default=[], metavar="K=V", help="a variable of the controller")
    add(
        "--library",
        type=Path,
        metavar="DIR",
        help=f"a shared library; default: ${LIBRARY}, or the script's folder if it has vars/",
    )
    add(
        "--agent",
        action="append",
        default=[],
        metavar="LABELS",
        help="an agent with these labels; default: one agent that matches every label",
    )
    add(
        "--step",
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help="stub a step: it returns VALUE (JSON or a text), and its body runs",
    )
    add("--credentials", type=Path, help="a JSON object: credentials by id")
    add("--plugin", action="append", default=[], metavar="NAME", help="an installed plugin")
    add(
        "--tool",
        action="append",
        default=[],
        metavar="TYPE=NAME[=HOME]",
        help="an installed tool, such as maven=M3",
    )
    add(
        "--scm",
        type=Path,
        help="the source for checkout scm; with a branch by default the script's folder",
    )
    add(
        "--repository",
        action="append",
        default=[],
        metavar="URL=DIR",
        help="the source for git and checkout of this address, which is not cloned then",
    )
    add("--folder", type=Path, help="folder that keeps workspaces and archived files")
    add("--clock", choices=("real", "jump"), default="real", help="with jump, waits take no time")
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
    """Run the script in live mode; return 0 for success, 4 if a prompt is unanswered, otherwise 1.

    Args:
        options: the parsed arguments of :func:`add_arguments`.
        write: prints a line.
        jenkins: runs the script; without it a Java process is started for this call.
        env: variables of the controller, which ``--env`` overrides.

    Raises:
        UsageError: an argument is wrong.
        UnsupportedError: the script uses a feature that the harness does not support.
        EngineError: the engine cannot be fetched or started.
    """
    file = options["file"]
    if not file.is_file():
        raise UsageError(f"{file} is not a file", expected="the path of a Jenkinsfile")
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
            cps_mismatches="warn",
            on_line=None if as_json else write,
        )
    if any(NO_SCM in line for one in build.builds for line in one.console):
        raise UsageError(
            f"{file} calls 'checkout scm', and it has no source",
            expected="--branch NAME (its source is the script's folder) or --scm DIR",
        )
    if as_json:
        write(json.dumps(report(build), ensure_ascii=False, indent=2))
    else:
        for line in _problems(build):
            write(line)
    return WAITING if build.unanswered_inputs else exit_code(build.builds)


def report(build: Build) -> dict[str, Any]:
    """Return all builds of the run in the form ``{"builds": [{"result", "console"}]}``."""
    return {"builds": [{"result": one.result, "console": one.console} for one in build.builds]}


def exit_code(builds: Sequence[Build]) -> int:
    if any(build.result is None for build in builds):
        return WAITING
    if any(build.result != "SUCCESS" or build.cps_mismatches for build in builds):
        return FAILED
    return PASS


def _problems(build: Build) -> list[str]:
    pending = {one.pending_input for one in build.builds if one.pending_input}
    waiting = [
        f"The prompt {prompt} has no answer: give --approve-as or --answers"
        for prompt in sorted(pending | set(build.unanswered_inputs))
    ]
    return waiting + [
        f"CPS mismatch: {mismatch}" for one in build.builds for mismatch in one.cps_mismatches
    ]


def _library(folder: Path | None, file: Path) -> Path | None:
    if folder is not None and not folder.is_dir():
        raise UsageError(f"--library {folder} is not a folder", expected="a checkout with vars/")
    variable = os.environ.get(LIBRARY)
    if folder is None and variable:
        if not Path(variable).is_dir():
            raise UsageError(
                f"{LIBRARY}={variable} is not a folder", expected="a checkout with vars/"
            )
        return Path(variable)
    parent = file.resolve().parent
    return parent if folder is None and (parent / "vars").is_dir() else folder


def _agents(agents: Sequence[str]) -> Mapping[str, Sequence[str]] | Literal["any"]:
    if not agents:
        return "any"
    return {
        f"agent-{number}": labels.replace(",", " ").split()
        for number, labels in enumerate(agents, start=1)
    }


def _tools(arguments: Sequence[str]) -> dict[str, dict[str, str | None]]:
    tools: dict[str, dict[str, str | None]] = {}
    for tool in arguments:
        kind, _, rest = tool.partition("=")
        name, _, home = rest.partition("=")
        if not kind or not name:
            raise UsageError(f"--tool {tool}", expected="TYPE=NAME or TYPE=NAME=HOME")
        tools.setdefault(kind, {})[name] = home or None
    return tools


def _steps(arguments: Sequence[str]) -> dict[str, Any]:
    stubs: dict[str, Any] = {}
    for step in arguments:
        name, _, value = step.partition("=")
        if not name.isidentifier():
            raise UsageError(f"--step {step}", expected="NAME or NAME=VALUE")
        try:
            stubs[name] = json.loads(value) if value else None
        except ValueError:
            stubs[name] = value
    return stubs


def _repositories(arguments: Sequence[str]) -> dict[str, Path]:
    folders: dict[str, Path] = {}
    for pair in arguments:
        url, _, folder = pair.rpartition("=")
        if not url or not Path(folder).is_dir():
            raise UsageError(f"--repository {pair}", expected="URL=DIR with a folder that exists")
        folders[url] = Path(folder)
    return folders


def _pairs(flag: str, arguments: Sequence[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for pair in arguments:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"{flag} {pair}", expected="NAME=VALUE")
        pairs[name] = value
    return pairs


def _credentials(file: Path | None) -> dict[str, dict[str, str]] | None:
    if file is None:
        return None
    try:
        credentials: dict[str, dict[str, str]] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"--credentials {file}: {error}", expected="a JSON object") from None
    return credentials
