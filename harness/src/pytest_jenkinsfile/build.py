"""The result of a run: builds with stages and steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class Stage:
    """A stage; ``status`` is a result, or ``SKIPPED``."""

    name: str
    status: str
    parents: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """A call of a step, or of a variable of a shared library if ``library`` is true."""

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

    ``result`` is None while the build waits at the prompt ``pending_input``.
    ``refused_submissions`` are the submitted forms that a prompt refused, with HTTP status.
    ``branches`` has the parallel branch of each line of ``console``. ``builds`` are all builds of
    the run including this one, and ``unanswered_inputs`` the prompts in them that no answer
    matched. ``cps_mismatches`` are the CPS method mismatches that the console warns about, and
    ``unsupported`` the features that the harness lacks; with either ``Jenkins.run`` raises by
    default.
    """

    job: str
    number: int
    result: str | None
    description: str | None
    pending_input: str | None
    display_name: str
    console: list[str] = field(repr=False)
    branches: list[str | None] = field(repr=False)
    stages: list[Stage] = field(repr=False)
    steps: list[Step] = field(repr=False)
    artifacts: dict[str, Path] = field(repr=False)
    properties: Any = field(repr=False)
    cps_mismatches: list[str] = field(repr=False)
    refused_submissions: list[Mapping[str, Any]] = field(repr=False)
    unsupported: list[str] = field(repr=False)
    builds: tuple[Build, ...] = field(default=(), repr=False, compare=False)
    unanswered_inputs: tuple[str, ...] = field(default=(), repr=False)

    @property
    def text(self) -> str:
        return "\n".join(self.console)

    @property
    def echoes(self) -> list[str]:
        """The messages of ``echo``, in order."""
        return [str(step.arguments.get("message")) for step in self.steps if step.name == "echo"]

    def stage(self, name: str) -> Stage:
        """Return the last stage with this name.

        Raises:
            KeyError: there is none.
        """
        for stage in reversed(self.stages):
            if stage.name == name:
                return stage
        raise KeyError(f"no stage {name!r}; the stages are {[stage.name for stage in self.stages]}")

    def calls(self, name: str) -> list[Step]:
        """Return the calls of a step, or of a variable of a library."""
        return [step for step in self.steps if step.name == name]

    @classmethod
    def from_engine(cls, record: Mapping[str, Any]) -> Self:
        """Return the build that the engine describes."""
        names = {stage["id"]: stage["name"] for stage in record["stages"]}
        return cls(
            job=record["job"],
            number=record["number"],
            result=record["result"],
            console=list(record["console"]),
            branches=list(record["branches"]),
            stages=[
                Stage(
                    stage["name"],
                    stage["status"],
                    tuple(names[parent] for parent in stage["parents"]),
                )
                for stage in record["stages"]
            ],
            steps=[
                Step(**{**step, "stage": names.get(step["stage"]), "error": step.get("error")})
                for step in (_with_defaults(step) for step in record["steps"])
            ],
            description=record["description"],
            display_name=record["displayName"],
            artifacts={entry["path"]: Path(entry["file"]) for entry in record["archived"]},
            properties=record["properties"],
            cps_mismatches=list(record["cpsMismatches"]),
            refused_submissions=list(record["refusedSubmissions"]),
            unsupported=list(record["unsupported"]),
            pending_input=record["pendingInput"],
        )


def _with_defaults(step: Mapping[str, Any]) -> dict[str, Any]:
    return {"container": None, "node": None, "error": None, "stage": None, "branch": None, **step}
