"""The base of every section: unknown keys are errors, values never change."""

from __future__ import annotations

from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, model_validator


def yaml_word(value: bool | None) -> str:
    return "null" if value is None else str(value).lower()


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    replaced: ClassVar[dict[str, str]] = {}
    """What each key of earlier versions is replaced by, as messages name it."""

    @model_validator(mode="before")
    @classmethod
    def _no_replaced_key(cls, values: Any) -> Any:
        for name in values if isinstance(values, dict) else ():
            if name in cls.replaced:
                raise ValueError(f"{cls.replaced[name]} instead of {name}, which it replaces")
        return values

    @model_validator(mode="before")
    @classmethod
    def _no_switch_for_a_number(cls, values: Any) -> Any:
        """Refuse ``true`` for a number, which YAML makes of ``yes`` and ``on``."""
        for name, value in values.items() if isinstance(values, dict) else ():
            field = cls.model_fields.get(name)
            if field is not None and isinstance(value, bool):
                kinds = {field.annotation, *get_args(field.annotation)}
                if kinds & {int, float} and bool not in kinds:
                    raise ValueError(f"a number for {name}, which YAML reads as {yaml_word(value)}")
        return values
