"""The subject of an approval: challenger, champion and the gate's record, from the registry."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ml_pipeline.approval.policy import Policy
from ml_pipeline.core import documents
from ml_pipeline.core.documents import DocumentError
from ml_pipeline.core.errors import Refused, UsageError
from ml_pipeline.core.report import Check, Verdict, judge
from ml_pipeline.registry.records import GATE_RECORD
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import CAUSE, RegistryState, Version

RUN_GATE_AGAIN = "run 'ml-pipeline gate' again"


class GateRecord(BaseModel):
    """The gate's decision as ``ml_pipeline.gate.record`` writes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Literal["ml-pipeline/gate/1"] = Field(alias="schema")
    verdict: Verdict
    summary: str
    checks: tuple[Check, ...]
    metrics: dict[str, Any]
    challenger: str
    champion: str | None
    policy: str


@dataclass(frozen=True)
class ApprovalFacts:
    """A challenger that passed the gate against the current champion under the current policy."""

    challenger: Version
    champion: Version | None
    gate: GateRecord
    gate_digest: str

    @property
    def broken_contract(self) -> str:
        """What the challenger breaks for the champion's clients; empty if nothing."""
        contract = self.gate.metrics.get("contract") or {}
        broken = contract.get("broken") if isinstance(contract, dict) else None
        return "; ".join(map(str, broken)) if isinstance(broken, list) else ""

    @property
    def cause(self) -> str:
        """Why the challenger was trained, by the gate's record; empty where nobody stated it."""
        return str(self.gate.metrics.get(CAUSE) or "")

    @property
    def champion_digest(self) -> str | None:
        return None if self.champion is None else self.champion.digest


def require_challenger(state: RegistryState, expected: int | None = None) -> Version:
    """Return the challenger.

    Args:
        state: The state read from the registry.
        expected: The version that was shown to the approver; None accepts any.

    Raises:
        Refused: a newer version is the challenger now.
        UsageError: no version was registered yet.
        EnvironmentFault: the alias names a version that was deleted.
    """
    challenger = state.challenger
    if challenger is None:
        raise UsageError(
            f"model '{state.name}' has no challenger", hint="run 'ml-pipeline register'"
        )
    if expected is not None and challenger.number != expected:
        raise Refused(
            f"version {challenger.number} is the challenger now",
            expected=f"version {expected}, the one that was shown",
            hint="decide about the newer one",
        )
    return challenger


def is_champion(challenger: Version, champion: Version | None) -> bool:
    """Return whether the challenger has the champion's identity; then nothing is to be promoted."""
    return champion is not None and challenger.identity == champion.identity


def gather_facts(
    registry: Registry, challenger: Version, champion: Version | None, policy: Policy
) -> ApprovalFacts:
    """Return the facts to decide on, if this challenger passed the gate.

    Raises:
        Refused: the gate has not decided, its verdict is not pass, or it decided about another
            bundle, champion or policy.
        EnvironmentFault: the registry is unavailable.
    """
    content = registry.records.read(challenger, GATE_RECORD)
    if content is None:
        raise Refused(
            f"the gate has not decided about version {challenger.number}",
            hint="run 'ml-pipeline gate'",
        )
    try:
        gate = GateRecord.model_validate(documents.parse_json(content, "the gate's record"))
    except DocumentError as error:
        raise Refused(error.fault, hint=RUN_GATE_AGAIN) from None
    except ValidationError as error:
        raise Refused(
            f"the gate's record is invalid: {documents.reason(error)}",
            hint=RUN_GATE_AGAIN,
        ) from None
    if gate.verdict is not Verdict.PASS:
        raise Refused(
            f"the gate's verdict on version {challenger.number} is {gate.verdict}: {gate.summary}",
            expected="pass",
            hint="'ml-pipeline show gate' shows why",
        )
    if judge(gate.checks) is not Verdict.PASS:
        raise Refused(
            "the gate's record has verdict pass, but its checks do not", hint=RUN_GATE_AGAIN
        )
    if gate.challenger != challenger.digest:
        raise Refused(
            f"the gate decided about bundle {gate.challenger[:12]}",
            expected=challenger.digest[:12],
            hint=RUN_GATE_AGAIN,
        )
    current = None if champion is None else champion.digest
    if gate.champion != current:
        raise Refused(
            "the champion moved since the comparison",
            expected=f"bundle {_short_digest(gate.champion)}, found {_short_digest(current)}",
            hint=RUN_GATE_AGAIN,
        )
    if gate.policy != policy.digest:
        raise Refused(
            "the policy changed since the gate decided",
            expected=f"policy {gate.policy[:12]}, found {policy.digest[:12]}",
            hint=RUN_GATE_AGAIN,
        )
    return ApprovalFacts(challenger, champion, gate, hashlib.sha256(content).hexdigest())


def _short_digest(digest: str | None) -> str:
    return "none" if digest is None else digest[:12]


def check_nothing_to_promote(identity: str) -> Check:
    """Return the passing check of a challenger that has the champion's identity."""
    return Check(
        name="nothing to promote",
        verdict=Verdict.PASS,
        observed=f"identity {identity[:12]}",
        expected="a challenger that is not the champion, or no change",
    )
