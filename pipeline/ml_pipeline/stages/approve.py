"""Stage ``approve``: ask a person whether to promote the challenger, and sign the decision."""

from __future__ import annotations

from datetime import UTC, datetime

from ml_pipeline.approval import policy as policies
from ml_pipeline.approval.answers import (
    answer_by_flags,
    check_approval,
    find_answer,
    sign_approval,
)
from ml_pipeline.approval.authors import authors_of_change
from ml_pipeline.approval.keys import trusted_keys
from ml_pipeline.approval.prompt import ApproverAnswer
from ml_pipeline.approval.statement import Approval
from ml_pipeline.approval.subject import check_nothing_to_promote, gather_facts, is_champion
from ml_pipeline.approval.validity import check_allowed
from ml_pipeline.core import workdir
from ml_pipeline.core.errors import Refused
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.promotion.agreement import contenders, production_of
from ml_pipeline.promotion.earlier_decisions import decisions
from ml_pipeline.registry.records import APPROVAL_RECORD
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import Version
from ml_pipeline.stages.context import Context, Outcome
from ml_pipeline.stages.table import ApproveFlags


def run(context: Context[ApproveFlags]) -> Outcome:
    """Write ``approval.dsse.json`` and attach it to the version.

    An answer that the policy does not accept fails the stage and is neither signed nor stored.

    Raises:
        Refused: the gate did not pass, or another version is the challenger.
        WaitingForPerson: there is no terminal to ask at.
        UsageError: the flags do not make an answer, or no key can sign it.
        EnvironmentFault: the registry does not answer, or registry, history and production differ
            on the champion.
    """
    flags = context.flags
    by_flags = answer_by_flags(by=flags.by, reason=flags.reason, reject=flags.reject, yes=flags.yes)
    policy = policies.load(context.policy, context.config.policy)
    registry = Registry.of(context.project, context.home, context.progress)
    production = production_of(context.project, context.home)
    versions = contenders(registry, production, context.home, flags.expect_version)
    challenger, champion = versions.challenger, versions.champion
    if is_champion(challenger, champion):
        return _nothing_to_promote(challenger)
    facts = gather_facts(registry, challenger, champion, policy)
    keys = trusted_keys(context.home, policy)
    earlier = decisions(registry, context.home, versions, lambda: keys)
    answer, method = by_flags or find_answer(
        policy, facts, earlier, interactive=context.interactive
    )
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
        return _not_accepted(challenger, answer, refused)
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
    content = sign_approval(approval, context.home, policy)
    path = workdir.write_bytes(context.workdir / APPROVAL_RECORD, content)
    registry.records.attach(challenger, APPROVAL_RECORD, content)
    return Outcome(
        summary=_summary(approval),
        checks=[check_approval(approval)],
        metrics={"method": method, "counted": True},
        outputs=[path],
        model=challenger.ref,
    )


def _not_accepted(challenger: Version, answer: ApproverAnswer, refused: Refused) -> Outcome:
    """Return the outcome of an answer that the policy does not accept: nothing is signed."""
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


def _summary(approval: Approval) -> str:
    past = "approved" if approval.decision == "approve" else "rejected"
    return f"version {approval.version} {past} by {approval.by}: {approval.reason}"


def _nothing_to_promote(champion: Version) -> Outcome:
    return Outcome(
        summary=f"nothing to promote: version {champion.number} is the champion",
        checks=[check_nothing_to_promote(champion.identity)],
        model=champion.ref,
    )
