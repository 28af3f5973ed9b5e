"""What the steps expect of the package: errors beside --args, and the version that was shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ml_pipeline import cli
from ml_pipeline.approval.subject import require_challenger
from ml_pipeline.core.errors import Refused
from ml_pipeline.registry.versions import CHALLENGER, RegistryState, Version


def write(folder: Path, **given: Any) -> Path:
    file = folder / "train.json"
    file.write_text(json.dumps(given))
    return file


def test_an_error_without_a_report_is_written_beside_the_arguments(tmp_path: Path) -> None:
    (tmp_path / "ml.yaml").write_text("project: small\nevalute: {}\n")
    file = write(tmp_path, project=str(tmp_path))
    assert cli.main(["train", "--args", str(file)]) == 2
    assert "did you mean 'evaluate'?" in (tmp_path / "train.error").read_text()


def test_wrong_arguments_are_refused_by_the_package_too(tmp_path: Path) -> None:
    file = write(tmp_path, qiuck=True)
    assert cli.main(["train", "--args", str(file)]) == 2
    assert "unknown key 'qiuck'" in (tmp_path / "train.error").read_text()


def state(challenger: int) -> RegistryState:
    version = Version("m", challenger, "a", "b")
    return RegistryState("m", True, (version,), {CHALLENGER: challenger})


@pytest.mark.parametrize("expected", [None, 7])
def test_approve_decides_on_the_version_that_was_shown(expected: int | None) -> None:
    assert require_challenger(state(7), expected).number == 7


def test_approve_refuses_a_newer_challenger(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="version 8 is the challenger now; expected version 7"):
        require_challenger(state(8), 7)
