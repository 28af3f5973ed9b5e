"""Runs Jenkinsfiles: ``with Jenkins(library='.') as jenkins: jenkins.run('Jenkinsfile')``."""

from __future__ import annotations

import dataclasses
import re
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
from pytest_jenkinsfile.errors import CpsMismatch, UnsupportedError, UsageError
from pytest_jenkinsfile.shell import Shell, ShellReplies

Library = str | Path | Mapping[str, str | Path]
Scm = str | Path | Mapping[str, str]
Mode = Literal["scripted", "live"]


class Jenkins:
    """Runs scripts as Jenkins would, without a controller, in one Java process.

    Args:
        library: the folder of a shared library (``vars``, ``src``, ``resources``), or several by
            name. They are trusted, as global libraries are.
        implicit: whether the library is loaded without ``@Library``.
        plugins: installed plugins beyond those that Jenkins suggests, such as
            ``pipeline-utility-steps``.
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
        jobs: Mapping[str, str | Mapping[str, str]] | None = None,
        agents: Mapping[str, Sequence[str]] | Literal["any"] | None = None,
        executors: int = 2,
        resources: Mapping[str, Sequence[str]] | None = None,
        mail_server: bool = False,
        groups: Mapping[str, Sequence[str]] | None = None,
        administrators: Sequence[str] = ("admin",),
        started_by: str = "admin",
        cause: str | list[Mapping[str, Any]] = "user",
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
        cps_mismatches: Literal["fail", "warn"] = "fail",
        on_line: Callable[[str], None] | None = None,
        folder: Path | None = None,
    ) -> Build:
        """Run a script and return its last build.

        ``script`` is the path of a Jenkinsfile, or its text. The other arguments:

        - ``mode``: in ``scripted`` mode ``sh`` is stubbed; in ``live`` mode commands run.
        - ``branch`` (or pull request, ``PR-7``), ``tag``: of a multibranch job with the main branch
          ``primary``; ``fork`` and ``author`` are those of the pull request.
        - ``parameters``: of the build. ``env``: variables of the controller.
        - ``answers``: answers to prompts, a list or a function of the prompt; ``approve_as``: the
          user who approves prompts without an answer. ``groups``: members by group.
          ``administrators``, ``started_by``: users.
        - ``sh``: results of commands in scripted mode: a function, or replies by regular
          expression. ``steps``: stubs by step: a return value, or a function of the arguments.
        - ``credentials``: by id, each with ``secret``, ``username`` and ``password``, ``file`` or
          ``key``. ``tools``: names of installations by type, ``{"maven": ["M3"]}``, or with their
          homes. ``plugins``, ``library``, ``implicit``: override those of this object.
        - ``scm``: the source for ``checkout scm``: a folder, or files by path. ``repositories``:
          likewise, by the address that ``git`` and ``checkout`` name. ``changes``: commits since
          the previous build, ``{"message": …, "paths": […]}``, or change sets. ``jobs``: scripts
          of other jobs that ``build`` starts, by name; ``{"script": …, "branch": …}`` for the job
          of a branch.
        - ``agents``: labels by agent, each with ``executors``; by default the agent ``built-in``
          without labels. ``"any"``: one agent that matches every label expression. Of several
          matching agents the least recently used one is allocated, so a script that depends on
          files of an earlier ``node`` block fails. ``resources``: labels by lockable resource;
          ``lock`` creates others.
        - ``builds``: number of builds, one after the other. ``starts``: start times in seconds of
          concurrent builds. ``cause`` of the last one: ``user``, ``scm``, ``indexing``, ``timer``,
          ``replay``, ``restart`` or a list of causes. ``restart_from``: the stage from which the
          previous build is restarted. ``replay_with``: the changed script of a replay.
        - ``restart_everywhere``: reload the program at every step (default in scripted mode).
        - ``sandbox``: whether the script is untrusted (default for branches and tags).
        - ``clock``: ``jump`` skips waits (default in scripted mode), ``real`` sleeps.
          ``poll_limit``: seconds after which a ``waitUntil`` that stays false is an error.
        - ``cps_mismatches``: with ``warn`` CPS mismatches are logged as in Jenkins.
        - ``on_line``: is called with each line of the console. ``folder``: keeps workspaces and
          archived files.

        Raises:
            CpsMismatch: non-CPS code called CPS code.
            UnsupportedError: the script uses a feature that this harness does not support.
            HarnessError: the engine failed, or the scenario has no reply to a command.
        """
        text, path = _script(script)
        self._runs += 1
        root = folder or self._new_folder()
        installed = self._plugins if plugins is None else list(plugins)
        stubs = dict(steps or {})
        multibranch = scenarios.multibranch(branch, tag, primary, fork, author)
        default_causes = scenarios.causes("user", started_by, branch)
        last_cause = "restart" if restart_from is not None and cause == "user" else cause
        reload = mode == "scripted" if restart_everywhere is None else restart_everywhere
        real = mode == "live" if clock is None else clock == "real"
        values = dict(parameters or {})
        times: list[float | None] = list(starts) if starts is not None else [None] * builds
        last_causes = scenarios.causes(
            last_cause, started_by, branch, max(1, len(times) - 1), restart_from
        )
        replayed = {} if replay_with is None else {"script": _script(replay_with)[0]}
        scenario = {
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
            "steps": list(stubs),
            "scm": _scm(scm, path, bool(multibranch), mode),
            "repositories": {url: _source(one) for url, one in (repositories or {}).items()},
            "scmUrl": "http://scm.example/repository.git",
            "jobs": {
                name: scenarios.job(one, primary, author) for name, one in (jobs or {}).items()
            },
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
            "builds": [
                {"at": time, "causes": default_causes, "parameters": values} for time in times[:-1]
            ]
            + [
                {
                    "at": times[-1],
                    "causes": last_causes,
                    "parameters": values,
                    "restartFrom": restart_from,
                    **replayed,
                }
            ],
        }
        shell = ShellReplies(sh)
        prompts = PromptAnswers(answers, approve_as)

        def step(request: Mapping[str, Any]) -> Mapping[str, Any]:
            value = stubs[request["name"]]
            return {"value": value(request["arguments"]) if callable(value) else value}

        def line(message: Mapping[str, Any]) -> Mapping[str, Any]:
            if on_line is not None:
                on_line(message["line"])
            return {}

        records = self._engine.run(
            scenario,
            {
                "sh": shell.reply,
                "input": prompts.answer,
                "step": step,
                "yaml": yaml_documents.answer,
            },
            line,
        )
        all_builds = [Build.from_engine(record) for record in records]
        build = _last_build(all_builds, path, scenario["job"], len(times), cps_mismatches)
        return dataclasses.replace(build, unanswered_inputs=tuple(prompts.unanswered_inputs))

    def _new_folder(self) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="jenkinsfile-")
        return Path(self._folder.name) / f"run-{self._runs}"


def _last_build(
    builds: list[Build],
    script: Path | None,
    job: str,
    count: int,
    cps_mismatches: Literal["fail", "warn"],
) -> Build:
    """Return the last of the requested builds, with all builds of the run.

    Raises:
        UnsupportedError: a build used an unsupported feature.
        CpsMismatch: a build had a mismatch, and ``cps_mismatches`` is ``fail``.
    """
    for build in builds:
        if build.unsupported:
            feature = build.unsupported[0]
            if script is not None and feature.startswith("WorkflowScript:"):
                feature = f"{script}{feature.removeprefix('WorkflowScript')}"
            raise UnsupportedError(feature)
        if build.cps_mismatches and cps_mismatches == "fail":
            raise CpsMismatch("\n".join(build.cps_mismatches))
    started = {(build.job, build.number) for build in builds}
    requested = [build for build in builds if build.job == job and _upstream(build) not in started][
        :count
    ]
    return dataclasses.replace(requested[-1], builds=tuple(builds))


def _upstream(build: Build) -> tuple[str, int] | None:
    """Return job and number of the build that started this one by the step ``build``."""
    found = re.match(
        r'Started by upstream project "(.+)" build number (\d+)$', next(iter(build.console), "")
    )
    return None if found is None else (found[1], int(found[2]))


def _script(script: str | Path) -> tuple[str, Path | None]:
    if isinstance(script, str) and ("\n" in script or not Path(script).is_file()):
        if not any(mark in script for mark in "\n({'\""):
            raise UsageError(
                f"{script!r} is not a file", expected="the path or the text of a Jenkinsfile"
            )
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


def _source(scm: Scm) -> dict[str, Any]:
    if isinstance(scm, Mapping):
        return {"files": dict(scm)}
    return {"folder": str(Path(scm).resolve())}


def _scm(scm: Scm | None, path: Path | None, multibranch: bool, mode: Mode) -> Any:
    if scm is not None:
        return _source(scm)
    if multibranch and mode == "live" and path is not None:
        return {"folder": str(path.resolve().parent)}
    return {"commit": "0" * 40} if multibranch else None
