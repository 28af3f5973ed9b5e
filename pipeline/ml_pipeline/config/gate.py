"""``gate``: the comparison with the champion; and the minimums of the policy for it."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic.config import JsonDict

from ml_pipeline.config.section import Section
from ml_pipeline.core.schema_errors import shown


def _margin_alone(value: Any) -> Any:
    """Take ``{margin: 0.01}`` for ``0.01``."""
    return value["margin"] if isinstance(value, dict) and set(value) == {"margin"} else value


def _as_guard(value: Any) -> Any:
    """Take ``0.01`` for ``{margin: 0.01}``."""
    return value if isinstance(value, dict | Guard) else {"margin": value}


class Guard(Section):
    """A metric that must not get worse by more than ``margin``."""

    margin: float = Field(ge=0)


MARGIN_SCHEMA: JsonDict = {"type": "number", "minimum": 0}
GUARD_SCHEMA: JsonDict = {
    "anyOf": [
        MARGIN_SCHEMA,
        {
            "type": "object",
            "properties": {"margin": MARGIN_SCHEMA},
            "required": ["margin"],
            "additionalProperties": False,
        },
    ],
    "description": "The margin, as a number or as margin: NUMBER.",
}
GuardForm = Annotated[Guard, BeforeValidator(_as_guard), WithJsonSchema(GUARD_SCHEMA)]
MarginForm = Annotated[
    float, Field(ge=0), BeforeValidator(_margin_alone), WithJsonSchema(GUARD_SCHEMA)
]
"""Both sections take both forms, so that a guard may be copied from one to the other."""


CHECK_NAME = re.compile(r"[A-Za-z_][\w.-]*(:[A-Za-z_]\w*)?", re.ASCII)
"""Of an installed check, or ``module:name`` of one in the project's repository."""


def _as_checks(values: Any) -> Any:
    """Take a list of names, each alone or as ``name: {settings}``, for a mapping of settings."""
    if isinstance(values, dict):
        entries = list(values.items())
    elif isinstance(values, list | tuple):
        entries = [
            pair
            for value in values
            for pair in (value.items() if isinstance(value, dict) else [(value, None)])
        ]
    else:
        raise ValueError("a list of names of checks")  # noqa: TRY004  pydantic takes it as a fault
    checks: dict[str, Any] = {}
    for name, settings in entries:
        if not isinstance(name, str) or CHECK_NAME.fullmatch(name) is None:
            raise ValueError(f"the name of an installed check, or module:name; found {shown(name)}")
        if name in checks:
            raise ValueError(f"each check once; {name} occurs twice")
        checks[name] = {} if settings is None else settings
    return checks


CHECKS_SCHEMA: JsonDict = {
    "anyOf": [
        {
            "type": "array",
            "items": {
                "anyOf": [
                    {"type": "string"},
                    {
                        "type": "object",
                        "additionalProperties": {"type": ["object", "null"]},
                        "minProperties": 1,
                    },
                ]
            },
        },
        {"type": "object", "additionalProperties": {"type": ["object", "null"]}},
    ],
    "description": "Names of checks, each alone or with its settings.",
}
CheckForms = Annotated[
    dict[str, dict[str, Any]], BeforeValidator(_as_checks), WithJsonSchema(CHECKS_SCHEMA)
]


class GateSection(Section):
    goal: Literal["auto", "superior", "non_inferior"] = "auto"
    metric: str | None = Field(None, description="The primary metric; the problem's own if unset.")
    margin: float = Field(0.0, ge=0, description="superior: the least gain that counts.")
    non_inferior_margin: float = Field(
        0.005, gt=0, description="non_inferior: the largest loss that is tolerated."
    )
    alpha: float = Field(0.05, gt=0, lt=0.5)
    power: float = Field(0.8, gt=0, lt=1)
    min_days: int = Field(
        20, ge=5, description="Days (or clusters, or undated rows) that a comparison needs."
    )
    guards: dict[str, GuardForm] | None = Field(
        None, description="Guard metrics; the problem's own if unset."
    )
    require: tuple[str, ...] = Field(
        (), description="Stages whose report must have passed, beyond the built-in ones."
    )
    allow_breaking_contract: bool = Field(
        False, description="A challenger that some requests of the champion's clients do not fit."
    )
    checks: CheckForms = Field(
        default_factory=dict,
        description="Further checks: installed ones by name, or module:name of the repository; "
        "settings as name: {key: value}.",
    )


class GateMinimums(Section):
    """How strict the gate is at least; part of the administrators' policy."""

    goal: Literal["auto", "superior"] | None = Field(
        None, description="auto: non_inferior only for the same recipe on newer data."
    )
    metric: str | None = Field(None, description="The primary metric that must be used.")
    alpha: float | None = Field(None, gt=0, lt=0.5, description="The largest.")
    margin: float | None = Field(None, ge=0, description="The least gain that counts.")
    non_inferior_margin: float | None = Field(None, gt=0, description="The largest.")
    min_days: int | None = Field(None, ge=5, description="The least.")
    max_feature_auc: float | None = Field(
        None, ge=0.5, le=1, description="The largest AUC that one feature alone may have."
    )
    guards: dict[str, MarginForm] = Field(
        default_factory=dict, description="Metrics that must be guarded, with the largest margin."
    )
    allow_breaking_contract: bool = Field(
        True, description="Whether a project may allow that requests of old clients do not fit."
    )
    checks: CheckForms = Field(
        default_factory=dict,
        description="Checks that are on in every project, with the loosest settings.",
    )
