"""One Java process for all tests of this folder, by the fixtures that users have too."""

from __future__ import annotations

from pathlib import Path

import pytest
from ml_pipeline.jenkinsfile.fixtures import jenkins

__all__ = ["jenkins"]

HERE = Path(__file__).parent
CREDENTIALS = {
    "a-token": {"secret": "s3cret-token"},
    "a-login": {"username": "robot", "password": "hunter-2"},
    "a-file": {"file": "PRIVATE-BYTES", "name": "key.pem"},
}


@pytest.fixture(scope="session")
def jenkins_library() -> Path:
    return HERE / "library"
