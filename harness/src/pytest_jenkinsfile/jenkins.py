"""Runs a Jenkinsfile: ``with Jenkins(library='.') as jenkins: jenkins.run('Jenkinsfile')``."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from pytest_jenkinsfile import scenario as scenarios
from pytest_jenkinsfile import yaml_documents
from pytest_jenkinsfile.answers import Answers, PromptAnswers
from pytest_jenkinsfile.build import Build
from pytest_jenkinsfile.engine import Engine
from pytest_jenkinsfile.errors import CpsMismatch, NotInHarness, UsageError
from pytest_jenkinsfile.shell import Shell, ShellAnswers

Library = str | Path | Mapping[str, str | Path]
Scm = str | Path | Mapping[str, str]
Mode = Literal["scripted", "live"]


class Jenkins:
    """A Jenkins without a controller; owns one Java process for all its runs.

    Args:
        library: the folder of a shared library (``vars``, ``src``, ``resources``), or several by
            name. They are trusted, as global libraries are.
        implicit: whether scripts see the library without ``@Library``.
        plugins: optional plugins that are installed, such as ``pipeline-utility-steps``.
    """

    def __init__(
        self,
        library: Library | None = None,
        *,
        implicit: bool = True,
        plugins: Iterable[str] = (),
    ) -> None:
        self._library = library
        self._implicit = implicit
        self._plugins = list(plugins)
        self._engine = Engine()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._runs = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the Java process and remove the workspaces of all runs."""
        self._engine.close()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def run(
        self,
        script: str | Path,
        *,
        mode: Mode = "scripted",
        branch: str | None = None,
        tag: str | None = None,
        primary: str = "main",
        fork: str | None = None,
        author: str = "dev",
        parameters: Mapping[str, str | bool] | None = None,
        env: Mapping[str, str] | None = None,
        answers: Answers | None = None,
        approve_as: str | None = None,
        sh: Shell | None = None,
        steps: Mapping[str, Any] | None = None,
        credentials: Mapping[str, Mapping[str, str]] | None = None,
        plugins: Iterable[str] | None = None,
        library: Library | None = None,
        implicit: bool | None = None,
        scm: Scm | None = None,
        repositories: Mapping[str, Scm] | None = None,
        jobs: Mapping[str, str] | None = None,
        agents: Mapping[str, Sequence[str]] | Literal["any"] | None = None,
        executors: int = 2,
        resources: Mapping[str, Sequence[str]] | None = None,
        mail_server: bool = False,
        groups: Mapping[str, Sequence[str]] | None = None,
        administrators: Sequence[str] = ("admin",),
        started_by: str = "admin",
        cause: str | list[Mapping[str, str]] = "user",
        restart_from: str | None = None,
        replay_with: str | Path | None = None,
        changes: Sequence[Any] = (),
        job: str = "job",
        builds: int = 1,
        starts: Sequence[float] | None = None,
        restart_everywhere: bool | None = None,
        sandbox: bool | None = None,
        clock: Literal["jump", "real"] | None = None,
        tools: Mapping[str, Sequence[str] | Mapping[str, str | None]] | None = None,
        poll_limit: float = 86_400,
        mismatches: Literal["fail", "warn"] = "fail",
        on_line: Callable[[str], None] | None = None,
        folder: Path | None = None,
    ) -> Build:
        """Run a script and return its (last) build.

        ``script`` is a Jenkinsfile's path, or its text. Further:

        - ``mode``: ``scripted``: the scenario answers ``sh``; ``live``: it really runs.
        - ``branch`` (or pull request, ``PR-7``), ``tag``: of a multibranch job, whose main branch
          is ``primary``; ``fork`` and ``author`` are the pull request's.
        - ``parameters``, ``env``: of the build, and variables of the controller.
        - ``answers``: who answers prompts, a list or a function of the prompt; ``approve_as``
          approves what the list leaves open. ``groups``, ``administrators``, ``started_by``: who
          belongs where.
        - ``sh``: in scripted mode, what commands give: a function, or replies by regular
          expression. ``steps``: answers (a value, or a function of the arguments) by step.
        - ``credentials``: by id, each with ``secret``, ``username`` and ``password``, ``file`` or
          ``key``. ``plugins``, ``library``, ``implicit``: others than those of this object.
          ``tools``: names of installations by type, ``{"maven": ["M3"]}``, or with their homes.
        - ``scm``: what ``checkout scm`` brings: a folder, or files by path; ``repositories``: the
          same by the address that ``git`` and ``checkout`` name. ``changes``: commits
          since the build before, ``{"message": …, "paths": […]}``, or whole change sets.
          ``jobs``: scripts of other jobs that ``build`` starts.
        - ``agents``: labels by agent, each with ``executors``; by default one, ``built-in``,
          without labels; ``"any"``: one that every label expression fits. Of several that fit, the
          one used longest ago is taken: files do not travel by luck.
          ``resources``: labels by lockable resource of the controller; ``lock`` makes others.
        - ``builds``: how many, one after the other; ``starts``: the seconds at which they start
          beside each other. ``cause`` of the last one: ``user``, ``scm``, ``indexing``, ``timer``,
          ``replay``, ``restart`` or the causes themselves; ``restart_from`` restarts the build
          before it at a stage; ``replay_with`` is the changed script of a replay.
        - ``restart_everywhere``: reload the program at every step (default in scripted mode).
        - ``sandbox``: whether the script is untrusted (default for branches and tags).
        - ``clock``: ``jump`` passes over waits (default in scripted mode), ``real`` sleeps.
          ``poll_limit``: the seconds after which a ``waitUntil`` that stays false is refused.
        - ``mismatches``: ``warn`` prints CPS mismatches as Jenkins does, and goes on.
        - ``on_line`` gets the console as it comes; ``folder`` keeps workspaces and archived files.

        Raises:
            CpsMismatch: code that is not CPS called CPS code.
            NotInHarness: the script needs what this harness lacks.
            HarnessError: the engine failed, or the scenario lacks an answer.
        """
        text, path = _script(script)
        self._runs += 1
        root = folder or self._new_folder()
        installed = self._plugins if plugins is None else list(plugins)
        answered = dict(steps or {})
        multibranch = scenarios.multibranch(branch, tag, primary, fork, author)
        usual = scenarios.causes("user", started_by, branch)
        last = "restart" if restart_from is not None and cause == "user" else cause
        reload = mode == "scripted" if restart_everywhere is None else restart_everywhere
        real = mode == "live" if clock is None else clock == "real"
        given = dict(parameters or {})
        times: list[float | None] = list(starts) if starts is not None else [None] * builds
        started = scenarios.causes(last, started_by, branch, max(1, len(times) - 1), restart_from)
        changed = {} if replay_with is None else {"script": _script(replay_with)[0]}
        order = {
            "root": str(root),
            "job": scenarios.job_name(job, branch, tag),
            "script": text,
            "libraries": _libraries(self._library if library is None else library),
            "implicit": self._implicit if implicit is None else implicit,
            "mode": mode,
            "reload": reload,
            "clock": "real" if real else "jump",
            "sandbox": bool(multibranch) if sandbox is None else sandbox,
            "branch": tag or branch,
            "branchEnvironment": multibranch,
            "environment": dict(env or {}),
            "agentEnvironment": scenarios.agent_variables(mode),
            "credentials": {name: dict(value) for name, value in (credentials or {}).items()},
            "credentialsUnknown": credentials is None and mode == "live",
            "plugins": installed,
            "steps": list(answered),
            "scm": _scm(scm, path, bool(multibranch), mode),
            "repositories": {url: _source(one) for url, one in (repositories or {}).items()},
            "scmUrl": "http://scm.example/repository.git",
            "jobs": dict(jobs or {}),
            "agents": _agents(agents),
            "anyLabel": agents == "any",
            "pollLimit": poll_limit,
            "tools": _tools(tools),
            "executors": executors,
            "resources": {name: list(labels) for name, labels in (resources or {}).items()},
            "mailServer": mail_server,
            "groups": {name: list(members) for name, members in (groups or {}).items()},
            "administrators": list(administrators),
            "changes": list(changes),
            "stream": on_line is not None,
            "builds": [{"at": time, "causes": usual, "parameters": given} for time in times[:-1]]
            + [
                {
                    "at": times[-1],
                    "causes": started,
                    "parameters": given,
                    "restartFrom": restart_from,
                    **changed,
                }
            ],
        }
        shell = ShellAnswers(sh)
        prompts = PromptAnswers(answers, approve_as)

        def step(request: Mapping[str, Any]) -> Mapping[str, Any]:
            value = answered[request["name"]]
            return {"value": value(request["arguments"]) if callable(value) else value}

        def line(message: Mapping[str, Any]) -> Mapping[str, Any]:
            if on_line is not None:
                on_line(message["line"])
            return {}

        done = self._engine.run(
            order,
            {
                "sh": shell.answer,
                "input": prompts.answer,
                "step": step,
                "yaml": yaml_documents.answer,
            },
            line,
        )
        read = [Build.read(one) for one in done]
        build = _checked(read, path, order["job"], len(times), mismatches)
        return dataclasses.replace(build, unanswered=tuple(prompts.unanswered))

    def _new_folder(self) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="jenkinsfile-")
        return Path(self._folder.name) / f"run-{self._runs}"


def _checked(
    builds: list[Build],
    script: Path | None,
    job: str,
    asked: int,
    mismatches: Literal["fail", "warn"],
) -> Build:
    for build in builds:
        if build.gaps:
            gap = build.gaps[0]
            if script is not None and gap.startswith("WorkflowScript:"):
                gap = f"{script}{gap.removeprefix('WorkflowScript')}"
            raise NotInHarness(gap)
        if build.mismatches and mismatches == "fail":
            raise CpsMismatch("\n".join(build.mismatches))
    own = [build for build in builds if build.job == job]
    triggered = {one.number for one in own if _by_upstream(one)}
    wanted = [build for build in own if build.number not in triggered][:asked]
    return dataclasses.replace(wanted[-1], builds=tuple(builds))


def _by_upstream(build: Build) -> bool:
    return bool(build.console) and build.console[0].startswith("Started by upstream project")


def _script(script: str | Path) -> tuple[str, Path | None]:
    if isinstance(script, str) and ("\n" in script or not Path(script).is_file()):
        if not any(mark in script for mark in "\n({'\""):
            raise UsageError(f"there is no script {script!r}")
        return script, None
    path = Path(script)
    return path.read_text(encoding="utf-8"), path


def _agents(agents: Mapping[str, Sequence[str]] | str | None) -> dict[str, list[str]]:
    if agents is None or isinstance(agents, str):
        return {"built-in": []}
    return {name: list(labels) for name, labels in agents.items()}


def _tools(
    tools: Mapping[str, Sequence[str] | Mapping[str, str | None]] | None,
) -> dict[str, dict[str, str | None]]:
    return {
        kind: dict(names) if isinstance(names, Mapping) else dict.fromkeys(names)
        for kind, names in (tools or {}).items()
    }


def _libraries(library: Library | None) -> dict[str, str]:
    if library is None:
        return {}
    if isinstance(library, Mapping):
        return {name: str(Path(path).resolve()) for name, path in library.items()}
    return {"*": str(Path(library).resolve())}


def _source(given: Scm) -> dict[str, Any]:
    if isinstance(given, Mapping):
        return {"files": dict(given)}
    return {"folder": str(Path(given).resolve())}


def _scm(scm: Scm | None, path: Path | None, multibranch: bool, mode: Mode) -> Any:
    if scm is not None:
        return _source(scm)
    if multibranch and mode == "live" and path is not None:
        return {"folder": str(path.resolve().parent)}
    return {"commit": "0" * 40} if multibranch else None
