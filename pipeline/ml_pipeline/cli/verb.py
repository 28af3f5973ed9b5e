"""A verb of the command line: its record, from which the parser is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_pipeline.stages.record import NoFlags, flag_set, path_flag, switch_flag, text_flag

if TYPE_CHECKING:
    from ml_pipeline.cli.call import Call


@flag_set
class CommonFlags:
    """The flags that every verb takes."""

    project: str | None = path_flag("the folder of ml.yaml; the nearest upwards if left out")
    policy: str | None = path_flag("a policy that tightens that of the administrators")
    run_id: str | None = text_flag("the name of this run in its reports")
    json: bool = switch_flag("print the report as JSON")


@dataclass(frozen=True)
class Word:
    """A word behind the verb that is no flag."""

    name: str
    choices: tuple[str, ...] | None = None
    optional: bool = False


ENVIRONMENT = Word("environment", optional=True)
"""A verb that needs one says which there are, so the parser does not demand it."""


@dataclass(frozen=True, kw_only=True)
class Verb:
    """What ``ml-pipeline NAME`` takes and does."""

    name: str
    summary: str
    """As an imperative phrase without a full stop."""
    run: Callable[[Call[Any]], int]
    """Returns the exit code."""
    flags: type[Any] = NoFlags
    words: tuple[Word, ...] = ()
    description: str = ""
    """Of its help page; the summary if left out."""
    parses_itself: bool = False
    """Whether ``run`` gets every word behind the verb as it stands."""
