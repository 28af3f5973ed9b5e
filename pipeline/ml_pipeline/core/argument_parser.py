"""A parser of command lines whose errors are one plain line with the nearest name."""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Collection, Sequence
from typing import Any, NoReturn

from ml_pipeline.core.errors import UsageError, nearest

CHOICE = re.compile(r"argument ([^:]+): invalid choice: (.+) \(choose from (.*)\)", re.DOTALL)
KIND = re.compile(r"argument ([^:]+): invalid (\w+) value: (.+)", re.DOTALL)
MISSING_VALUE = re.compile(r"argument ([^:]+): expected (?:one|at least one) argument")
SURPLUS_VALUE = re.compile(r"argument ([^:]+): ignored explicit argument (.+)", re.DOTALL)
EXCLUDED = re.compile(r"argument ([^:]+): not allowed with argument (.+)")
MISSING = re.compile(r"the following arguments are required: (.+)")
KINDS = {"int": "a whole number", "float": "a number", "_utf8": "text in UTF-8"}


class Parser(argparse.ArgumentParser):
    """An argument parser that raises UsageError, with messages of its own."""

    def __init__(self, **options: Any) -> None:
        super().__init__(formatter_class=_wide, allow_abbrev=False, **options)
        self.flags: list[str] = ["--help"]
        self.choices: dict[str, tuple[str, ...]] = {}
        """The choices of each positional argument that has some."""

    def add_argument(self, *names: str, **options: Any) -> argparse.Action:
        action = super().add_argument(*names, **options)
        if hasattr(self, "flags"):
            self.flags += [name for name in action.option_strings if name.startswith("--")]
        if action.choices is not None and not action.option_strings:
            self.choices[action.dest] = tuple(action.choices)
        return action

    @property
    def help_command(self) -> str:
        return f"'{self.prog} --help'"

    def unknown(self, word: str) -> UsageError:
        """Return the error for an argument that the parser does not accept."""
        if word.startswith("-") and len(word) > 1:
            flag = word.partition("=")[0]
            return UsageError(
                f"unknown flag '{flag}'",
                hint=_then(nearest(flag, self.flags), f"{self.help_command} explains them"),
            )
        return UsageError(f"unexpected '{word}'", hint=f"see {self.help_command}")

    def error(self, message: str) -> NoReturn:
        see = f"see {self.help_command}"
        if found := CHOICE.fullmatch(message):
            value = found[2].strip("'\"")
            known = [name.strip(" '\"") for name in found[3].split(",")]
            raise UsageError(
                f"{_name(found[1])} is '{value}'",
                expected=f"one of: {', '.join(known)}",
                hint=f"{_near(value, known)}{see}",
            )
        if found := KIND.fullmatch(message):
            kind = KINDS.get(found[2], found[2])
            raise UsageError(f"{_name(found[1])} is {found[3]}", expected=kind, hint=see)
        if found := MISSING_VALUE.fullmatch(message):
            raise UsageError(f"{_name(found[1])} needs a value", hint=see)
        if found := SURPLUS_VALUE.fullmatch(message):
            raise UsageError(f"{_name(found[1])} takes no value; it got {found[2]}", hint=see)
        if found := EXCLUDED.fullmatch(message):
            raise UsageError(f"{found[1]} cannot be combined with {found[2]}", hint=see)
        if found := MISSING.fullmatch(message):
            first = found[1].split(", ")[0]
            known = list(self.choices.get(first, ()))
            raise UsageError(
                f"{_name(first)} is missing",
                expected=f"one of: {', '.join(known)}" if known else f"{self.prog} {_name(first)}",
                hint=see,
            )
        raise UsageError(message.removeprefix("argument "), hint=see)


def check_verb(words: Sequence[str], verbs: Collection[str], parser: Parser) -> None:
    """Check that the command line begins with a verb, or asks for help or the version.

    Raises:
        UsageError: the verb is missing, unknown, or placed after a flag.
    """
    see = f"{parser.help_command} lists the verbs"
    if not words:
        raise UsageError("the verb is missing", hint=see)
    first = words[0]
    if first in verbs or first in ("-h", "--help", "--version"):
        return
    if not first.startswith("-"):
        raise UsageError(f"unknown verb '{first}'", hint=_then(nearest(first, verbs), see))
    at = next((number for number, word in enumerate(words) if word in verbs), None)
    if at is None:
        known = ("--help", "--version")
        raise UsageError(
            f"'{first}' is in the place of the verb",
            expected=f"{parser.prog} VERB [FLAGS]",
            hint=f"{_near(first, known)}{see}",
        )
    moved = [words[at], *words[at + 1 :], *words[:at]]
    raise UsageError(
        f"'{first}' is before the verb",
        expected="flags after it",
        hint=f"'{parser.prog} {shlex.join(moved)}'",
    )


def _name(argument: str) -> str:
    """Return a flag as it is typed, a positional word as the help shows it."""
    return argument.rsplit("/", maxsplit=1)[-1] if argument.startswith("-") else argument.upper()


def _then(found: str, see: str) -> str:
    return f"{found} {see}" if found.endswith("?") else f"{found}; {see}"


def _near(word: str, known: Collection[str]) -> str:
    found = nearest(word, known)
    return f"{found} " if found.startswith("did you mean") else ""


def _wide(prog: str) -> argparse.HelpFormatter:
    return argparse.HelpFormatter(prog, max_help_position=20, width=100)
