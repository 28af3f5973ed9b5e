"""The base class of a gate check, and how far its settings may be loosened."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from ml_pipeline.config import Section
from ml_pipeline.core.errors import PipelineError
from ml_pipeline.core.report import Check, Verdict

if TYPE_CHECKING:
    from ml_pipeline.gate.model_comparison import ModelComparison


@dataclass(frozen=True)
class PolicyBound:
    """In which direction the policy limits a setting: its value is the largest or the least."""

    direction: Literal["at most", "at least"]

    def allows(self, setting: Any, minimum: Any) -> bool:
        """Return whether a setting is as strict as the policy's value, or stricter."""
        return bool(setting <= minimum if self.direction == "at most" else setting >= minimum)

    def stricter(self, one: Any, other: Any) -> Any:
        return min(one, other) if self.direction == "at most" else max(one, other)


AT_MOST = PolicyBound("at most")
"""``Annotated[float, AT_MOST]``: the policy's value of this setting is the largest allowed."""
AT_LEAST = PolicyBound("at least")
"""``Annotated[int, AT_LEAST]``: the policy's value of this setting is the least allowed."""


class NoSettings(Section):
    """The settings of a check that has none."""


class GateCheck(ABC):
    """One check of the gate over a comparison of challenger and champion.

    An installed package registers a subclass under the entry point group
    ``ml_pipeline.gate_checks``; a project names one of its own in ``gate.checks`` as
    ``module:name``. A check can stop a promotion, never allow one that another check stops.

    Attributes:
        name: what reports call the check.
        Settings: model of its settings. A field annotated ``AT_MOST`` or ``AT_LEAST`` may be
            tightened beyond the value of the policy; any other has to be equal to it.
        settings: the validated settings.
    """

    name: ClassVar[str]
    Settings: ClassVar[type[Section]] = NoSettings

    def __init__(self, settings: Any) -> None:
        self.settings = settings

    @classmethod
    def of(cls, values: Section | Mapping[str, Any] | None = None) -> Self:
        """Make the check of those of the values that are its settings."""
        given = vars(values) if isinstance(values, Section) else values or {}
        names = cls.Settings.model_fields
        return cls(cls.Settings(**{key: given[key] for key in names if key in given}))

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
        return [inconclusive(check.name, comparison.why or "there is no comparison to judge")]
    try:
        judged = check.judge(comparison)
    except PipelineError:
        raise
    except Exception as error:  # noqa: BLE001  code of others: whatever it raises is no pass
        return [inconclusive(check.name, f"the check raised {type(error).__name__}: {error}")]
    return required_verdicts(check.name, [judged] if isinstance(judged, Check) else judged)


def required_verdicts(name: str, judged: object) -> list[Check]:
    """Return the verdicts of a configured check as required checks under its name.

    A skipped verdict is inconclusive, and so is anything that is not a list of checks.
    """
    checks = list(judged) if isinstance(judged, Iterable) else []
    if not checks or not all(isinstance(each, Check) for each in checks):
        return [inconclusive(name, "the check returned no verdict")]
    title = report_name(name)
    return as_required(
        check.model_copy(
            update={"name": title if check.name in ("", name) else f"{title}: {check.name}"}
        )
        for check in checks
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


def inconclusive(name: str, why: str) -> Check:
    """Return the required check of a configured check that gave no verdict."""
    return Check(
        name=report_name(name),
        verdict=Verdict.INCONCLUSIVE,
        observed="no verdict",
        expected="a verdict of the check",
        why=why,
    )


def report_name(name: str) -> str:
    """Return what reports call a configured check; no built-in check has such a name."""
    return f"gate check {name}"
