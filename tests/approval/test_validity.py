from __future__ import annotations

from typing import Any

import pytest
from ml_pipeline.approval.policy import Policy
from ml_pipeline.approval.validity import check_allowed
from ml_pipeline.core.errors import Refused

FOUR_EYES = Policy(four_eyes=True, identities={"asha@ex.org": "Asha", "bina@ex.org": "Bina"})
ANSWER: dict[str, Any] = {"decision": "approve", "by": "Asha", "method": "prompt", "authors": None}


@pytest.mark.parametrize(
    ("policy", "answer"),
    [
        (Policy(), {}),
        (Policy(), {"method": "yes"}),
        (Policy(approvers=("Asha",)), {}),
        (Policy(automatic=True, approvers=("Asha",)), {"method": "automatic", "by": "policy"}),
        (FOUR_EYES, {"authors": ("Bina",)}),
        (FOUR_EYES, {"authors": ()}),
        (FOUR_EYES, {"authors": ("Bina",), "by": "ASHA"}),
        (Policy(four_eyes=True), {"decision": "reject"}),
    ],
)
def test_a_decision_that_the_policy_allows_is_accepted(
    policy: Policy, answer: dict[str, Any]
) -> None:
    check_allowed(policy, **ANSWER | answer)


@pytest.mark.parametrize(
    ("policy", "answer", "why"),
    [
        (Policy(approvers=("Bina",)), {}, "'Asha' may not approve; expected one of: Bina"),
        (Policy(approvers=("Bina",)), {"decision": "reject"}, "'Asha' may not approve"),
        (Policy(approvers=("asha",)), {}, "'Asha' may not approve"),
        (Policy(allow_yes=False), {"method": "yes"}, "does not allow --yes"),
        (Policy(), {"method": "automatic"}, "requires a person"),
        (Policy(automatic=True, four_eyes=True), {"method": "automatic"}, "requires a person"),
        (FOUR_EYES, {"authors": ("Asha", "Bina")}, "'Asha' is an author"),
        (FOUR_EYES, {"authors": ("Asha",), "by": "ASHA"}, "'ASHA' is an author"),
        (FOUR_EYES, {"authors": ("Asha",), "by": "\uff21sha"}, "'\uff21sha' is an author"),
        (FOUR_EYES, {"authors": ("Asha",), "by": "asha  "}, "is an author"),
        (FOUR_EYES, {"authors": ("Asha",), "by": "Asha Rai"}, "not one of the policy's identities"),
        (FOUR_EYES, {"authors": ("Asha",), "by": "asha+2@ex.org"}, "not one of the policy's ident"),
        (
            FOUR_EYES,
            {"authors": ("Asha",), "by": "\u0410\u0455\u04ba\u0430"},
            "not one of the policy's identities",
        ),
        (FOUR_EYES, {"authors": ("Asha",), "by": "\u0410sha"}, "mixes CYRILLIC and LATIN"),
        (FOUR_EYES, {"authors": ("Asha",), "by": "Asha\u200b"}, r"invisible character U\+200B"),
        (Policy(), {"by": "Asha\u200b"}, r"invisible character U\+200B"),
        (Policy(four_eyes=True), {"authors": ()}, "not one of the policy's identities"),
        (Policy(four_eyes=True), {"authors": None}, "does not list the authors of the change"),
    ],
)
def test_a_decision_against_the_policy_is_refused(
    policy: Policy, answer: dict[str, Any], why: str
) -> None:
    with pytest.raises(Refused, match=why):
        check_allowed(policy, **ANSWER | answer)
