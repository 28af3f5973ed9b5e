"""The signed approval or rejection: an in-toto Statement v1 about a bundle, in a DSSE envelope.

Specifications: in-toto Attestation Framework v1 (Statement) and DSSE v1 (pre-authentication
encoding, envelope).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ml_pipeline.core import documents
from ml_pipeline.core.documents import DocumentError
from ml_pipeline.core.errors import Refused

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, SSlibKey

PREDICATE_TYPE = "urn:ml-pipeline:approval:1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"

Decision = Literal["approve", "reject"]
Method = Literal["prompt", "flags", "yes", "automatic"]


class Approval(BaseModel):
    """The decision about a bundle: approver, reason, and digests of what it was based on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    version: int
    bundle: str = Field(description="Digest of the bundle that is approved.")
    decision: Decision
    by: str = Field(min_length=1)
    reason: str = Field(min_length=1)
    at: datetime
    method: Method
    gate: str = Field(description="SHA-256 of the gate's record.")
    policy: str = Field(description="Digest of the policy in force.")
    champion: str | None = Field(description="Digest of the champion it was compared with.")
    authors: tuple[str, ...] | None = Field(
        None, description="Authors of the change, where the policy requires four eyes."
    )
    run_id: str


class ExpectedApproval(BaseModel):
    """The subject that an approval must have to be accepted."""

    model_config = ConfigDict(frozen=True)

    model: str
    version: int
    bundle: str
    gate: str
    policy: str
    champion: str | None


def sign(approval: Approval, signer: CryptoSigner) -> bytes:
    """Return the signed envelope as JSON."""
    from google.protobuf.json_format import MessageToDict
    from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
    from in_toto_attestation.v1.statement import Statement
    from securesystemslib.dsse import Envelope

    predicate = approval.model_dump(mode="json", exclude={"model", "bundle"})
    subject = ResourceDescriptor(name=approval.model, digest={"sha256": approval.bundle})
    statement = Statement([subject.pb], PREDICATE_TYPE, predicate)
    statement.validate()
    payload = json.dumps(MessageToDict(statement.pb), sort_keys=True, separators=(",", ":"))
    envelope = Envelope(payload.encode(), PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return (json.dumps(envelope.to_dict(), indent=2, sort_keys=True) + "\n").encode()


def verify(content: bytes, keys: Sequence[SSlibKey], expected: ExpectedApproval) -> Approval:
    """Return the approval if a trusted key signed it and its subject is the expected one.

    A rejection that verifies is returned as well; the caller checks the decision.

    Raises:
        Refused: the signature does not verify, or the approval has another subject.
    """
    approval = read(content, keys)
    for name in ExpectedApproval.model_fields:
        stated, required = getattr(approval, name), getattr(expected, name)
        if stated != required:
            raise Refused(
                f"the approval is for {name} {_short(stated)}",
                expected=f"{name} {_short(required)}",
                hint="run 'ml-pipeline gate' and 'ml-pipeline approve' again",
            )
    return approval


def read(content: bytes, keys: Sequence[SSlibKey]) -> Approval:
    """Return the approval that a trusted key signed, whatever its subject is.

    Raises:
        Refused: the envelope is malformed, no trusted key signed it, or it is not an approval.
    """
    from google.protobuf.json_format import Parse, ParseError
    from in_toto_attestation.v1.statement import Statement
    from in_toto_attestation.v1.statement_pb2 import Statement as Message

    payload = _verified_payload(content, keys)
    try:
        predicate = documents.parse_json(payload, "the statement")["predicate"]
        statement = Statement.copy_from_pb(Parse(payload, Message()))
        statement.validate()
    except (ParseError, DocumentError, ValueError, KeyError, TypeError) as error:
        raise Refused(f"the approval does not contain an in-toto statement: {error}") from None
    message = statement.pb
    if message.predicate_type != PREDICATE_TYPE:
        raise Refused(
            f"the statement is a {message.predicate_type}, not an approval", expected=PREDICATE_TYPE
        )
    if len(message.subject) != 1 or set(message.subject[0].digest) != {"sha256"}:
        raise Refused("the approval is not about one bundle", expected="one subject with a sha256")
    subject = message.subject[0]
    try:
        return Approval.model_validate(
            predicate | {"model": subject.name, "bundle": subject.digest["sha256"]}
        )
    except ValidationError as error:
        raise Refused(f"the approval is invalid: {documents.reason(error)}") from None


def _verified_payload(content: bytes, keys: Sequence[SSlibKey]) -> bytes:
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import FormatError, VerificationError

    if not keys:
        raise Refused(
            "no trusted public key, so no approval can be verified",
            hint="put the public key of 'ml-pipeline keys new' into the home's keys folder",
        )
    try:
        envelope = Envelope.from_dict(documents.parse_json(content, "the approval"))
    except (DocumentError, ValueError, KeyError, TypeError, AttributeError, FormatError):
        raise Refused(
            "the approval is not a DSSE envelope", expected="JSON with a signature"
        ) from None
    if envelope.payload_type != PAYLOAD_TYPE:
        raise Refused(f"the envelope contains {envelope.payload_type}", expected=PAYLOAD_TYPE)
    if not envelope.signatures:
        raise Refused("the approval is not signed")
    try:
        envelope.verify(list(keys), threshold=1)
    except VerificationError:
        signer = _short(next(iter(envelope.signatures)))
        raise Refused(
            f"no trusted key signed the approval (signed by {signer})",
            expected=f"a signature of {', '.join(_short(key.keyid) for key in keys)}",
            hint="if that key is this project's, restore its public half into the home's keys "
            "folder or name it in the policy; otherwise run 'ml-pipeline gate' and 'approve' again",
        ) from None
    payload: bytes = envelope.payload
    return payload


def _short(value: object) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 16 else f"{text[:12]}…"
