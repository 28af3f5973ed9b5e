"""``ml-pipeline keys``: the key pair that signs approvals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_pipeline.cli.verb import Verb, Word
from ml_pipeline.core import errors
from ml_pipeline.stages.record import NoFlags

if TYPE_CHECKING:
    from ml_pipeline.cli.call import Call


def keys(call: Call[NoFlags]) -> int:
    from ml_pipeline.approval.keys import PUBLIC_SUFFIX, create_keypair, recorded_key_ids

    session = call.open()
    session.home.make()
    before = recorded_key_ids(session.home)
    pair = create_keypair(session.home)
    lines = [
        f"private key {pair.private} (keep it where only 'approve' runs)",
        f"public key  {pair.public} (name it in the policy's 'keys')",
    ]
    lost = [
        keyid for keyid in before if not (pair.public.parent / f"{keyid}{PUBLIC_SUFFIX}").exists()
    ]
    if lost:
        lines.append(
            f"what key {', '.join(keyid[:12] for keyid in lost)} signed does not verify until its "
            "public half is restored"
        )
    call.show({"private": str(pair.private), "public": str(pair.public)}, lines)
    return errors.PASS


VERB = Verb(
    name="keys",
    summary="make the key pair that signs approvals",
    run=keys,
    words=(Word("name", choices=("new",)),),
)
