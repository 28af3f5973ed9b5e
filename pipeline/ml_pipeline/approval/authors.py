"""Authors of the change to be approved, from the commits since the champion's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ml_pipeline.approval.person_names import normalize_name
from ml_pipeline.approval.policy import Policy
from ml_pipeline.core import git
from ml_pipeline.core.errors import Refused

COMMIT_TAG = "git.commit"
DIRTY_TAG = "git.dirty"
DIRTY_WHY_TAG = "git.dirty.why"


def authors_of_change(
    root: Path, challenger: Mapping[str, str], champion: Mapping[str, str] | None, policy: Policy
) -> tuple[str, ...]:
    """Return the approver names of all authors of the change, sorted.

    Args:
        root: The project, in its repository.
        challenger: Tags of its version.
        champion: Tags of the champion's version; None where there is none.
        policy: ``identities`` maps commit addresses to names.

    Raises:
        Refused: the commits are incomplete, or have an address that the policy does not list.
    """
    if challenger.get(DIRTY_TAG) == "true":
        why = challenger.get(DIRTY_WHY_TAG) or "it was built from uncommitted files"
        raise _unverifiable(f"the challenger is not built from its commit alone: {why}")
    until = challenger.get(COMMIT_TAG)
    since = None if champion is None else champion.get(COMMIT_TAG)
    if until is None or (champion is not None and since is None):
        side = "challenger" if until is None else "champion"
        raise Refused(
            f"four eyes cannot be verified: the registry has no git commit of the {side}'s version",
            expected=f"its tag '{COMMIT_TAG}', with the commit that it was built from",
            hint="a version that --restore-registry registered again has none: an administrator "
            "sets the tag in MLflow; a version from outside a git repository has to be registered "
            "again, from a clone",
        )
    addresses = git.authors(root, since, until)
    if addresses is None:
        raise _unverifiable("this repository lacks commits of the change")
    if not addresses and since not in (None, until):
        raise _unverifiable("the challenger's commit adds nothing to the champion's")
    names = {address: policy.identities.get(normalize_name(address)) for address in addresses}
    if unknown := sorted(address for address, name in names.items() if name is None):
        raise _unverifiable(
            f"the policy's 'identities' do not list the address {', '.join(unknown)}"
        )
    return tuple(sorted({name for name in names.values() if name is not None}))


def _unverifiable(why: str) -> Refused:
    return Refused(
        f"four eyes cannot be verified: {why}",
        expected="commits whose authors' addresses are listed in the policy's 'identities'",
        hint="approve from a full clone with the commits of both versions",
    )
