from __future__ import annotations

import errno
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from ml_pipeline.approval.keys import (
    create_keypair,
    load_signer,
    private_path,
    recorded_key_ids,
    trusted_keys,
)
from ml_pipeline.approval.policy import Policy
from ml_pipeline.core.errors import EnvironmentFault, UsageError
from ml_pipeline.core.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_the_private_key_is_readable_by_its_owner_only(home: Home) -> None:
    pair = create_keypair(home)
    assert stat.S_IMODE(pair.private.stat().st_mode) == 0o600
    assert stat.S_IMODE(pair.private.parent.stat().st_mode) == 0o700
    assert "PRIVATE" not in pair.public.read_text()


def test_a_private_key_is_never_overwritten(home: Home) -> None:
    pair = create_keypair(home)
    before = pair.private.read_bytes()
    with pytest.raises(UsageError, match="a private key exists in"):
        create_keypair(home)
    assert pair.private.read_bytes() == before


def test_the_first_signer_creates_the_homes_key(home: Home) -> None:
    first = load_signer(home, {}).public_key.keyid
    assert load_signer(home, {}).public_key.keyid == first
    assert [key.keyid for key in trusted_keys(home, Policy())] == [first]


class TestMissingKeysFolder:
    """A key that signed approvals is replaced only on request."""

    def lose(self, home: Home) -> str:
        keyid = create_keypair(home).public.name.removesuffix(".pub.pem")
        shutil.rmtree(home / "keys")
        return keyid

    def test_is_not_recreated_by_the_next_signer(self, home: Home) -> None:
        keyid = self.lose(home)
        message = (
            f"the keys of home .* are missing .{keyid[:12]}.*restore .* 'ml-pipeline keys new'"
        )
        with pytest.raises(EnvironmentFault, match=message):
            load_signer(home, {})
        assert not private_path(home).exists()

    def test_is_reported_by_every_verification(self, home: Home) -> None:
        self.lose(home)
        with pytest.raises(EnvironmentFault, match="are missing"):
            trusted_keys(home, Policy())

    @pytest.mark.parametrize("evidence", ["approvals/aa.dsse.json", "history.jsonl"])
    def test_is_detected_in_a_home_of_an_earlier_version(self, home: Home, evidence: str) -> None:
        self.lose(home)
        (home / "approval-keys.txt").unlink()
        (home / evidence).parent.mkdir(exist_ok=True)
        (home / evidence).write_text("{}\n")
        with pytest.raises(EnvironmentFault, match=r"are missing: .* contains none"):
            load_signer(home, {})

    def test_is_replaced_on_request(self, home: Home) -> None:
        keyid = self.lose(home)
        pair = create_keypair(home)
        signer = load_signer(home, {})
        assert pair.public.name == f"{signer.public_key.keyid}.pub.pem"
        assert recorded_key_ids(home) == [keyid, signer.public_key.keyid]

    def test_is_not_reported_if_the_policy_names_the_keys(self, home: Home, tmp_path: Path) -> None:
        self.lose(home)
        pem = create_keypair(Home(tmp_path / "other")).public.read_text()
        assert len(trusted_keys(home, Policy(keys=(pem,)))) == 1

    def test_the_id_of_a_key_of_an_earlier_version_is_recorded(self, home: Home) -> None:
        keyid = create_keypair(home).public.name.removesuffix(".pub.pem")
        (home / "approval-keys.txt").unlink()
        load_signer(home, {})
        assert recorded_key_ids(home) == [keyid]

    @pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
    def test_a_signer_with_a_read_only_home_records_no_id(
        self, home: Home, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        keyid = create_keypair(home).public.name.removesuffix(".pub.pem")
        (home / "approval-keys.txt").unlink()

        opened = Path.open

        def refuse(path: Path, mode: str = "r", *given: Any, **named: Any) -> Any:
            if mode == "a":
                raise OSError(number, os.strerror(number), str(path))
            return opened(path, mode, *given, **named)

        monkeypatch.setattr(Path, "open", refuse)
        assert load_signer(home, {}).public_key.keyid == keyid


def test_the_environment_variable_selects_another_key(home: Home, tmp_path: Path) -> None:
    other = create_keypair(Home(tmp_path / "other"))
    signer = load_signer(home, {"ML_APPROVAL_KEY": str(other.private)})
    assert other.public.name == f"{signer.public_key.keyid}.pub.pem"
    assert not private_path(home).exists()


def test_a_home_with_an_external_private_key_gets_no_new_one(home: Home, tmp_path: Path) -> None:
    pair = create_keypair(home)
    elsewhere = pair.private.rename(tmp_path / "approval.pem")
    with pytest.raises(UsageError, match="ML_APPROVAL_KEY"):
        load_signer(home, {})
    assert len(trusted_keys(home, Policy())) == 1
    assert not pair.private.exists()
    signer = load_signer(home, {"ML_APPROVAL_KEY": str(elsewhere)})
    assert pair.public.name.startswith(signer.public_key.keyid)


class TestInvalidPrivateKey:
    def test_is_missing(self, home: Home, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="cannot read the private key"):
            load_signer(home, {"ML_APPROVAL_KEY": str(tmp_path / "none")})

    def test_a_file_without_a_key(self, home: Home, tmp_path: Path) -> None:
        path = tmp_path / "key"
        path.write_text("secret")
        with pytest.raises(UsageError, match="holds no usable private key"):
            load_signer(home, {"ML_APPROVAL_KEY": str(path)})

    def test_another_key_type(self, home: Home, tmp_path: Path) -> None:
        path = tmp_path / "key"
        key = ec.generate_private_key(ec.SECP256R1())
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        with pytest.raises(UsageError, match="Ed25519"):
            load_signer(home, {"ML_APPROVAL_KEY": str(path)})

    def test_an_encrypted_key(self, home: Home, tmp_path: Path) -> None:
        key = load_pem_private_key(create_keypair(Home(tmp_path / "o")).private.read_bytes(), None)
        path = tmp_path / "key"
        path.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
        )
        with pytest.raises(UsageError, match="unencrypted"):
            load_signer(home, {"ML_APPROVAL_KEY": str(path)})


class TestTrust:
    def test_the_policys_keys_alone_count(self, home: Home, tmp_path: Path) -> None:
        create_keypair(home)
        other = create_keypair(Home(tmp_path / "other"))
        pem = other.public.read_text()
        (trusted,) = trusted_keys(home, Policy(keys=(pem,)))
        assert other.public.name.startswith(trusted.keyid)

    def test_an_id_selects_the_homes_key_of_that_id(self, home: Home) -> None:
        keyid = create_keypair(home).public.name.removesuffix(".pub.pem")
        (trusted,) = trusted_keys(home, Policy(keys=(keyid,)))
        assert trusted.keyid == keyid

    def test_a_file_cannot_claim_an_id(self, home: Home, tmp_path: Path) -> None:
        pair = create_keypair(home)
        other = create_keypair(Home(tmp_path / "other"))
        pair.public.write_bytes(other.public.read_bytes())
        with pytest.raises(UsageError, match=r"trusted key .* is not in"):
            trusted_keys(home, Policy(keys=(pair.public.name.removesuffix(".pub.pem"),)))

    def test_a_file_that_holds_no_key_is_named(self, home: Home) -> None:
        pair = create_keypair(home)
        pair.public.write_text("nothing")
        with pytest.raises(UsageError, match=r"\.pub\.pem holds no Ed25519 public key"):
            trusted_keys(home, Policy())

    def test_a_home_without_keys_trusts_none(self, home: Home) -> None:
        assert trusted_keys(home, Policy()) == []
