"""The key of ``serving.redact``: in an environment variable, or in a file of the home."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from ml_pipeline.config import ServingSection
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.home import KEYS, Home
from ml_pipeline.serving.redaction import read_key
from ml_pipeline.targets import server_arguments

FILE = "redact.key"


def key_file(home: Home) -> Path:
    """Return the path of the key file; it is used unless ``serving.redact_key_env`` is set."""
    return home / KEYS / FILE


def find_key(serving: ServingSection, home: Home) -> bytes | None:
    """Return the key; None if there is none.

    Raises:
        UsageError: it is too short.
    """
    name = serving.redact_key_env
    if not os.environ.get(name, "") if name else not key_file(home).exists():
        return None
    return read_key(name, key_file(home))


def require_key(serving: ServingSection, home: Home) -> bytes | None:
    """Return the key for a server, and create the key file if necessary; None if it needs none.

    Raises:
        UsageError: the environment variable holds no key.
        EnvironmentFault: the key file cannot be written.
    """
    if not server_arguments.hashes_features(serving):
        return None
    path = key_file(home)
    if serving.redact_key_env is None and not path.exists():
        _create(path)
    return read_key(serving.redact_key_env, path)


def _create(path: Path) -> None:
    """Write a new key, unless another process has done so."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w") as stream:
                stream.write(secrets.token_hex(32) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise EnvironmentFault(
            f"{path}: {error.strerror}", expected="a file for the key of serving.redact"
        ) from None


def server_key_arguments(serving: ServingSection, home: Home) -> list[str]:
    """Return the arguments by which a server process on this machine finds its key."""
    if not server_arguments.hashes_features(serving):
        return []
    if serving.redact_key_env is not None:
        return ["--redact-key-env", serving.redact_key_env]
    return ["--redact-key-file", str(key_file(home).absolute())]
