"""The command ``jenkinsfile run``."""

from __future__ import annotations

import argparse
import functools
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from pytest_jenkinsfile import __version__, run_command
from pytest_jenkinsfile.errors import HarnessError, UsageError, nearest

CHOICE = re.compile(r"argument (.+): invalid choice: '?(.*?)'? \(choose from (.*)\)")


class Parser(argparse.ArgumentParser):
    """An argument parser that raises UsageError, with the nearest known name."""

    def __init__(self, **options: Any) -> None:
        self.flags: list[str] = []
        super().__init__(allow_abbrev=False, **options)

    def add_argument(self, *names: str, **options: Any) -> argparse.Action:
        action = super().add_argument(*names, **options)
        self.flags += [name for name in action.option_strings if name.startswith("--")]
        return action

    def error(self, message: str) -> NoReturn:
        see = f"see '{self.prog} --help'"
        if match := CHOICE.fullmatch(message):
            known = [name.strip(" '\"") for name in match[3].split(",")]
            name = f"{match[1]} is" if match[1].startswith("-") else "unknown command"
            raise UsageError(f"{name} '{match[2]}'; {nearest(match[2], known)}", hint=see)
        raise UsageError(message, hint=see)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = Parser(
        prog="jenkinsfile",
        description="Run a Jenkinsfile in the engine of Jenkins, without a controller.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    actions = parser.add_subparsers(metavar="COMMAND", required=True)
    run: Parser = actions.add_parser("run", help="run a script and print its console")
    run_command.add_arguments(run)
    try:
        options, unknown = parser.parse_known_args(arguments)
        if unknown:
            flag = unknown[0].partition("=")[0]
            raise UsageError(
                f"unknown argument '{flag}'; {nearest(flag, run.flags)}",
                hint=f"see '{run.prog} --help'",
            )
        return run_command.run(vars(options), functools.partial(print, flush=True))
    except HarnessError as error:
        print(f"jenkinsfile: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("jenkinsfile: interrupted", file=sys.stderr)
        return 130
