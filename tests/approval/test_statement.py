from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from in_toto_attestation.v1.statement import STATEMENT_TYPE_URI
from ml_pipeline.approval.statement import PAYLOAD_TYPE, Approval, ExpectedApproval, sign, verify
from ml_pipeline.core.errors import Refused
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner

SIGNER = CryptoSigner.generate_ed25519()
APPROVAL = Approval(
    model="small",
    version=2,
    bundle="b" * 64,
    decision="approve",
    by="Asha",
    reason="better on every sector",
    at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    method="prompt",
    gate="9" * 64,
    policy="f" * 64,
    champion="c" * 64,
    authors=("Bina",),
    run_id="run-1",
)
EXPECTED = ExpectedApproval(
    model="small",
    version=2,
    bundle="b" * 64,
    gate="9" * 64,
    policy="f" * 64,
    champion="c" * 64,
)


def signed(**changes: Any) -> bytes:
    return sign(APPROVAL.model_copy(update=changes), SIGNER)


def payload_of(content: bytes) -> dict[str, Any]:
    return json.loads(base64.b64decode(json.loads(content)["payload"]))


def resigned(change: Callable[[dict[str, Any]], None], kind: str = PAYLOAD_TYPE) -> bytes:
    """Return a changed statement that is signed with the trusted key."""
    payload = payload_of(signed())
    change(payload)
    envelope = Envelope(json.dumps(payload).encode(), kind, {})
    envelope.sign(SIGNER)
    return json.dumps(envelope.to_dict()).encode()


def tampered(change: Callable[[dict[str, Any]], None]) -> bytes:
    """Return a changed payload under the original signature, as someone without the key could."""
    content = signed()
    envelope, payload = json.loads(content), payload_of(content)
    change(payload)
    envelope["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
    return json.dumps(envelope).encode()


def test_a_signed_statement_round_trips() -> None:
    assert verify(signed(), [SIGNER.public_key], EXPECTED) == APPROVAL


def test_it_is_an_in_toto_statement_about_the_bundle() -> None:
    payload = payload_of(signed())
    assert payload["_type"] == STATEMENT_TYPE_URI
    assert payload["subject"] == [{"name": "small", "digest": {"sha256": "b" * 64}}]
    assert payload["predicateType"] == "urn:ml-pipeline:approval:1"


def test_an_approval_without_a_champion_verifies_if_none_is_expected() -> None:
    expected = EXPECTED.model_copy(update={"champion": None})
    approval = verify(signed(champion=None, authors=None), [SIGNER.public_key], expected)
    assert approval.champion is None


def test_a_signature_of_any_trusted_key_verifies() -> None:
    other = CryptoSigner.generate_ed25519().public_key
    assert verify(signed(), [other, SIGNER.public_key], EXPECTED) == APPROVAL


PREDICATE = sorted(payload_of(signed())["predicate"])


class TestTampering:
    @pytest.mark.parametrize("field", PREDICATE)
    def test_with_any_field_breaks_the_signature(self, field: str) -> None:
        content = tampered(lambda payload: payload["predicate"].update({field: "approve "}))
        with pytest.raises(Refused, match="no trusted key signed"):
            verify(content, [SIGNER.public_key], EXPECTED)

    @pytest.mark.parametrize("field", PREDICATE)
    def test_that_takes_a_field_away_breaks_the_signature(self, field: str) -> None:
        content = tampered(lambda payload: payload["predicate"].pop(field))
        with pytest.raises(Refused, match="no trusted key signed"):
            verify(content, [SIGNER.public_key], EXPECTED)

    def test_with_the_subject(self) -> None:
        content = tampered(lambda payload: payload["subject"][0]["digest"].update(sha256="0" * 64))
        with pytest.raises(Refused, match="no trusted key signed"):
            verify(content, [SIGNER.public_key], EXPECTED)

    def test_with_the_payload_type(self) -> None:
        envelope = json.loads(signed()) | {"payloadType": "text/plain"}
        with pytest.raises(Refused, match="the envelope contains text/plain"):
            verify(json.dumps(envelope).encode(), [SIGNER.public_key], EXPECTED)

    def test_that_signs_with_another_key(self) -> None:
        content = sign(APPROVAL, CryptoSigner.generate_ed25519())
        with pytest.raises(Refused, match="no trusted key signed"):
            verify(content, [SIGNER.public_key], EXPECTED)

    def test_that_claims_the_trusted_keys_id(self) -> None:
        envelope = json.loads(sign(APPROVAL, CryptoSigner.generate_ed25519()))
        envelope["signatures"][0]["keyid"] = SIGNER.public_key.keyid
        with pytest.raises(Refused, match="no trusted key signed"):
            verify(json.dumps(envelope).encode(), [SIGNER.public_key], EXPECTED)

    def test_that_takes_the_signature_away(self) -> None:
        envelope = json.loads(signed()) | {"signatures": []}
        with pytest.raises(Refused, match="not signed"):
            verify(json.dumps(envelope).encode(), [SIGNER.public_key], EXPECTED)

    @pytest.mark.parametrize(
        "content", [b"", b"{}", b"[]", b"null", b"\xff", b'{"payload": "!", "signatures": []}']
    )
    def test_that_leaves_no_envelope(self, content: bytes) -> None:
        with pytest.raises(Refused, match="not a DSSE envelope"):
            verify(content, [SIGNER.public_key], EXPECTED)

    def test_a_statement_is_refused_without_a_trusted_key(self) -> None:
        with pytest.raises(Refused, match="no trusted public key"):
            verify(signed(), [], EXPECTED)


class TestApprovalOfAnotherSubject:
    @pytest.mark.parametrize("field", sorted(ExpectedApproval.model_fields))
    def test_is_refused_and_the_field_named(self, field: str) -> None:
        other = {"version": 3, "model": "large"}.get(field, "0" * 64)
        with pytest.raises(Refused, match=f"the approval is for {field} "):
            verify(signed(**{field: other}), [SIGNER.public_key], EXPECTED)

    def test_no_champion_is_not_any_champion(self) -> None:
        with pytest.raises(Refused, match="for champion none"):
            verify(signed(champion=None), [SIGNER.public_key], EXPECTED)


class TestSignedButNotAnApproval:
    def test_another_predicate_type(self) -> None:
        content = resigned(lambda payload: payload.update(predicateType="https://slsa.dev/v1"))
        with pytest.raises(Refused, match=r"a https://slsa\.dev/v1, not an approval"):
            verify(content, [SIGNER.public_key], EXPECTED)

    def test_another_statement_type(self) -> None:
        content = resigned(
            lambda payload: payload.update(_type="https://in-toto.io/Statement/v0.1")
        )
        with pytest.raises(Refused, match="does not contain an in-toto statement"):
            verify(content, [SIGNER.public_key], EXPECTED)

    def test_no_json(self) -> None:
        envelope = Envelope(b"yes", PAYLOAD_TYPE, {})
        envelope.sign(SIGNER)
        with pytest.raises(Refused, match="does not contain an in-toto statement"):
            verify(json.dumps(envelope.to_dict()).encode(), [SIGNER.public_key], EXPECTED)

    def test_two_bundles(self) -> None:
        content = resigned(lambda payload: payload["subject"].append(payload["subject"][0]))
        with pytest.raises(Refused, match="not about one bundle"):
            verify(content, [SIGNER.public_key], EXPECTED)

    @pytest.mark.parametrize(
        ("field", "value"),
        [("decision", "maybe"), ("by", ""), ("reason", ""), ("method", "telepathy"), ("new", 1)],
    )
    def test_an_invalid_field(self, field: str, value: object) -> None:
        content = resigned(lambda payload: payload["predicate"].update({field: value}))
        with pytest.raises(Refused, match=f"the approval is invalid: .*{field}"):
            verify(content, [SIGNER.public_key], EXPECTED)
