from __future__ import annotations

import io

import pytest
from ml_pipeline.approval.prompt import Answer, ask
from ml_pipeline.core.errors import WaitingForPerson


def answered(*lines: str, user: str = "") -> tuple[Answer, str]:
    stdout = io.StringIO()
    stdin = io.StringIO("".join(f"{line}\n" for line in lines))
    return ask("version 2 against version 1", user, stdin, stdout), stdout.getvalue()


def test_shows_the_summary_then_asks_for_decision_name_and_reason() -> None:
    answer, shown = answered("approve", "Asha", "better on every sector")
    assert answer == Answer("approve", "Asha", "better on every sector")
    assert shown.index("version 2 against version 1") < shown.index("approve or reject?")


@pytest.mark.parametrize("word", ["r", "reject", "n", "No"])
def test_a_no_is_recorded_with_its_reason(word: str) -> None:
    assert answered(word, "Asha", "sector bank fell")[0].decision == "reject"


def test_an_invalid_answer_is_requested_again() -> None:
    answer, shown = answered("", "maybe", "a", "", "Asha", "", "  ", "fine")
    assert answer == Answer("approve", "Asha", "fine")
    assert shown.count("approve or reject?") == 3
    assert shown.count("reason:") == 3


def test_an_empty_name_is_the_users() -> None:
    assert answered("a", "", "fine", user="asha")[0].by == "asha"


@pytest.mark.parametrize("lines", [(), ("a",), ("a", "Asha"), ("a", "Asha", "")])
def test_input_that_ends_leaves_the_question_open(lines: tuple[str, ...]) -> None:
    with pytest.raises(WaitingForPerson, match="ml-pipeline approve --by NAME --reason TEXT"):
        answered(*lines)
