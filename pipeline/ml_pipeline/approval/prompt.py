"""Prompts a person at the terminal for the decision, the name and the reason."""

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
class ApproverAnswer:
    """A decision with the name of the approver and the reason."""

    decision: Decision
    by: str
    reason: str


def ask(summary: str, user: str, stdin: TextIO, stdout: TextIO) -> ApproverAnswer:
    """Show the summary, then prompt for the decision. Name and reason are never empty.

    Args:
        summary: Lines that describe the challenger.
        user: The default of the name; may be empty.
        stdin: Source of the answers.
        stdout: Destination of summary and questions.

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
    return ApproverAnswer(decision, by, reason)


def _line(question: str, stdin: TextIO, stdout: TextIO) -> str:
    stdout.write(question)
    stdout.flush()
    answer = stdin.readline()
    if not answer:
        stdout.write("\n")
        raise WaitingForPerson("the input ended before the decision was made", hint=CONTINUE)
    return answer.strip()
