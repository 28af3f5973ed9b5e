"""Access to a server: loopback addresses, and the bearer token that all others require."""

from __future__ import annotations

import os

from ml_pipeline.core.errors import UsageError

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def read_token(host: str, token_env: str | None) -> str | None:
    """Return the bearer token from the environment variable ``token_env``.

    Raises:
        UsageError: the variable holds no token, or none is named and ``host`` is not loopback.
    """
    if token_env is None:
        if host not in LOOPBACK:
            raise UsageError(
                f"host {host} is not a loopback address, and no bearer token is configured",
                expected="serving.token_env: the environment variable with the bearer token",
                hint="or host 127.0.0.1",
            )
        return None
    token = os.environ.get(token_env, "")
    if not token or not token.isascii() or not token.isprintable() or token != token.strip():
        raise UsageError(
            f"environment variable {token_env} holds no token", expected="printable ASCII text"
        )
    return token
