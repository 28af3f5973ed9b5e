"""Credentials and the fixture `jenkins` with the library of these tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_jenkinsfile import Jenkins

HERE = Path(__file__).parent
CREDENTIALS = {
    "a-token": {"secret": "s3cret-token"},
    "a-login": {"username": "robot", "password": "hunter-2"},
    "a-file": {"file": "PRIVATE-BYTES", "name": "key.pem"},
}


@pytest.fixture(scope="session")
def jenkins() -> Iterator[Jenkins]:
    """The plugin's fixture with the library of these tests.

    It is a separate fixture, since the plugin's may have the library of another folder that ran
    earlier in the session.
    """
    with Jenkins(library=HERE / "library") as running:
        yield running
