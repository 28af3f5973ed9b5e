"""Registers again what was in production, in a registry that was lost without a backup.

The home keeps the released bundles and the approvals. A version gets its own number back, since
history, approval and ``production-model.yaml`` name it by that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ml_pipeline.core.errors import Refused, UsageError
from ml_pipeline.core.report import Progress
from ml_pipeline.promotion import approvals, production_history
from ml_pipeline.promotion.environment import production_lock, released_copy
from ml_pipeline.promotion.journal import journals
from ml_pipeline.registry.records import APPROVAL_RECORD, RECORD
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import CHALLENGER
from ml_pipeline.targets.released_bundles import FOLDER

if TYPE_CHECKING:
    from securesystemslib.signer import SSlibKey

    from ml_pipeline.core.home import Home


def restore(
    registry: Registry, keys: Sequence[SSlibKey], home: Home, progress: Progress
) -> tuple[str, ...]:
    """Register the versions of the home's history that the registry lacks, and say which.

    One that the home does not keep whole leaves its number unused; the last one must be whole.

    Raises:
        UsageError: the home has no history.
        Refused: the registry holds another bundle under one of the numbers or has used a number
            already, or bundle or approval of the last version does not verify.
        EnvironmentFault: the registry does not answer, or the disk is full.
    """
    history = production_history.read_history(home)
    if not history:
        raise UsageError(
            f"the history of home {home.root} names no version", hint="is ML_HOME the right one?"
        )
    last = history[-1].version
    digests = {entry.version: entry.bundle for entry in history}
    with production_lock(home):
        registered = (
            {} if registry.is_lost else {one.number: one for one in registry.read().versions}
        )
        missing = (
            "" if last in registered else _missing_part(registry, keys, home, last, digests[last])
        )
        if missing:
            raise Refused(
                f"home {home.root} does not keep the {missing} of version {last}",
                expected="both, as they were when it was promoted",
                hint="restore the home or the registry from a backup",
            )
        registry.recreate()
        changes = [one.record.version for one in journals(home)]
        registry.record_number(max([*digests, *changes]))
        for number, digest in sorted(digests.items()):
            if number in registered and registered[number].digest != digest:
                raise Refused(
                    f"version {number} of the registry is bundle {registered[number].digest[:12]}",
                    expected=f"bundle {digest[:12]}, as the history says, or no such version",
                    hint="other models were registered since: begin with a new home (ML_HOME)",
                )
        results: list[str] = []
        for number, digest in sorted(digests.items()):
            if number in registered and RECORD + APPROVAL_RECORD in registered[number].tags:
                continue
            if not _is_kept(registry, keys, home, number, digest):
                if number not in registered:
                    results.append(f"version {number} is not kept and was not registered again")
                continue
            progress(f"registering version {number} again", 0.1)
            version = registered.get(number) or registry.restore(home / FOLDER / digest, number)
            registry.records.attach(version, APPROVAL_RECORD, approvals.content(home, digest))
            if number == last and number not in registered:
                registry.aliases.set(CHALLENGER, version)
            results.append(f"version {number} was registered again")
    return tuple(results)


def _is_kept(
    registry: Registry, keys: Sequence[SSlibKey], home: Home, number: int, digest: str
) -> bool:
    """Return whether the home keeps a version; an approval that does not verify is none."""
    try:
        return not _missing_part(registry, keys, home, number, digest)
    except Refused:
        return False


def _missing_part(
    registry: Registry, keys: Sequence[SSlibKey], home: Home, number: int, digest: str
) -> str:
    """Return what the home does not keep of a version, bundle or approval; empty if it keeps both.

    Raises:
        Refused: the approval does not verify.
    """
    if released_copy(home, digest) is None:
        return "bundle"
    approval = approvals.kept_approval(home, keys, registry.name, digest)
    return "" if approval is not None and approval[0].version == number else "approval"
