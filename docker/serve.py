"""Starts the server in its container; ``--healthy`` asks the one that runs there.

The token comes in a file, since ``docker inspect`` shows a container's environment and command.
With ``--digest`` it serves the bundle of this digest and no other, whatever the image holds. A
folder that it may write to at ``CONTROL`` gets the socket by which a live shadow asks for copies.
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
    """Whether the manifest, by which the server verifies all other files, is the one named."""
    try:
        content = (PLACE / "bundle/manifest.json").read_bytes()
    except OSError:
        content = b""
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        sys.stderr.write(f"error: the image holds bundle {found}; expected {digest}\n")
    return found == digest


def main(arguments: list[str]) -> int:
    if arguments == ["--healthy"]:
        return 0 if healthy() else 1
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--digest")
    given, arguments = parser.parse_known_args(arguments)
    if given.digest is not None and not is_the_bundle(given.digest):
        return 1
    from ml_pipeline.serving.__main__ import main as serve

    own = ["--bundle", str(PLACE / "bundle"), "--host", "0.0.0.0", "--port", str(PORT)]  # noqa: S104
    token = PLACE / "token"
    if token.exists():
        os.environ[TOKEN] = token.read_text(encoding="ascii")
        own += ["--token-env", TOKEN]
    if os.access(CONTROL, os.W_OK | os.X_OK):
        own += ["--shadow-control", str(CONTROL / "server.sock")]
    return serve([*own, *arguments])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
