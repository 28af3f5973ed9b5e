"""What each environment serves, and who approved it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.approval import policy as policies
from pipeline.approval.keys import trusted_keys
from pipeline.approval.statement import read
from pipeline.config import Project
from pipeline.deploy.base import Placement
from pipeline.deploy.targets import load_target
from pipeline.errors import PipelineError
from pipeline.home import Home
from pipeline.promotion.journal import unsettled
from pipeline.promotion.production import PRODUCTION
from pipeline.promotion.records import read_history
from pipeline.registry.mlflow_registry import (
    APPROVAL_RECORD,
    CHALLENGER,
    CHAMPION,
    Registry,
    Version,
)


def status(project: Project, home: Home, policy: Path | None = None) -> list[dict[str, Any]]:
    """Return one row an environment: name, state, version, aliases, bundle, url, approval, open.

    ``open`` is a change that was killed, or that the registry was not told of. ``approved`` is
    what a trusted key signed; otherwise it says why nothing is known. A project that has
    registered nothing yet stays without a registry.

    Args:
        project: Whose environments.
        home: Where its registry and its keys are.
        policy: The administrators' file, for the keys that it trusts.

    Raises:
        EnvironmentFault: the registry does not answer.
        UsageError: the policy cannot be read.
    """
    registry = Registry.of(project, home)
    rules = policies.floor(policy)
    versions: dict[str, Version] = {}
    aliases: dict[str, list[str]] = {}
    if registry.exists():
        versions = {version.digest: version for version in registry.versions()}
        for alias in (CHAMPION, CHALLENGER):
            holder = registry.aliased(alias)
            if holder is not None:
                aliases.setdefault(holder.digest, []).append(alias)
    rows = []
    for name, section in project.config.environments.items():
        placement = Placement.of(project, name, home)
        running = load_target(section.target).status(placement)
        digest = None if running is None else running.digest
        version = None if digest is None else versions.get(digest)
        rows.append(
            {
                "environment": name,
                "state": "up" if running else "down",
                "version": None if version is None else version.number,
                "alias": ", ".join(aliases.get(digest or "", [])) or None,
                "bundle": digest and digest[:12],
                "url": None if running is None else running.url,
                "approved": _approved(registry, version, home, rules),
                "open": (name == PRODUCTION and "; ".join(open_changes(home))) or None,
            }
        )
    return rows


def history(home: Home) -> list[dict[str, Any]]:
    """Return one row a change of production, oldest first: when, what, from, to, who, why.

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
            "bundle": entry.bundle[:12],
        }
        for entry in read_history(home)
    ]


def open_changes(home: Home) -> list[str]:
    """Return what is not settled: changes of production that were killed, or told nobody yet.

    Raises:
        EnvironmentFault: a journal is broken.
    """
    return [str(journal.record) for journal in unsettled(home)]


def _approved(
    registry: Registry, version: Version | None, home: Home, rules: policies.Policy
) -> str | None:
    if version is None:
        return None
    try:
        content = registry.record(version, APPROVAL_RECORD)
        if content is None:
            return None
        approval = read(content, trusted_keys(home, rules))
    except PipelineError as error:
        return f"not verified: {error.fault}"
    when = approval.at.date().isoformat()
    return f"{approval.decision} by {approval.by} ({approval.method}), {when}: {approval.reason}"
