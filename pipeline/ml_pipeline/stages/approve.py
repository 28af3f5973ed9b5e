"""Asks a person whether the challenger goes to production, and signs the answer."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from ml_pipeline.approval import policy as policies
from ml_pipeline.approval.authors import authors_of_change
from ml_pipeline.approval.current_user import user
from ml_pipeline.approval.keys import load_signer, trusted_keys
from ml_pipeline.approval.policy import Policy
from ml_pipeline.approval.prompt import CONTINUE, Answer, ask
from ml_pipeline.approval.statement import Approval, Decision, Method, sign
from ml_pipeline.approval.subject import Facts, gather, is_champion
from ml_pipeline.approval.summary import summarise
from ml_pipeline.approval.validity import check_allowed
from ml_pipeline.core import workdir
from ml_pipeline.core.errors import Refused, UsageError, WaitingForPerson
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.promotion.agreement import contenders, production_of
from ml_pipeline.promotion.earlier_decisions import decisions
from ml_pipeline.registry.mlflow_registry import APPROVAL_RECORD, Registry, Version
from ml_pipeline.stages.context import Context, Outcome
from ml_pipeline.stages.table import ApproveFlags

BY_YES = "approved with --yes"
BY_POLICY = Answer("approve", "policy", "the policy promotes what the gate passes")


def run(context: Context[ApproveFlags]) -> Outcome:
    """Write ``approval.dsse.json`` and attach it to the version.

    An answer that the policy does not let count fails the stage and is neither signed nor kept.

    Raises:
        Refused: the gate did not pass, or another version is the challenger.
        WaitingForPerson: nobody is there to ask.
        UsageError: the flags do not make an answer, or no key can sign it.
        EnvironmentFault: the registry does not answer, or registry, history and production differ
            on the champion.
    """
    _check_flags(context)
    policy = policies.load(context.policy, context.config.policy)
    registry = Registry.of(context.project, context.home, context.progress)
    production = production_of(context.project, context.home)
    challenger, champion = contenders(
        registry, production, context.home, context.flags.expect_version
    )
    if is_champion(challenger, champion):
        return _nothing(challenger)
    facts = gather(registry, challenger, champion, policy)
    keys = trusted_keys(context.home, policy)
    earlier = decisions(registry, context.home, challenger, champion, lambda: keys)
    answer, method = _answer(context, policy, facts, earlier)
    authors = None
    if policy.four_eyes and answer.decision == "approve" and method != "automatic":
        authors = authors_of_change(
            context.project.root,
            challenger.tags,
            None if champion is None else champion.tags,
            policy,
        )
    try:
        check_allowed(
            policy, decision=answer.decision, by=answer.by, method=method, authors=authors
        )
    except Refused as refused:
        return _not_counted(challenger, answer, refused)
    approval = Approval(
        model=challenger.name,
        version=challenger.number,
        bundle=challenger.digest,
        decision=answer.decision,
        by=answer.by,
        reason=answer.reason,
        at=datetime.now(UTC),
        method=method,
        gate=facts.gate_digest,
        policy=policy.digest,
        champion=facts.champion_digest,
        authors=authors,
        run_id=context.run_id,
    )
    content = _signed(context, policy, approval)
    path = workdir.write_bytes(context.workdir / APPROVAL_RECORD, content)
    registry.attach(challenger, APPROVAL_RECORD, content)
    return Outcome(
        summary=_line(approval),
        checks=[_check(approval)],
        metrics={"method": method, "counted": True},
        outputs=[path],
        model=challenger.ref,
    )


def _check_flags(context: Context[ApproveFlags]) -> None:
    flags = context.flags
    for name, value in (("by", flags.by), ("reason", flags.reason)):
        if value is not None and not value.strip():
            raise UsageError(f"--{name} is empty", expected="a text")
    if flags.yes and flags.reject:
        raise UsageError("--yes and --reject are opposites", expected="one of them")
    if not flags.yes and (flags.by or flags.reason or flags.reject):
        if not flags.by:
            raise UsageError("--by is missing", expected="who decides")
        if not flags.reason:
            raise UsageError("--reason is missing", expected="why")


def _answer(
    context: Context[ApproveFlags], policy: Policy, facts: Facts, earlier: Sequence[str]
) -> tuple[Answer, Method]:
    flags = context.flags
    if flags.yes:
        by, reason = flags.by or user(), flags.reason or BY_YES
        return Answer("approve", by.strip(), reason.strip()), "yes"
    if flags.by and flags.reason:
        decision: Decision = "reject" if flags.reject else "approve"
        return Answer(decision, flags.by.strip(), flags.reason.strip()), "flags"
    if policy.automatic and not policy.four_eyes and not facts.broken_contract:
        return BY_POLICY, "automatic"
    if context.interactive:
        return ask(summarise(facts, earlier), user(), sys.stdin, sys.stdout), "prompt"
    broken = f"; clients break: {facts.broken_contract}" if facts.broken_contract else ""
    before = "".join(f"; {line}" for line in earlier)
    waits = f"version {facts.challenger.number} passed the gate and waits for an approval"
    raise WaitingForPerson(
        f"{waits}{broken}{before}",
        hint=CONTINUE,
    )


def _signed(context: Context[ApproveFlags], policy: Policy, approval: Approval) -> bytes:
    signer = load_signer(context.home)
    keyid = signer.public_key.keyid
    if keyid not in {key.keyid for key in trusted_keys(context.home, policy)}:
        raise UsageError(
            f"nobody would believe this signature: key {keyid[:12]} is not trusted",
            expected="the private half of a key of the policy, or of the home's keys folder",
        )
    return sign(approval, signer)


def _check(approval: Approval) -> Check:
    approved = approval.decision == "approve"
    return Check(
        name="approval",
        verdict=Verdict.PASS if approved else Verdict.FAIL,
        observed=f"{approval.decision} by {approval.by} ({approval.method})",
        expected="approve",
        why=approval.reason,
    )


def _not_counted(challenger: Version, answer: Answer, refused: Refused) -> Outcome:
    """Return the outcome of an answer that the policy does not let count: nothing is signed."""
    return Outcome(
        summary=str(refused),
        checks=[
            Check(
                name="answer counts",
                verdict=Verdict.FAIL,
                observed=f"{answer.decision} by {answer.by}",
                expected=refused.expected or "an answer that the policy allows",
                why=str(refused),
            )
        ],
        metrics={"counted": False},
        model=challenger.ref,
    )


def _line(approval: Approval) -> str:
    past = "approved" if approval.decision == "approve" else "rejected"
    return f"version {approval.version} {past} by {approval.by}: {approval.reason}"


def _nothing(champion: Version) -> Outcome:
    return Outcome(
        summary=f"nothing to promote: version {champion.number} is the champion",
        checks=[
            Check(
                name="nothing to promote",
                verdict=Verdict.PASS,
                observed=f"identity {champion.identity[:12]}",
                expected="a challenger that is not the champion, or no change",
            )
        ],
        model=champion.ref,
    )
