from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.home import Home
from ml_pipeline.monitoring import dated_change as module
from ml_pipeline.monitoring.conclusions import Conclusion
from ml_pipeline.monitoring.dated_change import dated_change
from ml_pipeline.monitoring.state import LastConclusion

NOW = datetime(2026, 5, 20, tzinfo=UTC)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def saw(monkeypatch: pytest.MonkeyPatch, day: str, version: int = 3) -> None:
    seen = LastConclusion(NOW, version, Conclusion.RETRAIN, "drift", "drift", NOW, day)
    monkeypatch.setattr(module, "last_conclusion", lambda *_: seen)


def test_is_the_first_day_of_the_drift(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    saw(monkeypatch, "2026-05-12")
    assert dated_change(home, "production", 3, None) == date(2026, 5, 12)
    assert dated_change(home, "production", 3, "2025-01-01") == date(2026, 5, 12)


def test_is_that_of_the_champion_while_no_other_is_seen(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dated_change(home, "production", 3, "2025-01-01") == date(2025, 1, 1)
    assert dated_change(home, "production", 3, None) is None
    saw(monkeypatch, "")
    assert dated_change(home, "production", 3, "2025-01-01") == date(2025, 1, 1)
    saw(monkeypatch, "2026-05-12", version=2)
    assert dated_change(home, "production", 3, None) is None


def test_that_is_no_day_is_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    saw(monkeypatch, "lately")
    with pytest.raises(EnvironmentFault, match="the drift since 'lately'"):
        dated_change(home, "production", 3, None)
