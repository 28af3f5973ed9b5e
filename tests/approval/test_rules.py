from __future__ import annotations

from typing import Any

import pytest

from pipeline.approval.policy import Policy
from pipeline.approval.rules import check_allowed
from pipeline.errors import Refused

ANSWER: dict[str, Any] = {"decision": "approve", "by": "Asha", "method": "prompt", "authors": None}


@pytest.mark.parametrize(
    ("policy", "answer"),
    [
        (Policy(), {}),
        (Policy(), {"method": "yes"}),
        (Policy(approvers=("Asha",)), {}),
        (Policy(automatic=True, approvers=("Asha",)), {"method": "automatic", "by": "policy"}),
        (Policy(four_eyes=True), {"authors": ("Bina",)}),
        (Policy(four_eyes=True), {"authors": ()}),
        (Policy(four_eyes=True), {"decision": "reject"}),
    ],
)
def test_counts(policy: Policy, answer: dict[str, Any]) -> None:
    check_allowed(policy, **ANSWER | answer)


@pytest.mark.parametrize(
    ("policy", "answer", "why"),
    [
        (Policy(approvers=("Bina",)), {}, "'Asha' may not approve; expected one of: Bina"),
        (Policy(approvers=("Bina",)), {"decision": "reject"}, "'Asha' may not approve"),
        (Policy(approvers=("asha",)), {}, "'Asha' may not approve"),
        (Policy(allow_yes=False), {"method": "yes"}, "does not allow --yes"),
        (Policy(), {"method": "automatic"}, "asks for a person"),
        (Policy(automatic=True, four_eyes=True), {"method": "automatic"}, "asks for a person"),
        (Policy(four_eyes=True), {"authors": ("Asha", "Bina")}, "'Asha' is an author"),
        (Policy(four_eyes=True), {"authors": None}, "does not say who made the change"),
    ],
)
def test_does_not_count(policy: Policy, answer: dict[str, Any], why: str) -> None:
    with pytest.raises(Refused, match=why):
        check_allowed(policy, **ANSWER | answer)
