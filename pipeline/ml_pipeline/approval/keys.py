"""The Ed25519 keys that sign approvals; the private key is readable by its owner only.

``approve`` needs the private key, ``promote`` the public one.

A home records the ids of the keys that were created in it. If the folder of the keys is missing,
no new key is created silently, since approvals signed by the missing one would no longer verify.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ml_pipeline.approval.policy import Policy
from ml_pipeline.core import workdir
from ml_pipeline.core.errors import EnvironmentFault, UsageError
from ml_pipeline.core.home import HISTORY, Home

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, SSlibKey

KEY_VARIABLE = "ML_APPROVAL_KEY"
"""Environment variable: the path of the private key file to sign with."""

FOLDER = "keys"
APPROVALS = "approvals"
"""Where the home keeps the approvals of what was in production."""
PRIVATE = "approval.pem"
PUBLIC_SUFFIX = ".pub.pem"
KEY_IDS = "approval-keys.txt"
"""In the home, beside the folder: ids of the keys that were created in it, one a line."""
READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


def private_path(home: Home) -> Path:
    return home / FOLDER / PRIVATE


@dataclass(frozen=True)
class KeyPair:
    """Paths of the two halves; the public one has the key's id as its name."""

    private: Path
    public: Path


def create_keypair(home: Home) -> KeyPair:
    """Create a key pair in the home: PKCS#8 private key (mode 0600) and public key, both PEM.

    Raises:
        UsageError: a private key exists already; it is never overwritten.
        EnvironmentFault: the home cannot be written.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from securesystemslib.signer import CryptoSigner

    home.make()
    path = private_path(home)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    key = Ed25519PrivateKey.generate()
    signer = CryptoSigner(key)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(
            f"a private key exists in {path}",
            hint="move it away to create another; keep the public key for earlier approvals",
        ) from None
    with os.fdopen(handle, "wb") as stream:
        stream.write(signer.private_bytes)
        stream.flush()
        os.fsync(stream.fileno())
    public = path.parent / f"{signer.public_key.keyid}{PUBLIC_SUFFIX}"
    workdir.write_bytes(
        public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    _record_key_id(home, signer.public_key.keyid)
    return KeyPair(path, public)


def load_signer(home: Home, environment: Mapping[str, str] | None = None) -> CryptoSigner:
    """Return the signer of ``ML_APPROVAL_KEY``, or else of the home.

    A key pair is created in a home that never had one. It is not in a home with public keys: its
    private key was moved elsewhere, and a new one would be trusted like it.

    Raises:
        UsageError: the key file cannot be read or holds no unencrypted Ed25519 key.
        EnvironmentFault: the home had a key that is missing now.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    variable = (os.environ if environment is None else environment).get(KEY_VARIABLE)
    path = Path(variable) if variable else private_path(home)
    if not variable and not path.exists():
        if any((home / FOLDER).glob(f"*{PUBLIC_SUFFIX}")):
            raise UsageError(
                f"the private key is not in {path}",
                expected=f"{KEY_VARIABLE}: the path of the private key",
                hint="or run 'ml-pipeline keys new', which creates a further trusted key",
            )
        check_keys_exist(home)
        create_keypair(home)
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise UsageError(f"cannot read the private key {path}: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise _invalid_key_error(path) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise _invalid_key_error(path)
    signer = CryptoSigner(key)
    if not variable:
        _record_key_id(home, signer.public_key.keyid)
    return signer


def trusted_keys(home: Home, policy: Policy) -> list[SSlibKey]:
    """Return the trusted public keys.

    If the policy lists keys, only these: as PEM, or by the id of a public key in the home (the id
    is computed from the key, so a file name cannot forge it). Otherwise those of the home.

    Raises:
        UsageError: a key of the policy is neither PEM nor in the home, or a file holds no key.
        EnvironmentFault: the policy lists no keys, and those of the home are missing.
    """
    home_keys: dict[str, SSlibKey] = {}
    for path in sorted((home / FOLDER).glob(f"*{PUBLIC_SUFFIX}")):
        key = _load_public_key(path.read_bytes(), str(path))
        home_keys[key.keyid] = key
    if not policy.keys:
        if not home_keys and not private_path(home).exists():
            check_keys_exist(home)
        return list(home_keys.values())
    keys = []
    for entry in policy.keys:
        if "BEGIN PUBLIC KEY" in entry:
            keys.append(_load_public_key(entry.encode(), "keys of the policy"))
        elif entry in home_keys:
            keys.append(home_keys[entry])
        else:
            raise UsageError(
                f"trusted key {entry[:16]} of the policy is not in {home / FOLDER}",
                hint=f"put it there as *{PUBLIC_SUFFIX}, or its PEM into the policy",
            )
    return keys


def check_keys_exist(home: Home) -> None:
    """Refuse a home whose keys are missing; a home that never had a key passes.

    Raises:
        EnvironmentFault: the home once had a key or holds approvals, but has no key now.
    """
    ids = recorded_key_ids(home)
    signed = any((home / APPROVALS).glob("*.dsse.json")) or bool(_history(home))
    if not ids and not signed:
        return
    named = f" ({', '.join(keyid[:12] for keyid in ids)})" if ids else ""
    raise EnvironmentFault(
        f"the keys of home {home.root} are missing{named}: {home / FOLDER} contains none",
        expected="the keys that signed the approvals of this home",
        hint="restore the folder from a backup, or name the public key in the policy's 'keys'; "
        "'ml-pipeline keys new' creates another key, which does not verify earlier approvals",
    )


def recorded_key_ids(home: Home) -> list[str]:
    """Return the ids of the keys that were created in a home, oldest first."""
    try:
        lines = (home / KEY_IDS).read_text().split()
    except FileNotFoundError:
        return []
    return list(dict.fromkeys(lines))


def _history(home: Home) -> bytes:
    try:
        return (home / HISTORY).read_bytes().strip()
    except FileNotFoundError:
        return b""


def _record_key_id(home: Home, keyid: str) -> None:
    """Append the id to the record; a signer with a read-only home skips it."""
    if keyid in recorded_key_ids(home):
        return
    try:
        with (home / KEY_IDS).open("a") as stream:
            stream.write(f"{keyid}\n")
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise


def _load_public_key(pem: bytes, where: str) -> SSlibKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer import SSlibKey

    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError(f"{where} holds no Ed25519 public key", expected="PEM")
    return SSlibKey.from_crypto(key)


def _invalid_key_error(path: Path) -> UsageError:
    return UsageError(
        f"{path} holds no usable private key",
        expected="an unencrypted Ed25519 key, PEM (PKCS#8)",
        hint="'ml-pipeline keys new' creates one",
    )
