"""The name of the user of the system goes into statements and records, which are UTF-8."""

from __future__ import annotations

import pytest
from ml_pipeline.approval.current_user import user


def test_a_name_that_is_not_utf_8_is_spelt_with_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "J\udcf6rg")
    assert user() == "J\\udcf6rg"
