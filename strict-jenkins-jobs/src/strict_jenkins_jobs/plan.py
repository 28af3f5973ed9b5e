"""The plan of changes on the server, and its application.

jenkins-job-builder decides by a local cache and reconfigures jobs that need no change. Here each
configuration is read from the server and compared by meaning: a job that equals YAML is never sent,
and one that was changed by hand is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal
from xml.etree.ElementTree import Element

from strict_jenkins_jobs import configuration
from strict_jenkins_jobs.builder import RenderedJobs
from strict_jenkins_jobs.errors import Refused
from strict_jenkins_jobs.server import Server

Kind = Literal["job", "view"]
Action = Literal["create", "change", "delete", "unchanged", "conflict", "foreign"]

SIGNS: dict[Action, str] = {
    "create": "+",
    "change": "~",
    "delete": "-",
    "unchanged": "=",
    "conflict": "!",
    "foreign": "?",
}
MAX_REASONS = 10
"""Differences of one job that a plan prints; the rest is counted."""


@dataclass(frozen=True)
class Step:
    """What is to be done with one job or view, and why."""

    kind: Kind
    name: str
    action: Action
    reasons: tuple[str, ...] = ()
    xml: str = ""
    """What would be sent."""

    on_server: str | None = None
    """What was on the server when the plan was made."""

    def lines(self) -> Iterator[str]:
        yield f"{SIGNS[self.action]} {self.action:<9} {self.kind} {self.name}"
        for reason in self.reasons[:MAX_REASONS]:
            yield f"    {reason}"
        if len(self.reasons) > MAX_REASONS:
            yield f"    and {len(self.reasons) - MAX_REASONS} more"


@dataclass(frozen=True)
class Plan:
    """Every job and view that YAML defines, and what else lies in its folders."""

    steps: tuple[Step, ...]

    def of(self, *actions: Action) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.action in actions)

    @property
    def changes(self) -> bool:
        """Whether the server differs from what YAML says."""
        return any(step.action not in ("unchanged", "foreign") for step in self.steps)

    def lines(self) -> list[str]:
        shown = [step for step in self.steps if step.action != "unchanged"]
        return [*(line for step in shown for line in step.lines()), self.summary()]

    def summary(self) -> str:
        counts = {action: len(self.of(action)) for action in SIGNS}
        parts = [f"{count} {action}" for action, count in counts.items() if count]
        return f"plan: {', '.join(parts) or 'nothing is defined'}"

    def as_json(self) -> dict[str, Any]:
        steps = [
            {
                "kind": step.kind,
                "name": step.name,
                "action": step.action,
                "reasons": list(step.reasons),
            }
            for step in self.steps
        ]
        return {"changes": self.changes, "summary": self.summary(), "steps": steps}


def make_plan(rendered: RenderedJobs, server: Server) -> Plan:
    """Compare what YAML defines with what is on the server; nothing is changed."""
    jobs = [_plan_one("job", name, xml, server.job(name)) for name, xml in rendered.jobs.items()]
    views = [
        _plan_one("view", name, xml, server.view(name)) for name, xml in rendered.views.items()
    ]
    return Plan((*jobs, *views, *_undefined_in_folders(rendered, server)))


def _plan_one(kind: Kind, name: str, xml: str, on_server: str | None) -> Step:
    if on_server is None:
        return Step(kind, name, "create", (), xml)
    in_yaml, present = configuration.parse(xml, name), configuration.parse(on_server, name)
    if in_yaml.tag != present.tag:
        kinds = f"{_class_name(present)}, YAML defines a {_class_name(in_yaml)}"
        reason = f"the server has a {kinds}"
        return Step(kind, name, "conflict", (reason, "rename or delete it on the server first"))
    merged = configuration.merged(in_yaml, present)
    different = configuration.differences(present, merged)
    if not different:
        return Step(kind, name, "unchanged", on_server=on_server)
    text = configuration.text_of(merged)
    return Step(kind, name, "change", tuple(map(str, different)), text, on_server)


def _undefined_in_folders(rendered: RenderedJobs, server: Server) -> Iterator[Step]:
    """Yield what lies in the folders that YAML defines without being defined itself."""
    folders = [
        name
        for name, xml in rendered.jobs.items()
        if configuration.parse(xml, name).tag == configuration.FOLDER
    ]
    for folder in folders:
        for name in server.content(folder):
            on_server = None if name in rendered.jobs else server.job(name)
            if on_server is None:
                continue
            root = configuration.parse(on_server, name)
            if not configuration.is_managed(root):
                yield Step("job", name, "foreign", ("not made from YAML; left alone",))
                continue
            also = " and everything in it" if root.tag in configuration.FOLDERS else ""
            reason = f"no longer in YAML; --delete removes it{also}, builds included"
            yield Step("job", name, "delete", (reason,), on_server=on_server)


def apply(plan: Plan, server: Server, *, delete: bool = False) -> Iterator[Step]:
    """Do what the plan says, parents first, and yield each step when it is done.

    Jobs that are no longer defined are deleted only with ``delete``.

    Raises:
        Refused: a job of another kind has the name, before anything is changed; or the server was
            changed since the plan was made.
    """
    if conflicts := plan.of("conflict"):
        names = ", ".join(f"'{step.name}'" for step in conflicts)
        raise Refused(f"{names}: {conflicts[0].reasons[0]}", hint=conflicts[0].reasons[1])
    for step in sorted(plan.of("create", "change"), key=lambda step: step.name.count("/")):
        _check_unchanged(step, server)
        if step.kind == "job":
            act = server.create_job if step.action == "create" else server.change_job
        else:
            act = server.create_view if step.action == "create" else server.change_view
        act(step.name, step.xml)
        yield step
    for step in plan.of("delete") if delete else ():
        _check_unchanged(step, server)
        server.delete_job(step.name)
        yield step


def _check_unchanged(step: Step, server: Server) -> None:
    now = server.job(step.name) if step.kind == "job" else server.view(step.name)
    if now != step.on_server:
        raise Refused(
            f"{step.kind} '{step.name}' changed on the server since the plan was made",
            hint="look at a new plan",
        )


def _class_name(root: Element) -> str:
    return root.tag.rsplit(".", 1)[-1]
