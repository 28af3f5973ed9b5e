"""Runs of the project's formatters and linters, judged by their exit codes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ml_pipeline.config import Project
from ml_pipeline.core.errors import EnvironmentFault, UsageError
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.core.workdir import Workdir
from ml_pipeline.project.isolation import IsolatedCopy, isolated_copy
from ml_pipeline.project.lint_findings import Finding, read_findings
from ml_pipeline.project.protected_files import Protected
from ml_pipeline.project.pytest_runner import Case, tail, write_junit

SHOWN = 5
"""Findings in the message of a check; JUnit has all."""


@dataclass(frozen=True)
class CommandResult:
    """The result of one command."""

    command: tuple[str, ...]
    exit_code: int
    findings: list[Finding]
    tail: str
    rewritten: tuple[str, ...] = ()
    """Files that it changed in the copy of the project."""

    @property
    def name(self) -> str:
        words = [word for word in self.command if not word.startswith("-") and word != "."]
        return " ".join(words[:2])

    @property
    def passed(self) -> bool:
        return self.exit_code == 0


def lint(
    project: Project,
    workdir: Workdir,
    started: Callable[[str, float], None],
    protected: Protected | None = None,
) -> list[CommandResult]:
    """Run every command of ``lint.commands`` in a copy of the project, without a shell.

    The exit code decides. Files that a command changes in the copy are discarded; files of
    ``protected`` that it changes are listed in ``protected.changed``.
    Writes ``junit/lint.xml`` with a case for each finding, with file and line.

    Raises:
        UsageError: a command is not installed.
        EnvironmentFault: a command cannot be started.
    """
    commands = project.config.lint.commands
    protected = protected or Protected(project, workdir)
    for command in commands:
        _program(command[0], project.root)  # all exist before the first one runs
    results = []
    with isolated_copy(protected) as place:
        for number, command in enumerate(commands):
            started(" ".join(command), number / len(commands))
            results.append(_run(command, place, protected))
    write_junit(
        [case for result in results for case in _cases(result)], "lint", workdir / "junit/lint.xml"
    )
    return results


def check_of_command(result: CommandResult) -> Check:
    """Return the check of one command, with the first findings."""
    if result.passed:
        observed: str = "no findings"
        why = _rewritten_files_message(result.rewritten)
    elif result.findings:
        count = len(result.findings)
        observed = f"{count} finding{'s' if count > 1 else ''}"
        why = "; ".join(str(finding) for finding in result.findings[:SHOWN])
        if count > SHOWN:
            why += f"; and {count - SHOWN} more"
    else:
        observed = f"exit code {result.exit_code}"
        why = f"'{' '.join(result.command)}' ended with exit code {result.exit_code}: {result.tail}"
    return Check(
        name=result.name,
        verdict=Verdict.PASS if result.passed else Verdict.FAIL,
        observed=observed,
        expected=f"exit code 0 of '{' '.join(result.command)}'",
        why=why,
    )


def _rewritten_files_message(rewritten: Sequence[str]) -> str:
    if not rewritten:
        return ""
    named = ", ".join(rewritten[:SHOWN]) + (" and more" if len(rewritten) > SHOWN else "")
    return (
        f"changed {named} in a copy of the project, which is discarded: run it in the project and "
        "commit, or let it only check (--check)"
    )


def _search_path() -> str:
    """Return PATH with the folder of this Python first, to prefer tools of this environment."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def _program(name: str, root: Path) -> str:
    found = shutil.which(str(root / name) if os.sep in name else name, path=_search_path())
    if found is None:
        install = "make it executable, or" if os.sep in name else f"'pip install {name}', or"
        raise UsageError(
            f"lint.commands: '{name}' is not installed", hint=f"{install} change lint.commands"
        )
    return found


def _run(command: Sequence[str], place: IsolatedCopy, protected: Protected) -> CommandResult:
    program = _program(command[0], place.root)
    environment = dict(place.environment)
    environment.pop("FORCE_COLOR", None)
    caches = {
        "RUFF_CACHE_DIR": str(place.out / ".ruff_cache"),
        "MYPY_CACHE_DIR": str(place.out / ".mypy_cache"),
    }
    before = _stamps(place.root)
    try:
        with protected.detect_changes():
            done = subprocess.run(
                place.command([program, *map(place.path_in_copy, command[1:])]),
                cwd=place.root,
                env=caches | environment | {"NO_COLOR": "1", "PATH": _search_path()},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
            )
    except OSError as error:
        raise EnvironmentFault(f"'{' '.join(command)}' cannot be started: {error}") from None
    out, err = (
        place.with_original_paths(stream.decode(errors="replace"))
        for stream in (done.stdout, done.stderr)
    )
    found = read_findings(out, place.original) + read_findings(err, place.original)
    after = _stamps(place.root)
    rewritten = tuple(name for name in sorted(before) if after.get(name) != before[name])
    return CommandResult(tuple(command), done.returncode, found, tail(f"{out}\n{err}"), rewritten)


def _stamps(root: Path) -> dict[str, tuple[int, int]]:
    """Return size and modification time of every file of the copy except git's."""
    found = {}
    for here, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name != ".git"]
        for name in files:
            path = Path(here, name)
            stat = path.lstat()
            found[path.relative_to(root).as_posix()] = (stat.st_size, stat.st_mtime_ns)
    return found


def _cases(result: CommandResult) -> list[Case]:
    if result.passed:
        return [Case(result.name, "passed")]
    if not result.findings:
        check = check_of_command(result)
        return [Case(result.name, "failed", check.why.splitlines()[0], check.why)]
    return [
        Case(
            name=f"{result.name}: {finding.file}" + (f":{finding.line}" if finding.line else ""),
            outcome="failed",
            why=f"{finding.code} {finding.message}".strip(),
            text=str(finding),
            file=finding.file,
            line=finding.line,
        )
        for finding in result.findings
    ]
