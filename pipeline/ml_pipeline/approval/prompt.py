"""Asks a person at the terminal: yes or no, the name, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TextIO

from ml_pipeline.approval.statement import Decision
from ml_pipeline.core.errors import WaitingForPerson

CONTINUE = (
    "decide with 'ml-pipeline approve --by NAME --reason TEXT' (or --reject), "
    "then run 'ml-pipeline promote'"
)
ANSWERS: dict[str, Decision] = {
    "a": "approve",
    "approve": "approve",
    "y": "approve",
    "yes": "approve",
    "r": "reject",
    "reject": "reject",
    "n": "reject",
    "no": "reject",
}


@dataclass(frozen=True)
class Answer:
    decision: Decision
    by: str
    reason: str


def ask(summary: str, user: str, stdin: TextIO, stdout: TextIO) -> Answer:
    """Show the summary and return the answer. Name and reason are never empty.

    Args:
        summary: What the person decides on, as lines.
        user: The name that an empty answer stands for; may be empty.
        stdin: Where the answers come from.
        stdout: Where the questions go.

    Raises:
        WaitingForPerson: the input ended before the last answer.
    """
    stdout.write(f"\n{summary}\n\n")
    decision = None
    while decision is None:
        decision = ANSWERS.get(_line("approve or reject? ", stdin, stdout).lower())
    default = f" [{user}]" if user else ""
    by = ""
    while not by:
        by = _line(f"your name{default}: ", stdin, stdout) or user
    reason = ""
    while not reason:
        reason = _line("reason: ", stdin, stdout)
    return Answer(decision, by, reason)


def _line(question: str, stdin: TextIO, stdout: TextIO) -> str:
    stdout.write(question)
    stdout.flush()
    answer = stdin.readline()
    if not answer:
        stdout.write("\n")
        raise WaitingForPerson("no answer", hint=CONTINUE)
    return answer.strip()
