"""The base class of gate checks, and how a policy bounds their settings."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, cast

from ml_pipeline.config import Section
from ml_pipeline.core.errors import PipelineError, UsageError
from ml_pipeline.core.report import Check, Verdict

if TYPE_CHECKING:
    from ml_pipeline.gate.model_comparison import ModelComparison


@dataclass(frozen=True)
class PolicyBound:
    """In which direction the policy limits a setting: its value is the largest or the least."""

    direction: Literal["at most", "at least"]

    def __repr__(self) -> str:
        return f'PolicyBound("{self.direction}")'

    def allows(self, setting: Any, minimum: Any) -> bool:
        """Return whether a setting is as strict as the policy's value, or stricter."""
        return bool(setting <= minimum if self.direction == "at most" else setting >= minimum)

    def stricter(self, one: Any, other: Any) -> Any:
        return min(one, other) if self.direction == "at most" else max(one, other)


AT_MOST: PolicyBound = PolicyBound("at most")
"""``Annotated[float, AT_MOST]``: the policy's value of this setting is the largest allowed."""
AT_LEAST: PolicyBound = PolicyBound("at least")
"""``Annotated[int, AT_LEAST]``: the policy's value of this setting is the least allowed."""


CONFIGURED = "gate check"
"""Start of the names of configured checks in reports; no other check has it."""


class NoSettings(Section):
    """The settings of a check that has none."""


class GateCheck(ABC):
    """One check of the gate over a comparison of challenger and champion.

    An installed package registers a subclass under the entry point group
    ``ml_pipeline.gate_checks``; a project names one of its own in ``gate.checks`` as
    ``module:name``. A check can stop a promotion, never allow one that another check stops.

    Attributes:
        name: what reports call the check; one that is configured has its name in ``gate.checks``.
        Settings: model of its settings. A field annotated ``AT_MOST`` or ``AT_LEAST`` may be
            stricter than the policy's value; any other has to be equal to it.
        settings: the validated settings.
    """

    name: str = ""
    Settings: ClassVar[type[Section]] = NoSettings

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    @classmethod
    def of(cls, values: Section | Mapping[str, Any] | None = None) -> Self:
        """Make the check of those of the values that are its settings."""
        available = vars(values) if isinstance(values, Section) else values or {}
        names = cls.Settings.model_fields
        return cls(cls.Settings(**{key: available[key] for key in names if key in available}))

    @abstractmethod
    def judge(self, comparison: ModelComparison) -> Check | Sequence[Check]:
        """Return the verdict of this check, or several.

        Args:
            comparison: challenger and champion; ``comparison.rows`` is None where no fair
                comparison was possible. A check of ``gate.checks`` is not called then.
        """


def judge_all(checks: Iterable[GateCheck], comparison: ModelComparison) -> list[Check]:
    """Return the verdicts of the gate's own checks, in their order."""
    verdicts: list[Check] = []
    for check in checks:
        judged = check.judge(comparison)
        verdicts += [judged] if isinstance(judged, Check) else judged
    return verdicts


def judge_configured(check: GateCheck, comparison: ModelComparison) -> list[Check]:
    """Return the verdicts of a check that is on by ``gate.checks``, all of them required.

    Without rows to compare, and where the check raises or returns no verdict, the result is
    inconclusive, which is not a pass.

    Raises:
        PipelineError: the check says which key, file or service is at fault.
    """
    if comparison.rows is None:
        verdicts: Sequence[Check] = [inconclusive(comparison.why or "no rows were compared")]
    else:
        verdicts = _verdicts(check, comparison)
    title = f"{CONFIGURED} {check.name}"
    return as_required(
        verdict.model_copy(
            update={
                "name": f"{title}: {verdict.name}"
                if verdict.name not in ("", check.name)
                else title
            }
        )
        for verdict in verdicts
    )


def _verdicts(check: GateCheck, comparison: ModelComparison) -> Sequence[Check]:
    try:
        judged: object = check.judge(comparison)
        verdicts = [judged] if isinstance(judged, Check) else [*cast("Iterable[Any]", judged)]
    except PipelineError:
        raise
    except Exception as error:  # noqa: BLE001  code of others: whatever it raises is no pass
        return [inconclusive(f"the check raised {type(error).__name__}: {error}")]
    if not verdicts or not all(isinstance(verdict, Check) for verdict in verdicts):
        return [inconclusive("the check returned no verdict")]
    return verdicts


def inconclusive(why: str) -> Check:
    """Return the verdict of a configured check that gave none."""
    return Check(
        name="",
        verdict=Verdict.INCONCLUSIVE,
        observed="no verdict",
        expected="a verdict of the check",
        why=why,
    )


def as_required(checks: Iterable[Check]) -> list[Check]:
    """Return the checks as required ones; a skipped one becomes inconclusive."""
    return [
        check.model_copy(
            update={
                "required": True,
                "verdict": Verdict.INCONCLUSIVE
                if check.verdict is Verdict.SKIPPED
                else check.verdict,
            }
        )
        for check in checks
    ]


def looser(where: str, key: str, setting: object, expected: str) -> UsageError:
    """Return the error about a key of ``gate`` that is looser than the policy's."""
    return UsageError(
        f"gate.{key} is {setting}",
        expected=f"{expected}, as 'gate' of the policy requires",
        hint=f"ml.yaml may only tighten {where}",
    )
