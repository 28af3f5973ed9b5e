"""What each environment serves, and who approved it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ml_pipeline.approval import policy as policies
from ml_pipeline.approval.keys import trusted_keys
from ml_pipeline.approval.policy import PolicyFiles
from ml_pipeline.approval.rejections import describe_rejection, rejections
from ml_pipeline.approval.statement import read
from ml_pipeline.config import Project
from ml_pipeline.core.errors import EnvironmentFault, PipelineError
from ml_pipeline.core.home import Home
from ml_pipeline.promotion import approvals
from ml_pipeline.promotion.agreement import ALIAS, ANSWER, HISTORY, RECONCILE, describe_difference
from ml_pipeline.promotion.environment import PRODUCTION
from ml_pipeline.promotion.journal import open_journals
from ml_pipeline.promotion.production_history import read_history
from ml_pipeline.registry.records import APPROVAL_RECORD, GATE_RECORD
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import CAUSE, CHALLENGER, CHAMPION, Version
from ml_pipeline.targets.base import Deployment, Placement
from ml_pipeline.targets.loader import load_target

UNKNOWN = "unknown"
"""State of an environment whose status cannot be read."""
REGISTERED = "registered"
"""State of a version that no environment serves."""
UNLISTED = "not in the registry"


@dataclass
class _RegistryContents:
    """Versions and aliases of the registry by digest; ``fault`` if it could not be read."""

    versions: dict[str, Version] = field(default_factory=dict)
    aliases: dict[str, list[str]] = field(default_factory=dict)
    fault: str = ""


def status(project: Project, home: Home, policy: PolicyFiles = None) -> list[dict[str, Any]]:
    """Return one row an environment: name, state, version, aliases, bundle, url, approval, cause.

    A challenger that no environment serves has a row without an environment, of state
    ``REGISTERED``.

    ``cause`` is why the version was trained, where the caller of ``train`` stated it. ``open`` is
    the next step for an interrupted change, for one that the registry lacks, or for
    sources that differ; ``details`` has the value of each. ``approved`` is the approval that a
    trusted key signed, or the reason that there is none. If the registry is unavailable or lost,
    ``alias`` has the reason, and the rest comes from servers and home. If the status of an
    environment cannot be read, its state is ``UNKNOWN`` and ``open`` has the reason. For a project
    that has registered nothing yet, no registry is created.

    Args:
        project: Whose environments.
        home: Where its registry and its keys are.
        policy: The administrators' file, for the keys that it trusts.

    Raises:
        EnvironmentFault: the records of production's changes cannot be read.
        UsageError: the policy cannot be read, or the registry's address is none.
    """
    registry = Registry.of(project, home)
    rules = policies.minimum(policy)
    known = _read_registry(registry)
    rows: list[dict[str, Any]] = []
    served: set[str | None] = set()
    for name, section in project.config.environments.items():
        placement = Placement.of(project, name, home)
        running, fault, open_ = None, "", ""
        details: list[str] = []
        try:
            running = load_target(section.target).status(placement)
        except EnvironmentFault as error:
            fault = str(error)
        digest = None if running is None else running.digest
        if name == PRODUCTION and not fault:
            actions, details = _open(known, home, running)
            open_ = "; ".join([*actions, *_rejected(registry, known, home, rules)])
        rows.append(
            {
                "environment": name,
                "state": UNKNOWN if fault else "up" if running else "down",
                "version": _number(known, running),
                "alias": _alias(known, running),
                "bundle": digest and digest[:12],
                "url": None if running is None else running.url,
                "approved": _approved(registry, known, digest, home, rules),
                "cause": _cause(known, digest),
                "open": fault or (open_ or None),
                "details": details,
            }
        )
        served.add(digest)
    return [*rows, *_waiting(registry, known, served, home, rules)]


def _waiting(
    registry: Registry,
    known: _RegistryContents,
    served: Collection[str | None],
    home: Home,
    rules: policies.Policy,
) -> list[dict[str, Any]]:
    """Return a row for the challenger, where no environment serves it and it is no champion."""
    digest = next((one for one, aliases in known.aliases.items() if aliases == [CHALLENGER]), None)
    if digest is None or digest in served or digest not in known.versions:
        return []
    version = known.versions[digest]
    approved = _approved(registry, known, digest, home, rules)
    if any(entry.bundle == digest for entry in read_history(home)):
        due = "was in production; again: 'ml-pipeline gate', 'approve' and 'promote'"
    elif registry.records.read(version, GATE_RECORD) is None:
        due = "the gate has not decided: 'ml-pipeline gate'"
    elif approved is None:
        due = "no answer of a person: 'ml-pipeline approve'"
    else:
        due = "not promoted: 'ml-pipeline promote'" if approved.startswith("approve ") else ""
    return [
        {
            "environment": None,
            "state": REGISTERED,
            "version": version.number,
            "alias": CHALLENGER,
            "bundle": digest[:12],
            "url": None,
            "approved": approved,
            "cause": version.tags.get(CAUSE),
            "open": due or None,
            "details": [],
        }
    ]


def registry_fault(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Return why the registry could not be read, by the rows of ``status``."""
    known = {CHAMPION, CHALLENGER}
    aliases = (str(row["alias"]) for row in rows if row.get("alias"))
    return next(
        (one for one in aliases if one != UNLISTED and not {*one.split(", ")} <= known), None
    )


def history(home: Home) -> list[dict[str, Any]]:
    """Return one row a change of production, oldest first: when, what, from, to, who, why.

    ``cause`` is why the version was trained, where the caller of ``train`` stated it.

    Raises:
        EnvironmentFault: the history is broken.
    """
    return [
        {
            "at": entry.at.isoformat(timespec="seconds"),
            "change": entry.kind,
            "from": entry.former_version,
            "to": entry.version,
            "by": entry.by,
            "reason": entry.reason,
            "cause": entry.cause or None,
            "bundle": entry.bundle[:12],
        }
        for entry in read_history(home)
    ]


def open_changes(home: Home) -> list[str]:
    """Return the changes of production that were interrupted or are not in the registry yet.

    Raises:
        EnvironmentFault: a journal is broken.
    """
    return [str(journal.record) for journal in open_journals(home)]


def _read_registry(registry: Registry) -> _RegistryContents:
    known = _RegistryContents()
    try:
        if not registry.exists():
            return known
        state = registry.read()
        known.versions = {version.digest: version for version in state.versions}
        for alias in (CHAMPION, CHALLENGER):
            holder = state.version_with_alias(alias)
            if holder is not None:
                known.aliases.setdefault(holder.digest, []).append(alias)
    except EnvironmentFault as error:
        known.fault = error.fault
    return known


def _alias(known: _RegistryContents, running: Deployment | None) -> str | None:
    if known.fault:
        return known.fault
    if running is None:
        return None
    if running.version is not None and running.digest not in known.versions:
        return UNLISTED
    return ", ".join(known.aliases.get(running.digest, [])) or None


def _rejected(
    registry: Registry, known: _RegistryContents, home: Home, rules: policies.Policy
) -> list[str]:
    """Return the rejections of versions that could have followed the champion."""
    by_alias = {
        alias: known.versions[digest]
        for digest, aliases in known.aliases.items()
        for alias in aliases
        if digest in known.versions
    }
    challenger, champion = by_alias.get(CHALLENGER), by_alias.get(CHAMPION)
    if challenger is None:
        return []
    try:
        keys = trusted_keys(home, rules)
        return [
            describe_rejection(one)
            for one in rejections(
                registry, known.versions.values(), challenger, champion, lambda: keys
            )
        ]
    except PipelineError as error:
        return [f"answers of people are not verified: {error.fault}"]


def _open(
    known: _RegistryContents, home: Home, running: Deployment | None
) -> tuple[list[str], list[str]]:
    """Return what is to be done about production, and the details of a difference."""
    actions = open_changes(home)
    last = read_history(home)[-1:]
    if running is None and last:
        actions.append(f"version {last[0].version} is to serve: {RECONCILE}")
    if actions or known.fault:
        return actions, []
    champions = [digest for digest, aliases in known.aliases.items() if CHAMPION in aliases]
    digests = {
        ALIAS: champions[0] if champions else None,
        HISTORY: last[0].bundle if last else None,
    }
    if running is not None:
        digests[ANSWER] = running.digest
    if not (difference := describe_difference(digests)):
        return [], []
    lost = bool(last) and last[0].bundle not in known.versions
    command = f"{RECONCILE[:-1]} --restore-registry'" if lost else RECONCILE
    return (
        [f"the champion is unknown: {difference}: {command}"],
        [f"{who}: {_bundle(known, digest)}" for who, digest in digests.items()],
    )


def _bundle(known: _RegistryContents, digest: str | None) -> str:
    if digest is None:
        return "nothing"
    version = known.versions.get(digest)
    number = "" if version is None else f"version {version.number}, "
    return f"{number}bundle {digest[:12]}"


def _number(known: _RegistryContents, running: Deployment | None) -> int | None:
    """Return the registry's number of what serves; the server's own word where it has none."""
    if running is None:
        return None
    version = known.versions.get(running.digest)
    return running.version if version is None else version.number


def _cause(known: _RegistryContents, digest: str | None) -> str | None:
    version = known.versions.get(digest or "")
    return None if version is None else version.tags.get(CAUSE)


def _approved(
    registry: Registry,
    known: _RegistryContents,
    digest: str | None,
    home: Home,
    rules: policies.Policy,
) -> str | None:
    if digest is None:
        return None
    try:
        keys = trusted_keys(home, rules)
        if known.fault:
            kept = approvals.kept_approval(home, keys, registry.name, digest)
            if kept is None:
                return None
            approval, _ = kept
        else:
            version = known.versions.get(digest)
            content = None if version is None else registry.records.read(version, APPROVAL_RECORD)
            if content is None:
                return None
            approval = read(content, keys)
    except PipelineError as error:
        return f"not verified: {error.fault}"
    when = approval.at.date().isoformat()
    return f"{approval.decision} by {approval.by} ({approval.method}), {when}: {approval.reason}"
