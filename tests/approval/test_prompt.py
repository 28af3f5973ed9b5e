from __future__ import annotations

import io

import pytest
from ml_pipeline.approval.prompt import ApproverAnswer, ask
from ml_pipeline.core.errors import WaitingForPerson


def answered(*lines: str, user: str = "") -> tuple[ApproverAnswer, str]:
    stdout = io.StringIO()
    stdin = io.StringIO("".join(f"{line}\n" for line in lines))
    return ask("version 2 against version 1", user, stdin, stdout), stdout.getvalue()


def test_shows_the_summary_then_asks_for_decision_name_and_reason() -> None:
    answer, shown = answered("approve", "Asha", "better on every sector")
    assert answer == ApproverAnswer("approve", "Asha", "better on every sector")
    assert shown.index("version 2 against version 1") < shown.index("approve or reject?")


@pytest.mark.parametrize("word", ["r", "reject", "n", "No"])
def test_a_rejection_is_recorded_with_its_reason(word: str) -> None:
    assert answered(word, "Asha", "sector bank fell")[0].decision == "reject"


def test_an_invalid_answer_is_requested_again() -> None:
    answer, shown = answered("", "maybe", "a", "", "Asha", "", "  ", "fine")
    assert answer == ApproverAnswer("approve", "Asha", "fine")
    assert shown.count("approve or reject?") == 3
    assert shown.count("reason:") == 3


def test_an_empty_name_defaults_to_the_user() -> None:
    assert answered("a", "", "fine", user="asha")[0].by == "asha"


@pytest.mark.parametrize("lines", [(), ("a",), ("a", "Asha"), ("a", "Asha", "")])
def test_end_of_input_leaves_the_decision_open(lines: tuple[str, ...]) -> None:
    with pytest.raises(WaitingForPerson, match="ml-pipeline approve --by NAME --reason TEXT"):
        answered(*lines)
