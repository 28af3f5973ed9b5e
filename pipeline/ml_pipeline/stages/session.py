"""Project, working folder and home of a command, and the contexts of its stages."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from ml_pipeline import config
from ml_pipeline.approval import policy_files
from ml_pipeline.approval.policy import PolicyFiles
from ml_pipeline.approval.policy_files import PolicyFile
from ml_pipeline.config import Project
from ml_pipeline.core import git, locks, report
from ml_pipeline.core.errors import EnvironmentFault, UsageError, nearest
from ml_pipeline.core.home import DEFAULT, Home, Owner, find_home
from ml_pipeline.core.report import Profile, Progress
from ml_pipeline.core.workdir import Workdir
from ml_pipeline.stages.context import Context
from ml_pipeline.stages.plugins import check_sections, section_of
from ml_pipeline.stages.record import Stage, flags_of

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Session:
    """One call of the command line; it makes the contexts of its stages."""

    project: Project
    workdir: Workdir
    home: Home
    policies: tuple[PolicyFile, ...]
    run_id: str
    progress: Progress
    interactive: bool

    @property
    def policy(self) -> PolicyFiles:
        return policy_files.in_order(self.policies)

    @classmethod
    def open(
        cls,
        options: Mapping[str, Any],
        progress: Progress,
        *,
        interactive: bool,
    ) -> Session:
        """Load the project that the flags and the environment name.

        Raises:
            UsageError: there is no project, or its configuration is wrong.
        """
        folder = options.get("project")
        root = config.find_root(Path.cwd() if folder is None else Path(folder))
        if folder is not None and root != Path(folder).resolve():
            raise UsageError(f"--project {folder} holds no {config.FILE}")
        project = config.load(root, options.get("set") or ())
        home = os.environ.get("ML_HOME")
        check_sections(project)
        policies = policy_files.find(os.environ, options.get("policy"))
        run_id = options.get("run_id")
        if run_id is not None and not RUN_ID.fullmatch(run_id):
            raise UsageError(f"--run-id {run_id!r}", expected="letters, digits, '.', '_' and '-'")
        return cls(
            project=project,
            workdir=Workdir(project.root / "build" / "ml"),
            home=find_home(
                Path(home).resolve() if home else project.root / DEFAULT,
                Owner(
                    project.config.project,
                    project.model_name,
                    cache(lambda: git.origin(project.root)),
                ),
            ),
            policies=policies,
            run_id=run_id or f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(4)}",
            progress=progress,
            interactive=interactive,
        )

    def context(
        self, stage: Stage, environment: str | None = None, flags: Any = None
    ) -> Context[Any]:
        """Return the context of a stage; ``flags`` is the dataclass of its record."""
        values = stage.flags() if flags is None else flags
        if stage.environment:
            self.check_environment(environment or "")
        return Context(
            stage=stage,
            project=self.project,
            workdir=self.workdir,
            home=self.home,
            profile=self._profile(stage, values),
            run_id=self.run_id,
            progress=self.progress,
            environment=environment,
            flags=values,
            policy=self.policy,
            interactive=self.interactive,
            section=section_of(stage, self.project),
        )

    def check_environment(self, name: str) -> None:
        """Raise UsageError for an environment that ``ml.yaml`` does not name."""
        known = self.project.config.environments
        if name not in known:
            raise UsageError(f"unknown environment '{name}'", hint=nearest(name, known))

    def _profile(self, stage: Stage, flags: Any) -> Profile:
        if any(flag.quick and getattr(flags, flag.key) for flag in flags_of(stage.flags)):
            return Profile.QUICK
        if stage.profile_of:
            path = self.workdir / f"reports/{report.file_name(stage.profile_of, None)}.json"
            if path.is_file():
                return report.read(path).profile
        return Profile.FULL

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Lock the working folder, so that two runs do not write into each other's artefacts.

        Raises:
            EnvironmentFault: another process has locked it, or the folder cannot be written.
        """
        busy = EnvironmentFault(
            f"another ml-pipeline works in {self.workdir.root}",
            hint="wait until it has ended; a watch may be ended by Ctrl-C",
        )
        try:
            self.workdir.make()
            lock = locks.acquire(self.workdir / ".lock", timeout=0, busy=busy)
        except OSError as error:
            raise EnvironmentFault(
                f"working folder {self.workdir.root}: {error.strerror}",
                expected="a folder that can be written",
            ) from None
        try:
            yield
        finally:
            lock.release()
