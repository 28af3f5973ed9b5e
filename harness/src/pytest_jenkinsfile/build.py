"""What a run gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class Stage:
    """A stage in the order of its start; ``status`` is a result, or ``SKIPPED``."""

    name: str
    status: str
    parents: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """A step that was called; ``library`` tells a library's variable from a step of Jenkins."""

    name: str
    arguments: Any
    stage: str | None
    branch: str | None
    container: str | None
    node: str | None
    library: bool
    error: str | None


@dataclass(frozen=True)
class Build:
    """One build, as Jenkins would show it.

    ``result`` is None when it still waits at the prompt ``waits_at``. ``refusals`` are the answers
    that the prompt did not take (HTTP 400). ``branches`` tells the parallel branch of each line of
    the console. ``builds`` are all builds of the run, this one too, and ``unanswered`` the prompts
    in them that no answer matched.
    """

    job: str
    number: int
    result: str | None
    description: str | None
    waits_at: str | None
    display_name: str
    console: list[str] = field(repr=False)
    branches: list[str | None] = field(repr=False)
    stages: list[Stage] = field(repr=False)
    steps: list[Step] = field(repr=False)
    artifacts: dict[str, Path] = field(repr=False)
    properties: Any = field(repr=False)
    mismatches: list[str] = field(repr=False)
    refusals: list[Mapping[str, Any]] = field(repr=False)
    gaps: list[str] = field(repr=False)
    builds: tuple[Build, ...] = field(default=(), repr=False, compare=False)
    unanswered: tuple[str, ...] = field(default=(), repr=False)

    @property
    def text(self) -> str:
        return "\n".join(self.console)

    @property
    def echoes(self) -> list[str]:
        """The messages of ``echo`` in their order."""
        return [str(step.arguments.get("message")) for step in self.steps if step.name == "echo"]

    def stage(self, name: str) -> Stage:
        """Return the last stage of this name.

        Raises:
            KeyError: there was none.
        """
        for stage in reversed(self.stages):
            if stage.name == name:
                return stage
        raise KeyError(f"no stage {name!r}; there were {[stage.name for stage in self.stages]}")

    def calls(self, name: str) -> list[Step]:
        """Return the calls of a step or of a library's variable."""
        return [step for step in self.steps if step.name == name]

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> Self:
        names = {stage["id"]: stage["name"] for stage in given["stages"]}
        return cls(
            job=given["job"],
            number=given["number"],
            result=given["result"],
            console=list(given["console"]),
            branches=list(given["branches"]),
            stages=[
                Stage(
                    stage["name"],
                    stage["status"],
                    tuple(names[parent] for parent in stage["parents"]),
                )
                for stage in given["stages"]
            ],
            steps=[
                Step(**{**step, "stage": names.get(step["stage"]), "error": step.get("error")})
                for step in (_with_defaults(step) for step in given["steps"])
            ],
            description=given["description"],
            display_name=given["displayName"],
            artifacts={entry["path"]: Path(entry["file"]) for entry in given["archived"]},
            properties=given["properties"],
            mismatches=list(given["mismatches"]),
            refusals=list(given["refusals"]),
            gaps=list(given["gaps"]),
            waits_at=given["waitsAt"],
        )


def _with_defaults(step: Mapping[str, Any]) -> dict[str, Any]:
    return {"container": None, "node": None, "error": None, "stage": None, "branch": None, **step}
