"""The command ``strict-jenkins-jobs check|diff|update``."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from strict_jenkins_jobs import __version__, commands
from strict_jenkins_jobs.errors import JobsError, UsageError, nearest

CHOICE = re.compile(r"argument (.+): invalid choice: '?(.*?)'? \(choose from (.*)\)")


class Parser(argparse.ArgumentParser):
    """An argument parser that raises UsageError, with the nearest known name."""

    def error(self, message: str) -> NoReturn:
        hint = f"see '{self.prog} --help'"
        if match := CHOICE.fullmatch(message):
            known = [name.strip(" '\"") for name in match[3].split(",")]
            raise UsageError(f"unknown command '{match[2]}'; {nearest(match[2], known)}", hint=hint)
        raise UsageError(message, hint=hint)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser, flags = _parser()
    try:
        options, unknown = parser.parse_known_args(arguments)
        if unknown:
            near = nearest(unknown[0], flags)
            raise UsageError(
                f"unknown argument '{unknown[0]}'; {near}", hint=f"see '{parser.prog} --help'"
            )
        outcome = _run(options)
    except JobsError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return error.exit_code
    if options.json:
        print(json.dumps(outcome.data, indent=2))
    else:
        print(*outcome.lines, sep="\n")
    return outcome.exit_code


def _run(options: argparse.Namespace) -> commands.Outcome:
    if options.command == "check":
        return commands.check(options.folder, golden=options.golden, renew=options.renew)
    if options.command == "diff":
        return commands.diff(os.environ, options.folder)
    stream = sys.stderr if options.json else sys.stdout
    return commands.update(
        os.environ,
        options.folder,
        say=lambda line: print(line, file=stream, flush=True),
        yes=options.yes,
        delete=options.delete,
        confirm=_confirmation() if sys.stdin.isatty() else None,
    )


def _confirmation() -> Callable[[str], bool]:
    def ask(question: str) -> bool:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")

    return ask


def _parser() -> tuple[Parser, list[str]]:
    """Return the parser, and all flags that its commands take."""
    parser = Parser(
        prog="strict-jenkins-jobs",
        allow_abbrev=False,
        description="Check the Jenkins jobs in YAML, show what would change, or change it.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    actions = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    check = actions.add_parser(
        "check", allow_abbrev=False, help="check the YAML strictly; needs no server"
    )
    check.add_argument("--golden", type=Path, metavar="DIR", help="compare with the XML in DIR")
    check.add_argument("--renew", action="store_true", help="replace the XML in DIR")
    diff = actions.add_parser(
        "diff", allow_abbrev=False, help="show what update would change on the server"
    )
    update = actions.add_parser(
        "update", allow_abbrev=False, help="change the server, after a confirmation"
    )
    update.add_argument("--yes", action="store_true", help="change without a confirmation")
    update.add_argument(
        "--delete", action="store_true", help="also delete jobs that are no longer in YAML"
    )
    for one in (check, diff, update):
        one.add_argument(
            "--folder",
            type=Path,
            default=commands.FOLDER,
            metavar="DIR",
            help="folder of the YAML; default: jobs",
        )
        one.add_argument("--json", action="store_true", help="print the outcome as JSON")
    flags = ["--folder", "--json", "--golden", "--renew", "--yes", "--delete", "--help"]
    return parser, flags
