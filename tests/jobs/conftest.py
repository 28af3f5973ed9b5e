"""The double of Jenkins that the tests of strict-jenkins-jobs have."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

DOUBLE = Path(__file__).resolve().parents[2] / "strict-jenkins-jobs/tests/double.py"


@pytest.fixture
def jenkins_server() -> Iterator[Any]:
    spec = importlib.util.spec_from_file_location("jenkins_double", DOUBLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    with module.running() as double:
        yield double
