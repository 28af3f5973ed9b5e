"""Starts the server in its container; ``--healthy`` asks the one that runs there.

The token comes in a file, since ``docker inspect`` shows a container's environment and command.
"""

from __future__ import annotations

import os
import sys
from http.client import HTTPConnection
from pathlib import Path

PLACE = Path("/srv/ml-pipeline")
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


def main(arguments: list[str]) -> int:
    if arguments == ["--healthy"]:
        return 0 if healthy() else 1
    from pipeline.serving.__main__ import main as serve

    own = ["--bundle", str(PLACE / "bundle"), "--host", "0.0.0.0", "--port", str(PORT)]  # noqa: S104
    token = PLACE / "token"
    if token.exists():
        os.environ[TOKEN] = token.read_text(encoding="ascii")
        own += ["--token-env", TOKEN]
    return serve([*own, *arguments])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
