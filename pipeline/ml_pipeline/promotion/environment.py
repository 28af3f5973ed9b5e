"""The production environment, and the lock for changes of it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ml_pipeline.bundle.reader import SHA256
from ml_pipeline.config import GitopsSection
from ml_pipeline.core import locks, workdir
from ml_pipeline.core.errors import EnvironmentFault, PipelineError, Refused, UsageError
from ml_pipeline.core.home import Home
from ml_pipeline.promotion import gitops
from ml_pipeline.promotion.journal import Record
from ml_pipeline.promotion.production_history import PRODUCTION_MODEL
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import Version
from ml_pipeline.targets.base import Deployment, Placement, Target
from ml_pipeline.targets.released_bundles import FOLDER, open_copy

logger = logging.getLogger(__name__)

PRODUCTION = "production"
LOCK = "promotion.lock"
STOPPED = "servers/production.stopped"
"""File that exists while production is stopped on purpose: what was in production then."""
LOCK_TIMEOUT = 60.0
"""Seconds to wait for another promotion in the same home."""


@dataclass(frozen=True)
class Production:
    """The production environment."""

    target: Target
    placement: Placement
    gitops: GitopsSection = field(default_factory=GitopsSection)

    @property
    def home(self) -> Home:
        return self.placement.home

    def status(self) -> Deployment | None:
        return self.target.status(self.placement)

    def publish(self, record: Record) -> str:
        """Push ``production-model.yaml``, where a repository is configured; return where it went.

        Raises:
            Refused: the repository does not take it.
            UsageError: the branch or the token is not there.
            EnvironmentFault: the repository does not answer.
        """
        if self.gitops.repository is None:
            return ""
        done = gitops.publish(
            self.gitops,
            (self.home / PRODUCTION_MODEL).read_bytes(),
            title=f"{record.kind} of {record.model} version {record.version} by {record.by}",
            branch=pull_request_branch(record.model, record.version),
        )
        where = f"pushed to {done.branch}"
        if done.waits:
            where = f"branch {done.branch} waits for a pull request"
        if done.stale:
            where += f"; close the pull requests of {', '.join(done.stale)}, which may not be "
            where += "deleted from here: production has left those versions"
        return where


def pull_request_branch(model: str, version: int) -> str:
    """Return the branch that waits for a pull request."""
    return f"promotion/{model}-v{version}"


def mark_stopped(home: Home) -> None:
    """Record that production was stopped on purpose, so that it is not reported as a fault."""
    if home.root.is_dir():
        workdir.write_text(home / STOPPED, "stopped by 'ml-pipeline stop'\n")


def clear_stopped(home: Home) -> None:
    """Record that production serves again."""
    (home / STOPPED).unlink(missing_ok=True)


def is_stopped(home: Home) -> bool:
    return (home / STOPPED).exists()


@contextmanager
def production_lock(home: Home) -> Iterator[None]:
    """Lock the home against other changes of production; a killed process releases the lock.

    Raises:
        EnvironmentFault: another one is under way.
    """
    home.make()
    busy = EnvironmentFault(
        f"another promotion holds {home / LOCK}", hint="try again when it has ended"
    )
    with locks.locked(home / LOCK, timeout=LOCK_TIMEOUT, busy=busy):
        yield


@contextmanager
def registered_bundle(registry: Registry, version: Version, home: Home) -> Iterator[Path]:
    """Yield a version's verified bundle: the home's copy of its digest, else the registry's.

    A copy that does not verify is not used. A downloaded bundle is removed at the end.

    Raises:
        Refused: the registry's bundle does not verify, or is not the version's.
        EnvironmentFault: the registry is needed and unavailable.
    """
    copy = released_copy(home, version.digest)
    if copy is not None:
        yield copy
        return
    with _downloaded(registry, version, home) as path:
        yield path


@contextmanager
def _downloaded(registry: Registry, version: Version, home: Home) -> Iterator[Path]:
    with workdir.scratch(home.root, ".fetched-") as scratch:
        yield registry.bundles.download(version, scratch / "bundle")


def released_copy(home: Home, digest: str) -> Path | None:
    """Return the home's copy of a bundle, verified by its digest; None without a whole one."""
    path = home / FOLDER / digest
    if not SHA256.fullmatch(digest) or path.is_symlink():
        return None
    try:
        return path if open_copy(home, path).digest == digest else None
    except Refused:
        return None


@contextmanager
def find_bundle(
    registry: Registry | None, home: Home, digest: str, number: int | None
) -> Iterator[Path]:
    """Yield a verified bundle: the home's released copy, else the registry's.

    Raises:
        Refused: neither has it, or the registry holds another bundle under this number.
        EnvironmentFault: the registry is needed and does not answer.
    """
    copy = released_copy(home, digest)
    if copy is not None:
        yield copy
        return
    if registry is None or number is None:
        raise Refused(
            f"bundle {digest[:12]} is not in {home / FOLDER}, or does not verify there",
            expected="the copy that was released",
        )
    damaged = (home / FOLDER / digest).exists()
    with ExitStack() as stack:
        try:
            path = stack.enter_context(_registered(registry, home, digest, number))
        except PipelineError as error:
            kind = EnvironmentFault if isinstance(error, UsageError) else type(error)
            state = "does not verify" if damaged else "is not there"
            hint = "" if isinstance(error, Refused) else error.hint
            raise kind(
                f"version {number}: the home's copy of bundle {digest[:12]} {state}, and the "
                f"registry's cannot take its place: {error.fault}",
                expected=error.expected,
                hint=hint or "go back to another version: 'ml-pipeline rollback --to V'",
            ) from error
        if damaged:
            logger.warning(
                "version %s: the home's copy of its bundle was damaged; the registry's took its "
                "place. See to the disk of %s",
                number,
                home.root,
            )
        yield path


@contextmanager
def _registered(registry: Registry, home: Home, digest: str, number: int) -> Iterator[Path]:
    version = registry.read().version(number)
    if version.digest != digest:
        raise Refused(
            f"version {number} of the registry holds bundle {version.digest[:12]}",
            expected=digest[:12],
        )
    with _downloaded(registry, version, home) as path:
        yield path
