"""The approver's decision, from flags, the policy or the prompt, and its signature."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ml_pipeline.approval.current_user import current_user_name
from ml_pipeline.approval.keys import load_signer, trusted_keys
from ml_pipeline.approval.policy import Policy
from ml_pipeline.approval.prompt import CONTINUE, ApproverAnswer, ask
from ml_pipeline.approval.statement import Approval, Decision, Method, sign
from ml_pipeline.approval.subject import ApprovalFacts
from ml_pipeline.approval.summary import summarise
from ml_pipeline.core.errors import UsageError, WaitingForPerson
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import Check, Verdict

BY_YES = "approved with --yes"
BY_POLICY = ApproverAnswer("approve", "policy", "the policy promotes what the gate passes")


def answer_by_flags(
    *, by: str | None, reason: str | None, reject: bool, yes: bool
) -> tuple[ApproverAnswer, Method] | None:
    """Return the decision that the flags state; None if none of them is set.

    Raises:
        UsageError: a flag is empty or missing, or contradicts another.
    """
    for name, value in (("by", by), ("reason", reason)):
        if value is not None and not value.strip():
            raise UsageError(f"--{name} is empty", expected="a non-empty text")
    if yes and reject:
        raise UsageError("--yes and --reject contradict each other", expected="one of them")
    if yes:
        return ApproverAnswer(
            "approve", (by or current_user_name()).strip(), (reason or BY_YES).strip()
        ), "yes"
    if not (by or reason or reject):
        return None
    if not by:
        raise UsageError("--by is missing", expected="who decides")
    if not reason:
        raise UsageError("--reason is missing", expected="why")
    decision: Decision = "reject" if reject else "approve"
    return ApproverAnswer(decision, by.strip(), reason.strip()), "flags"


def find_answer(
    policy: Policy, facts: ApprovalFacts, earlier: Sequence[str], *, interactive: bool
) -> tuple[ApproverAnswer, Method]:
    """Return the decision of the policy, or of the person at the terminal.

    Args:
        policy: States whether a version may be promoted without a person.
        facts: Shown to the person.
        earlier: Decisions against this version, shown as well.
        interactive: Whether a terminal is available for a prompt.

    Raises:
        WaitingForPerson: a person has to decide and no terminal is available.
    """
    if policy.automatic and not policy.four_eyes and not facts.broken_contract:
        return BY_POLICY, "automatic"
    if interactive:
        return ask(summarise(facts, earlier), current_user_name(), sys.stdin, sys.stdout), "prompt"
    broken = f"; clients break: {facts.broken_contract}" if facts.broken_contract else ""
    before = "".join(f"; {line}" for line in earlier)
    waits = f"version {facts.challenger.number} passed the gate and waits for an approval"
    raise WaitingForPerson(f"{waits}{broken}{before}", hint=CONTINUE)


def sign_approval(approval: Approval, home: Home, policy: Policy) -> bytes:
    """Return the signed statement.

    Raises:
        UsageError: the key is missing, or its signature would not verify.
    """
    signer = load_signer(home)
    keyid = signer.public_key.keyid
    if keyid not in {key.keyid for key in trusted_keys(home, policy)}:
        raise UsageError(
            f"this signature would not verify: key {keyid[:12]} is not trusted",
            expected="the private half of a key of the policy, or of the home's keys folder",
        )
    return sign(approval, signer)


def check_approval(approval: Approval) -> Check:
    """Return the check that the challenger was approved."""
    approved = approval.decision == "approve"
    return Check(
        name="approval",
        verdict=Verdict.PASS if approved else Verdict.FAIL,
        observed=f"{approval.decision} by {approval.by} ({approval.method})",
        expected="approve",
        why=approval.reason,
    )
