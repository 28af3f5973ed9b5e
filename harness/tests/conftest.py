"""Values that several tests share; the fixture ``jenkins`` is the plugin's."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
CREDENTIALS = {
    "a-token": {"secret": "s3cret-token"},
    "a-login": {"username": "robot", "password": "hunter-2"},
    "a-file": {"file": "PRIVATE-BYTES", "name": "key.pem"},
}


@pytest.fixture(scope="session")
def jenkins_library() -> Path:
    return HERE / "library"
