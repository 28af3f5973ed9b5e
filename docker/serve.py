"""Starts the server in its container; ``--healthy`` checks the running server.

The token and the key of ``serving.redact`` are read from files, since ``docker inspect`` shows a
container's environment and command.
With ``--digest`` only the bundle with this digest is served. If the folder ``CONTROL`` is writable,
the server creates its control socket for live shadows there.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from http.client import HTTPConnection
from pathlib import Path

PLACE = Path("/srv/ml-pipeline")
CONTROL = Path("/run/ml-pipeline")
PORT = 8000
TOKEN = "ML_SERVING_TOKEN"  # noqa: S105  a variable's name


def healthy() -> bool:
    connection = HTTPConnection("127.0.0.1", PORT, timeout=4)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def is_the_bundle(digest: str) -> bool:
    """Whether the manifest, by which the server verifies all other files, has this digest."""
    try:
        content = (PLACE / "bundle/manifest.json").read_bytes()
    except OSError:
        content = b""
    actual = hashlib.sha256(content).hexdigest()
    if actual != digest:
        sys.stderr.write(f"error: the image holds bundle {actual}; expected {digest}\n")
    return actual == digest


def main(arguments: list[str]) -> int:
    if arguments == ["--healthy"]:
        return 0 if healthy() else 1
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--digest")
    options, arguments = parser.parse_known_args(arguments)
    if options.digest is not None and not is_the_bundle(options.digest):
        return 1
    from ml_pipeline.serving.__main__ import main as serve

    server = ["--bundle", str(PLACE / "bundle"), "--host", "0.0.0.0", "--port", str(PORT)]  # noqa: S104
    token = PLACE / "token"
    if token.exists():
        os.environ[TOKEN] = token.read_text(encoding="ascii")
        server += ["--token-env", TOKEN]
    key = PLACE / "redact-key"
    if key.exists():
        server += ["--redact-key-file", str(key)]
    if os.access(CONTROL, os.W_OK | os.X_OK):
        server += ["--shadow-control", str(CONTROL / "server.sock")]
    return serve([*server, *arguments])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
