"""The record of a stage and the flags of a verb: what parser, steps and reference are made from.

It imports nothing heavy: every call of the command line loads it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeVar, dataclass_transform

T = TypeVar("T")
Kind = Literal["text", "integer", "path", "switch"]
Phase = Literal["check", "delivery", "promotion", "on demand"]
"""A check is of the code alone; delivery ends with the gate; promotion is a person's decision."""

InRun = Literal["always", "quick"]
"""Whether ``run`` takes a flag: for each of its stages, or only for those of ``run ci``."""


@dataclass(frozen=True)
class Flag:
    """A command-line flag: ``--name``, and the key ``name`` of an ``--args`` file."""

    name: str
    help: str
    kind: Kind = "text"
    in_run: InRun | None = None
    in_step: bool = True
    """Whether it is an argument of the stage's Jenkins step."""
    quick: bool = False
    """Whether it makes the run a quick one, whose model cannot be registered."""

    @property
    def key(self) -> str:
        return self.name.replace("-", "_")

    @property
    def default(self) -> bool | None:
        return False if self.kind == "switch" else None


def text_flag(description: str, **options: Any) -> Any:
    """Return the field of a flag that takes a text.

    Args:
        description: the flag's line in the help.
        options: ``in_run``, ``in_step`` and ``quick`` of ``ml_pipeline.stages.record.Flag``.
    """
    return _field(description, "text", options)


def path_flag(description: str, **options: Any) -> Any:
    """Return the field of a flag that takes a path; see ``text_flag``."""
    return _field(description, "path", options)


def integer_flag(description: str, **options: Any) -> Any:
    """Return the field of a flag that takes a whole number; see ``text_flag``."""
    return _field(description, "integer", options)


def switch_flag(description: str, **options: Any) -> Any:
    """Return the field of a flag that takes no value: it is set or not; see ``text_flag``."""
    return _field(description, "switch", options)


def _field(description: str, kind: Kind, options: Mapping[str, Any]) -> Any:
    default = False if kind == "switch" else None
    metadata = {"help": description, "kind": kind, **options}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass_transform(frozen_default=True)
def flag_set(declared: type[T]) -> type[T]:
    """Make a class of flags a frozen dataclass, without ``==`` and ``repr``: they cost start-up."""
    return dataclass(frozen=True, eq=False, repr=False)(declared)


@flag_set
class NoFlags:
    """The flags of a stage that has none."""


def flags_of(fields: type[Any]) -> tuple[Flag, ...]:
    """Return the flags that a dataclass declares; ``in_`` is ``--in``, ``max_epochs`` has ``-``."""
    return tuple(
        Flag(name=field.name.rstrip("_").replace("_", "-"), **field.metadata)
        for field in dataclasses.fields(fields)
    )


def values_of(fields: type[Any], options: Mapping[str, Any]) -> Any:
    """Return the dataclass with the values that ``options`` hold by the keys of its flags."""
    return fields(
        **{
            field.name: flag.default if options.get(flag.key) is None else options[flag.key]
            for field, flag in _pairs(fields)
        }
    )


def changed(flags: Any) -> dict[str, Any]:
    """Return the flags that are not left at their defaults, by key."""
    values = ((flag, getattr(flags, field.name)) for field, flag in _pairs(type(flags)))
    return {flag.key: value for flag, value in values if value != flag.default}


def _pairs(fields: type[Any]) -> list[tuple[dataclasses.Field[Any], Flag]]:
    return list(zip(dataclasses.fields(fields), flags_of(fields), strict=True))


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The record of a stage: everything known of it without running it."""

    name: str
    """As on the command line and in reports: ``load-test``; the Jenkins step is ``mlLoadTest``."""
    summary: str
    """What it does, as an imperative phrase without a full stop."""
    fails_when: str
    phase: Phase
    section: type[Any] | None = None
    """The model of a plug-in's own configuration, under ``stages.NAME`` of ``ml.yaml``; a stage of
    the table has its section in ``ml_pipeline.config``."""
    module: str = ""
    """Has ``run(context) -> Outcome`` and is imported when the stage runs. If left out,
    ``ml_pipeline.stages.NAME``."""
    flags: type[Any] = NoFlags
    """A ``flag_set``: a dataclass of ``text_flag``, ``path_flag``, ``integer_flag`` and
    ``switch_flag`` fields."""
    ci: Any = None
    """Its flags in ``run ci``; None if ``run ci`` leaves it out."""
    after: str = ""
    """The stage that a plug-in's one follows in ``run cd``; it is in no run if left out."""
    environment: bool = False
    """Whether it is run for one environment of ``ml.yaml``; ``staging`` in ``run cd``."""
    home: bool = False
    """Whether it writes to the home: registry, released bundles, history."""
    reads_home: bool = False
    """Whether it compares with what is in production, unless it is quick: another repository's home
    is refused then."""
    exclusive: bool = True
    """Whether no other stage may run in the same working folder meanwhile."""
    changes_production: bool = False
    profile_of: str = ""
    """The stage whose report says whether the run is a quick one; its own flags if left out."""
    writes: tuple[str, ...] = ()
    """Artefacts in the working folder, as patterns: other stages find by them who made a file."""
    stashes: tuple[str, ...] = ()
    """Those of them that Jenkins carries from agent to agent, beside reports; patterns."""
    reads: tuple[str, ...] | None = None
    """Stages whose stashed files it reads; None for all earlier ones."""
    needs: tuple[str, ...] = ()
    """Stages that must have run before it: a pipeline cannot leave them out."""
    credentials: tuple[str, ...] = ()
    """Types of credentials (jenkins/steps.yaml) that Jenkins binds around it."""
    engine: bool = False
    """Whether it reaches servers, and so needs the engine of a docker target."""
    engine_with: tuple[str, ...] = ()
    """Flags with which it needs that engine as well."""
    gate_requires_report: bool = False
    """Whether the gate passes only with a passed report of it."""
    required_key: str = ""
    """The key of ``ml.yaml`` that, set to false, makes that report advisory."""
    names_model: bool = True
    """Whether its report must say which model it is about."""

    def __post_init__(self) -> None:
        if not self.module:
            module = f"ml_pipeline.stages.{self.name.replace('-', '_')}"
            object.__setattr__(self, "module", module)

    @property
    def when_interrupted(self) -> str:
        """What is left of it then, and which command shows it."""
        if self.home:
            return "'ml-pipeline status' shows what is served now, and what to do"
        return "nothing was kept"

    def makes(self, artefact: str) -> bool:
        """Return whether it writes this path of the working folder."""
        return any(fnmatchcase(artefact, pattern) for pattern in self.writes)
