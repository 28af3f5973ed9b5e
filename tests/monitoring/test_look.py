"""Looks at a model in use: what is alarmed, when an alarm ends, and what a killed look leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from ml_pipeline.core import workdir
from ml_pipeline.core.report import Verdict
from ml_pipeline.monitoring.conclusions import Conclusion
from ml_pipeline.monitoring.live_traffic import Traffic
from ml_pipeline.monitoring.look import LookResult
from ml_pipeline.monitoring.state import last_conclusion

from tests.monitoring.model_in_use import InUse, rows

MakeInUse = Callable[..., InUse]


def check(result: LookResult, name: str) -> Any:
    return next(each for each in result.checks if each.name == name)


def test_rows_as_in_training_are_fine(in_use: MakeInUse) -> None:
    model = in_use()
    model.serve(0, rows(500, seed=2))
    result = model.look(0)
    assert result.suggestion.conclusion is Conclusion.FINE, result.suggestion
    assert result.metrics["rows"] == 500
    assert result.metrics["events"] == []


def test_drift_in_an_important_feature_suggests_a_retraining_that_says_why(
    in_use: MakeInUse,
) -> None:
    model = in_use()
    model.serve(0, rows(500, seed=2))
    model.look(0)
    model.serve(1, rows(500, seed=3, shift=1.0))
    result = model.look(1)
    suggestion = result.suggestion
    assert suggestion.conclusion is Conclusion.RETRAIN
    assert suggestion.cause.startswith("drift of x: +")
    assert "sd" in suggestion.cause
    assert "since 2 May 2026" in suggestion.cause
    assert check(result, "drift of x").verdict is Verdict.FAIL
    assert check(result, "drift of c").verdict is Verdict.PASS
    assert [event["event"] for event in result.metrics["events"]] == ["opened"] * 2


def test_an_alarm_is_opened_once_and_resolved_when_the_drift_ends(in_use: MakeInUse) -> None:
    model = in_use()
    events = []
    for day in range(6):
        shift = 1.0 if day in (1, 2) else 0.0
        model.serve(day, rows(500, seed=10 + day, shift=shift))
        result = model.look(day)
        events += [(day, one["name"], one["event"]) for one in result.metrics["events"]]
    assert [each for each in events if each[1] == "drift of x"] == [
        (1, "drift of x", "opened"),
        (3, "drift of x", "resolved"),
    ]
    assert result.suggestion.conclusion is Conclusion.FINE
    lines = (model.folder / "alarms.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines].count("opened") == len(lines) / 2


def test_missing_values_are_a_fault_of_the_source_to_investigate(in_use: MakeInUse) -> None:
    model = in_use()
    broken = [[None if place % 3 == 0 else x, c] for place, (x, c) in enumerate(rows(600, seed=4))]
    model.serve(0, broken)
    result = model.look(0)
    assert result.suggestion.conclusion is Conclusion.INVESTIGATE
    assert "of rows without a value" in result.suggestion.reason


def test_drift_in_a_feature_that_the_model_ignores_is_shown_and_not_alarmed(
    in_use: MakeInUse,
) -> None:
    model = in_use(ignored_importance=0.5)
    values = [[x, "north"] for x, _ in rows(500, seed=5)]
    model.serve(0, values)
    result = model.look(0)
    drift = check(result, "drift of c")
    assert (drift.verdict, drift.required) == (Verdict.FAIL, False)
    assert not any(one["name"] == "drift of c" for one in result.metrics["events"])


def test_too_few_rows_are_inconclusive(in_use: MakeInUse) -> None:
    model = in_use(min_rows=200)
    model.serve(0, rows(50, seed=6))
    result = model.look(0)
    assert result.suggestion.conclusion is Conclusion.INCONCLUSIVE
    assert "too few rows to judge: 50 of at least 200" in result.suggestion.reason


def test_an_empty_window_is_inconclusive_and_says_so(in_use: MakeInUse) -> None:
    model = in_use()
    model.serve(0, rows(500, seed=2))
    model.look(0)
    result = model.look(1)
    assert result.suggestion.conclusion is Conclusion.INCONCLUSIVE
    assert "no row was predicted since the last look" in result.suggestion.reason


def test_a_missing_log_is_inconclusive(in_use: MakeInUse) -> None:
    result = in_use().look(0)
    assert check(result, "prediction log").verdict is Verdict.INCONCLUSIVE
    assert result.suggestion.conclusion is Conclusion.INCONCLUSIVE


def test_silence_beyond_the_limit_is_an_alarm(in_use: MakeInUse) -> None:
    model = in_use(max_silence_hours=24)
    model.serve(0, rows(500, seed=2))
    model.look(0)
    result = model.look(3)
    assert result.suggestion.conclusion is Conclusion.INVESTIGATE
    assert "no request for 74 hours" in result.suggestion.reason


def test_a_day_with_far_fewer_rows_than_the_same_weekday_before_is_an_alarm(
    in_use: MakeInUse,
) -> None:
    model = in_use()
    for day in range(64):
        model.serve(day, rows(10 if day == 63 else 200 + 10 * (day % 7), seed=100 + day))
    assert model.look(63).suggestion.conclusion is Conclusion.FINE, "the day is not over"
    result = model.look(64)
    assert "10 rows on 3 July 2026, 200 are usual on this weekday" in result.suggestion.reason
    assert check(result, "volume").verdict is Verdict.FAIL


def test_a_constant_feature_a_feature_without_values_and_one_of_100_000_words(
    in_use: MakeInUse,
) -> None:
    model = in_use()
    model.serve(0, [[0.25, "north"]] * 300)
    constant = model.look(0)
    assert check(constant, "drift of x").verdict is Verdict.FAIL

    model.serve(1, [[None, None]] * 300)
    missing = model.look(1)
    assert missing.metrics["features"]["x"]["kind"] == "missing"

    model.serve(2, [[x, f"word {place}"] for place, (x, _) in enumerate(rows(100_000, seed=7))])
    words = model.look(2)
    assert words.metrics["features"]["c"]["kind"] == "unseen"
    assert (model.folder / "summaries-3.npz").stat().st_size < 50_000


def test_a_version_without_a_server_is_an_alarm(in_use: MakeInUse) -> None:
    model = in_use()
    model.traffic = Traffic()
    model.serve(0, rows(500, seed=2))
    result = model.look(0)
    assert result.suggestion.reason.startswith("no server of this version responds")


def test_refused_requests_above_the_limit_are_an_alarm(in_use: MakeInUse) -> None:
    model = in_use()
    model.traffic = Traffic({"1": {200: 500, 422: 100}}, {200: 500.0, 422: 100.0}, 1)
    model.serve(0, rows(500, seed=2))
    result = model.look(0)
    assert "16.67% of 600 requests were refused" in result.suggestion.reason


def test_a_model_older_than_the_limit_is_to_be_retrained(in_use: MakeInUse) -> None:
    model = in_use(max_age_days=365)
    model.serve(0, rows(500, seed=2))
    result = model.look(0)
    assert result.suggestion.conclusion is Conclusion.RETRAIN
    assert result.suggestion.cause == (
        "the training data end on 2024-03-01, 791 days ago; the limit is 365"
    )


def test_an_unreadable_line_is_named_and_the_rest_is_read(in_use: MakeInUse) -> None:
    model = in_use()
    path = model.serve(0, rows(500, seed=2))
    lines = path.read_bytes().splitlines(keepends=True)
    lines[100] = b'{"request_id": "r0-99", "ti\n'
    path.write_bytes(b"".join(lines))
    result = model.look(0)
    assert result.metrics["rows"] == 499
    assert result.suggestion.conclusion is Conclusion.INVESTIGATE
    assert f"{path.name}" in result.suggestion.reason
    assert "line 101" in result.suggestion.reason


def test_rows_of_another_version_are_counted_and_not_judged(
    in_use: MakeInUse, make_bundle: Callable[..., Any]
) -> None:
    model = in_use()
    model.serve(0, rows(500, seed=2))
    other = replace(model, bundle=make_bundle("two", identity="b"), version=2)
    other.serve(0, rows(300, seed=3, shift=5.0))
    result = model.look(0)
    assert result.metrics["rows"] == 500
    assert result.metrics["other_versions"] == {"2": 300}
    assert result.suggestion.conclusion is Conclusion.FINE


def test_an_alarm_about_a_replaced_version_is_resolved(
    in_use: MakeInUse, make_bundle: Callable[..., Any]
) -> None:
    from tests.monitoring.model_in_use import reference_file

    model = in_use()
    model.serve(0, rows(500, seed=3, shift=1.0))
    assert model.look(0).suggestion.conclusion is Conclusion.RETRAIN
    model.bundle, model.version = (
        make_bundle("two", identity="b", reference=reference_file()),
        2,
    )
    model.serve(1, rows(500, seed=4))
    result = model.look(1)
    assert {one["event"] for one in result.metrics["events"]} == {"resolved"}
    assert result.suggestion.conclusion is Conclusion.FINE


def test_a_look_killed_at_any_write_has_counted_nothing_and_loses_nothing(
    in_use: MakeInUse, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = in_use()
    model.serve(0, rows(300, seed=2))
    model.look(0)
    model.serve(1, rows(300, seed=3))
    real = workdir.atomic_path
    writes = 0

    class Killed(BaseException):
        pass

    def killed_before(limit: int) -> Any:
        def atomic_path(path: Any) -> Any:
            nonlocal writes
            writes += 1
            if writes == limit:
                raise Killed
            return real(path)

        return atomic_path

    for limit in (1, 2):
        writes = 0
        monkeypatch.setattr(workdir, "atomic_path", killed_before(limit))
        with pytest.raises(Killed):
            model.look(1)
    monkeypatch.setattr(workdir, "atomic_path", real)
    state = model.folder.read()
    assert state is not None
    assert (state.look, state.rows) == (1, 300)
    result = model.look(1)
    assert result.metrics["rows"] == 300
    assert result.metrics["rows_of_version"] == 600
    assert [path.name for path in model.folder.root.glob("summaries-*")] == ["summaries-2.npz"]


def test_events_of_a_look_that_was_killed_after_its_end_are_in_the_list_of_alarms(
    in_use: MakeInUse,
) -> None:
    model = in_use()
    model.serve(0, rows(500, seed=3, shift=1.0))
    model.look(0, run_id="one")
    listed = model.folder / "alarms.jsonl"
    whole = listed.read_text()
    listed.write_text(whole[: len(whole) // 2])
    model.look(0, run_id="one")
    assert {json.loads(line)["id"] for line in listed.read_text().splitlines()} == {
        json.loads(line)["id"] for line in whole.splitlines()
    }


def test_a_repeated_run_reports_the_events_of_its_first_try(in_use: MakeInUse) -> None:
    model = in_use()
    model.serve(0, rows(500, seed=3, shift=1.0))
    first = model.look(0, run_id="one").metrics["events"]
    assert model.look(0, run_id="one").metrics["events"] == first
    assert model.look(0, run_id="two").metrics["events"] == []


def test_the_last_conclusion_is_kept_for_plan(in_use: MakeInUse) -> None:
    model = in_use()
    assert last_conclusion(model.home, "production") is None
    model.serve(0, rows(500, seed=3, shift=1.0))
    model.look(0)
    model.serve(1, rows(500, seed=4, shift=1.0))
    model.look(1)
    found = last_conclusion(model.home, "production")
    assert found is not None
    assert found.conclusion is Conclusion.RETRAIN
    assert found.cause.startswith("drift of x")
    assert found.since < found.at
