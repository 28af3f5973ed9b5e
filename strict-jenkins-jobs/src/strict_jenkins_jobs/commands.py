"""The commands ``check``, ``diff`` and ``update`` as functions.

Each returns an :class:`Outcome`: the lines that the program prints, and its exit code, which is 0
without findings or changes and 1 with some. Errors have an exit code of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from strict_jenkins_jobs import errors
from strict_jenkins_jobs import golden as golden_files
from strict_jenkins_jobs.builder import RenderedJobs, render
from strict_jenkins_jobs.errors import Refused, UsageError
from strict_jenkins_jobs.plan import Plan, apply, make_plan
from strict_jenkins_jobs.server import Server, access
from strict_jenkins_jobs.strict import Finding

FOLDER = Path("jobs")
"""The default folder of job definitions."""


@dataclass(frozen=True)
class Outcome:
    """The result of a command: lines to print, data for programs, and the exit code."""

    lines: tuple[str, ...]
    data: dict[str, Any] = field(default_factory=dict)
    exit_code: int = errors.PASS


def check(folder: Path = FOLDER, *, golden: Path | None = None, renew: bool = False) -> Outcome:
    """Check a folder of YAML strictly; with ``golden`` also compare the XML of its jobs.

    Needs no server. ``renew`` replaces the golden XML instead of comparing it.

    Raises:
        UsageError: the folder holds no YAML, jenkins-job-builder cannot make jobs of it, or there
            is nothing to renew or compare with.
    """
    rendered = render(folder)
    findings = list(rendered.findings)
    done = f"{_counts(rendered)} in {folder}"
    if renew:
        if golden is None:
            raise UsageError("--renew lacks --golden", expected="the folder of the golden XML")
        if not findings:
            done += f"; {golden_files.renew(rendered, golden)} golden files renewed"
    elif golden is not None:
        if not golden.is_dir():
            raise UsageError(f"no golden XML in {golden}", hint="make it with --renew")
        findings += golden_files.compare(rendered, golden)
    lines = [str(finding) for finding in findings]
    lines.append(
        f"{done}: {len(findings)} to correct" if findings else f"{done}: nothing to correct"
    )
    data = {
        "jobs": list(rendered.jobs),
        "views": list(rendered.views),
        "findings": [_as_json(finding) for finding in findings],
    }
    return Outcome(tuple(lines), data, Refused.exit_code if findings else errors.PASS)


def diff(environment: Mapping[str, str], folder: Path = FOLDER) -> Outcome:
    """Show what ``update`` would change on the server; exit code 1 if it would change anything.

    Raises:
        UsageError: ``check`` finds something, or the server does not accept the credentials.
        ServerError: the server does not answer.
    """
    rendered = _render_without_findings(folder)
    with Server(access(environment)) as server:
        server.check_access()
        plan = make_plan(rendered, server)
    code = Refused.exit_code if plan.changes else errors.PASS
    return Outcome(tuple(plan.lines()), plan.as_json(), code)


def update(
    environment: Mapping[str, str],
    folder: Path = FOLDER,
    *,
    say: Callable[[str], None],
    confirm: Callable[[str], bool] | None = None,
    yes: bool = False,
    delete: bool = False,
) -> Outcome:
    """Show the plan, ask for a confirmation, and apply it.

    Args:
        environment: has ``JENKINS_URL``, ``JENKINS_USER`` and ``JENKINS_TOKEN``.
        folder: the folder of YAML.
        say: prints a line: the plan before the confirmation, each step when it is done.
        confirm: asks a question; ``None`` without a terminal.
        yes: apply the plan without a confirmation.
        delete: also delete jobs that are no longer defined.

    Raises:
        Refused: the plan was not confirmed, a job of another kind has the name, or the server was
            changed since the plan was made.
        UsageError: as for ``diff``; or there is neither ``yes`` nor a terminal.
        ServerError: the server does not answer; completed steps remain, and update can be run
            again.
    """
    rendered = _render_without_findings(folder)
    with Server(access(environment)) as server:
        server.check_access()
        plan = make_plan(rendered, server)
        for line in plan.lines():
            say(line)
        todo = plan.of("create", "change", "conflict", *(("delete",) if delete else ()))
        if not todo:
            return Outcome(("nothing to do",), _with_steps_done(plan, []))
        _require_confirmation(len(todo), confirm, yes=yes)
        done: list[str] = []
        for step in apply(plan, server, delete=delete):
            done.append(step.name)
            say(f"done: {step.action} {step.kind} {step.name}")
    return Outcome((f"{len(done)} done",), _with_steps_done(plan, done))


def _require_confirmation(count: int, confirm: Callable[[str], bool] | None, *, yes: bool) -> None:
    if yes:
        return
    if confirm is None:
        raise UsageError(
            "nothing was changed: this plan was not confirmed",
            hint="run update in a terminal, or with --yes once the plan is right",
        )
    noun = "this change" if count == 1 else f"these {count} changes"
    if not confirm(f"Carry out {noun}?"):
        raise Refused("nothing was changed: the plan was not confirmed")


def _render_without_findings(folder: Path) -> RenderedJobs:
    rendered = render(folder)
    if rendered.findings:
        more = len(rendered.findings) - 1
        raise UsageError(
            f"{rendered.findings[0]}{f' (and {more} more)' if more else ''}",
            hint="'check' lists all findings",
        )
    return rendered


def _counts(rendered: RenderedJobs) -> str:
    jobs, views = len(rendered.jobs), len(rendered.views)
    return f"{jobs} job{'s' * (jobs != 1)} and {views} view{'s' * (views != 1)}"


def _with_steps_done(plan: Plan, done: list[str]) -> dict[str, Any]:
    return {**plan.as_json(), "done": done}


def _as_json(finding: Finding) -> dict[str, str]:
    return {
        "where": finding.where,
        "job": finding.job,
        "fault": finding.fault,
        "hint": finding.hint,
    }
