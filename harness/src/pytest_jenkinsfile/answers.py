"""Answers to ``input`` prompts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, cast

from pytest_jenkinsfile.errors import UsageError, nearest

Decision = Literal["approve", "reject", "ignore", "abort"]
DECISIONS: tuple[Decision, ...] = ("approve", "reject", "ignore", "abort")
KEYS = ("input", "by", "do", "values", "after", "build")


@dataclass(frozen=True)
class Answer:
    """An answer of the user ``by`` to the prompt with the id ``input`` (``*``: any prompt).

    ``values`` are the submitted fields of the form; as in Jenkins, defaults do not replace missing
    ones. ``after`` is the delay of the answer in seconds.
    """

    input: str = "*"
    do: Decision = "approve"
    by: str = "admin"
    values: Mapping[str, Any] = field(default_factory=dict)
    after: float = 0
    build: int | None = None

    @classmethod
    def parse(cls, entry: object) -> Self:
        """Read one entry of an answers file.

        Raises:
            UsageError: it is not an object, or has an unknown key or decision.
        """
        if not isinstance(entry, dict):
            raise UsageError(f"answer {entry!r}", expected="an object")
        for key in entry:
            if key not in KEYS:
                raise UsageError(f"answer has the unknown key '{key}'", hint=nearest(key, KEYS))
        answer = cls(**entry)
        if answer.do not in DECISIONS:
            raise UsageError(f"answer: do '{answer.do}'", expected=" | ".join(DECISIONS))
        return answer

    def matches(self, prompt: Prompt) -> bool:
        name = self.input[:1].upper() + self.input[1:]
        return name in ("*", prompt.id) and self.build in (None, prompt.build)


@dataclass(frozen=True)
class Prompt:
    """An ``input`` step that waits; ``id`` is capitalised as in Jenkins, None if it is not set."""

    id: str | None
    message: str | None
    submitter: str | None
    submitter_parameter: str | None
    parameters: tuple[Mapping[str, Any], ...]
    stage: str | None
    build: int
    attempt: int


Answers = Iterable[Answer | Mapping[str, Any]] | Callable[[Prompt], Answer | Mapping[str, Any]]


def read_answers(file: Path) -> list[Answer]:
    """Read an answers file: a JSON list of ``{input, by, do, values}``.

    Raises:
        UsageError: it cannot be read, or is not such a list.
    """
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"--answers {file}: {error}", expected="a JSON list") from None
    if not isinstance(entries, list):
        raise UsageError(f"--answers {file}", expected="a JSON list")
    return [Answer.parse(entry) for entry in entries]


def default_form(prompt: Prompt, by: str) -> dict[str, Any]:
    """Return the form as a browser submits it: the defaults, and a text where there is none."""
    values: dict[str, Any] = {}
    for parameter in prompt.parameters:
        ((kind, settings),) = parameter.items()
        choices = settings.get("choices") or [""]
        options = choices.splitlines() if isinstance(choices, str) else choices
        value = options[0] if kind == "choice" and options else settings.get("defaultValue")
        empty = value is None or value == ""
        if kind == "booleanParam":
            values[settings["name"]] = value is True
        else:
            values[settings["name"]] = f"approved by {by}, in a trial" if empty else value
    return values


class PromptAnswers:
    """Answers prompts in order.

    Each answer is used once in a build; the last one that matches is used repeatedly.
    """

    def __init__(self, answers: Answers | None, approve_as: str | None) -> None:
        self._decide = cast("Callable[[Prompt], Answer]", answers) if callable(answers) else None
        entries = [] if answers is None or callable(answers) else list(answers)
        self._answers = [one if isinstance(one, Answer) else Answer.parse(one) for one in entries]
        self._approver = approve_as
        self._used: dict[tuple[str, int], set[int]] = {}
        self.unanswered_inputs: list[str] = []
        """Ids of prompts that no answer matched."""

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the response to the request of an ``input`` step."""
        prompt = Prompt(
            id=request["id"],
            message=request["message"],
            submitter=request["submitter"],
            submitter_parameter=request["submitterParameter"],
            parameters=tuple(request["parameters"]),
            stage=request["stage"],
            build=request["build"],
            attempt=request["attempt"],
        )
        chosen = self._choose(prompt, request["job"])
        return {
            "do": chosen.do,
            "by": chosen.by,
            "values": dict(chosen.values),
            "after": chosen.after,
        }

    def _choose(self, prompt: Prompt, job: str) -> Answer:
        if self._decide is not None:
            answer = self._decide(prompt)
            return answer if isinstance(answer, Answer) else Answer.parse(answer)
        used = self._used.setdefault((job, prompt.build), set())
        matching = [index for index, one in enumerate(self._answers) if one.matches(prompt)]
        unused = [index for index in matching if index not in used]
        if not matching and self._approver is not None and not prompt.attempt:
            return Answer(by=self._approver, values=default_form(prompt, self._approver))
        if not unused and (prompt.attempt or not matching):
            if not matching and self._approver is None:
                self.unanswered_inputs.append(prompt.id or "input")
            return Answer(do="ignore")
        index = unused[0] if unused else matching[-1]
        used.add(index)
        return self._answers[index]
