"""Who made the change that is to be approved, from the commits since the champion's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ml_pipeline.approval.person_names import folded
from ml_pipeline.approval.policy import Policy
from ml_pipeline.core import git
from ml_pipeline.core.errors import Refused

COMMIT_TAG = "git.commit"
DIRTY_TAG = "git.dirty"
DIRTY_WHY_TAG = "git.dirty.why"


def authors_of_change(
    root: Path, challenger: Mapping[str, str], champion: Mapping[str, str] | None, policy: Policy
) -> tuple[str, ...]:
    """Return the approver names of everyone who had a part in the change, sorted.

    Args:
        root: The project, in its repository.
        challenger: Tags of its version.
        champion: Tags of the champion's version; None where there is none.
        policy: Its ``identities`` say which address is whose.

    Raises:
        Refused: the commits do not tell, or name an address that the policy does not know.
    """
    if challenger.get(DIRTY_TAG) == "true":
        why = challenger.get(DIRTY_WHY_TAG) or "it was made from files that are in no commit"
        raise _unknown(f"the challenger is not what its commit says: {why}")
    until = challenger.get(COMMIT_TAG)
    since = None if champion is None else champion.get(COMMIT_TAG)
    if until is None or (champion is not None and since is None):
        whose = "challenger" if until is None else "champion"
        raise Refused(
            f"four eyes cannot be shown: the registry has no git commit of the {whose}'s version",
            expected=f"its tag '{COMMIT_TAG}', with the commit that it was made from",
            hint="a version that --restore-registry registered again has none: an administrator "
            "sets the tag in MLflow; one registered outside a git repository is to be registered "
            "again, from a clone",
        )
    addresses = git.authors(root, since, until)
    if addresses is None:
        raise _unknown("this repository does not hold all commits of the change")
    if not addresses and since not in (None, until):
        raise _unknown("the challenger's commit holds nothing that the champion's does not")
    found = {address: policy.identities.get(folded(address)) for address in addresses}
    if unknown := sorted(address for address, name in found.items() if name is None):
        raise _unknown(f"the policy does not say whose address {', '.join(unknown)} is")
    return tuple(sorted({name for name in found.values() if name is not None}))


def _unknown(why: str) -> Refused:
    return Refused(
        f"four eyes cannot be shown: {why}",
        expected="commits whose authors the policy's 'identities' know",
        hint="approve from a full clone that holds both versions' commits",
    )
