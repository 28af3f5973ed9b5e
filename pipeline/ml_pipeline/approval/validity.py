"""Checks a decision against the policy, before signing and again before promotion."""

from __future__ import annotations

from collections.abc import Collection

from ml_pipeline.approval.person_names import check_spelling, is_one_of
from ml_pipeline.approval.policy import Policy
from ml_pipeline.approval.statement import Decision, Method
from ml_pipeline.core.errors import Refused


def check_allowed(
    policy: Policy,
    *,
    decision: Decision,
    by: str,
    method: Method,
    authors: Collection[str] | None,
) -> None:
    """Refuse a decision that the policy does not accept.

    Args:
        policy: The rules in force.
        decision: A rejection needs an approver, who may be an author.
        by: Who decided.
        method: How the decision was made.
        authors: Authors of the change; required for an approval under four eyes.

    Raises:
        Refused: a rule is broken, or the name may imitate another one.
    """
    if method == "automatic":
        if not policy.automatic or policy.four_eyes:
            raise Refused(
                "the policy requires a person's approval", expected="an approval by a person"
            )
        return
    if method == "yes" and not policy.allow_yes:
        raise Refused(
            "the policy does not allow --yes",
            hint="decide with 'ml-pipeline approve --by NAME --reason TEXT'",
        )
    check_spelling(by)
    if not policy.may_approve(by):
        raise Refused(f"'{by}' may not approve", expected=f"one of: {', '.join(policy.approvers)}")
    if decision == "reject" or not policy.four_eyes:
        return
    if authors is None:
        raise Refused("the approval does not list the authors of the change", expected="four eyes")
    if is_one_of(by, authors):
        raise Refused(
            f"'{by}' is an author of the change", expected="four eyes: an approver who is not"
        )
    if not is_one_of(by, policy.identities.values()):
        raise Refused(
            f"'{by}' is not one of the policy's identities",
            expected="four eyes: a name whose addresses the policy lists",
            hint="the administrators add the name and its addresses to 'identities'",
        )
