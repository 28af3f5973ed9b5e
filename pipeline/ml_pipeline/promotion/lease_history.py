"""The changes of production as the registry knows them, by whichever home: its leases, in order.

Every change takes a lease before it moves the alias, and the lease says what it is about. So the
registry remembers which approvals were used and which versions were rolled back, whatever becomes
of a home.
"""

from __future__ import annotations

from ml_pipeline.core.errors import Refused
from ml_pipeline.core.home import Home
from ml_pipeline.promotion.journal import journals
from ml_pipeline.promotion.production_history import read_history
from ml_pipeline.registry.leases import Standing
from ml_pipeline.registry.mlflow_registry import CHAMPION, Registry, Version

TAKEN_BACK = "taken back"
DONE = "done"
ROLLED_BACK = "rolled back"
"""A promotion that was killed while its version served, and then rolled back, not resumed."""


def last_done(registry: Registry) -> Standing | None:
    """Return the last change that was carried out; None where none is known.

    Raises:
        EnvironmentFault: the registry does not answer.
    """
    found = [one for one in registry.claims() if one.ended == DONE]
    return found[-1] if found else None


def last_change_was_to(registry: Registry, version: Version) -> bool:
    """Return whether the last change led to this version, as far as the registry says to which.

    Raises:
        EnvironmentFault: the registry does not answer.
    """
    last = last_done(registry)
    if last is None or last.subject is None:
        return True
    return last.is_about(version.number, version.digest)


def is_behind(home: Home, last: Standing | None) -> bool:
    """Return whether the history went on after the registry's last change, which it knows.

    So it is with a registry that was restored from a backup: what it says was true once.

    Args:
        home: Whose history and journals tell.
        last: The last change that the registry knows to be done.

    Raises:
        EnvironmentFault: the history or a journal is broken.
    """
    history = read_history(home)
    if last is None or not history:
        return False
    made = [one.record for one in journals(home)]
    told = [number for number, one in enumerate(made) if one.token == last.holder.token]
    newest = history[-1]
    named = (newest.kind, newest.version, newest.bundle, newest.run_id)
    written = [
        number
        for number, one in enumerate(made)
        if (one.kind, one.version, one.bundle, one.run_id) == named
    ]
    if told and written:
        return told[-1] < written[-1]
    subject = last.subject
    if subject is None:
        return False
    by_approval = subject.kind == "promotion"
    about = (
        subject.version,
        subject.bundle,
        subject.approval if by_approval else last.holder.run_id,
    )
    return about in [
        (one.version, one.bundle, one.approval if by_approval else one.run_id)
        for one in history[:-1]
        if by_approval or one.kind == subject.kind
    ]


def present_champion(registry: Registry) -> Version | None:
    """Return the version that the alias names; None where it names none, or a lost one.

    Raises:
        EnvironmentFault: the registry does not answer.
    """
    number = registry.alias_number(CHAMPION)
    found = (one for one in registry.versions() if one.number == number)
    return None if number is None else next(found, None)


def check_unused(registry: Registry, approval: str, token: str | None = None) -> None:
    """Let an approval count once, from whichever home: see which promotions went by it.

    Args:
        registry: Knows the promotions.
        approval: The SHA-256 of the approval.
        token: Of the promotion that asks, which is not counted.

    Raises:
        Refused: a promotion went by it, or may have.
        EnvironmentFault: the registry does not answer.
    """
    for one in registry.claims():
        subject = one.subject
        if subject is None or subject.kind != "promotion" or subject.approval != approval:
            continue
        if one.holder.token == token or one.ended == TAKEN_BACK:
            continue
        raise Refused(
            f"the approval was used by promotion {one.number} of '{registry.name}', "
            f"by {one.holder}",
            expected="an approval for each promotion",
            hint="run 'ml-pipeline gate' and 'ml-pipeline approve' again",
        )
