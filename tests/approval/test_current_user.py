"""The user's name goes into statements and records, which are UTF-8."""

from __future__ import annotations

import pytest
from ml_pipeline.approval.current_user import current_user_name


def test_a_name_that_is_not_utf_8_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "J\udcf6rg")
    assert current_user_name() == "J\\udcf6rg"
