"""ml_pipeline.core.clock: ages that no setting of the wall clock changes; who asks that clock."""

import ast
from datetime import timedelta
from pathlib import Path

import pytest
from ml_pipeline.core import clock

from tests.clocks import Boot, set_wall_clock

PACKAGE = Path(__file__).resolve().parents[2] / "pipeline/ml_pipeline"
DAY = timedelta(days=1)
SHOWN = {
    "targets/copy_prediction_log.py": "the age of files, by which `keep_days` removes them",
    "targets/docker/container.py": "the date of a folder in an archive",
    "online/live_shadow.py": "a shadow that an earlier version started, or where Linux is not",
    "targets/released_bundles.py": "the age of a copy, where Linux is not",
    "problems/compute_features.py": "the day that a row of the future is of",
    "project/retraining_plan.py": "days of the calendar since a version was trained",
    "promotion/journal.py": "a name, which sorts after the earlier ones all the same",
    "promotion/production_history.py": "the date in the history",
    "promotion/watch_state.py": "dates, and promotions that an earlier version made",
    "registry/leases.py": "dates of leases, which do not expire",
    "registry/registration.py": "dates of runs",
    "registry/search_history.py": "dates of metrics",
    "scoring/score.py": "the date of scores",
    "serving/server_metrics.py": "when the server started",
    "serving/prediction_log.py": "dates of requests, and names that sort all the same",
    "stages/approve.py": "the date of an answer",
    "stages/monitor.py": "days of the budget of false alarms; a clock set back spends nothing",
    "stages/runner.py": "dates in reports",
    "stages/session.py": "a part of a run's id",
    "data/validated_source.py": "the day that a row of the future is of",
}
"""Modules that ask the wall clock, and what for: never for a duration that decides something."""


def asks_the_wall_clock(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            asked = f"{node.value.id}.{node.attr}"
            if asked in ("time.time", "datetime.now", "datetime.utcnow", "date.today"):
                return True
    return False


def test_only_listed_modules_use_the_wall_clock():
    found = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if asks_the_wall_clock(path)
    }
    assert sorted(found - SHOWN.keys()) == [], "measure a duration by ml_pipeline.core.clock"
    assert sorted(SHOWN.keys() - found) == [], "listed for nothing"


@pytest.mark.parametrize("jump", [DAY, -DAY], ids=["forward", "backward"])
def test_an_age_is_not_changed_by_the_wall_clock(monkeypatch, jump):
    began = clock.marks()
    set_wall_clock(monkeypatch, jump)
    assert 0 <= clock.age(began) < 3600


def test_an_age_grows_with_the_time_since_the_boot(monkeypatch):
    boot = Boot(monkeypatch)
    began = clock.marks()
    boot.seconds += 90
    assert clock.age(began) == 90


def test_a_mark_of_another_boot_has_no_age(monkeypatch):
    boot = Boot(monkeypatch)
    began = clock.marks()
    boot.boot, boot.seconds = "next", 5.0
    assert clock.age(began) is None
    both = clock.marks(began)
    boot.seconds += 1
    assert (clock.age(both), both) == (1.0, {"this": 1000.0, "next": 5.0})


def test_a_system_without_the_clock_marks_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(clock, "BOOT_ID", tmp_path / "none")
    assert (clock.reading(), clock.marks(), clock.age({"this": 1.0})) == (None, {}, None)
