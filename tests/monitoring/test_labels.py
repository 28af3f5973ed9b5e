"""Late labels: each served row gets its label once, and what is amiss is said."""

import sqlite3
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_pipeline.core.errors import EnvironmentFault, UsageError
from ml_pipeline.core.report import Verdict
from ml_pipeline.monitoring.labelled_rows import read_labelled
from ml_pipeline.monitoring.labels import labelled_files, segments
from ml_pipeline.tasks.binary_classification import BINARY
from ml_pipeline.tasks.multiclass_classification import MulticlassClassification
from ml_pipeline.tasks.regression import Regression

from tests.monitoring.conftest import DIGEST, NOW, LabelDesk, served

DAY = timedelta(days=1)


def found(desk, look=None):
    """Return what was joined up to a look: request id, row and label."""
    rows = []
    for path in labelled_files(desk.folder, desk.look if look is None else look):
        table = pq.read_table(path)
        rows += zip(
            table["request_id"].to_pylist(),
            table["row"].to_pylist(),
            table["label"].to_pylist(),
            strict=True,
        )
    return rows


class TestByRequest:
    def test_a_label_is_joined_to_its_request_and_other_rows_wait(self, desk):
        desk = desk()
        desk.labels("a,1", "b,0")
        joined = desk.at(NOW, served(["a", "b", "c"]))
        assert found(desk) == [("a", 0, "1"), ("b", 0, "0")]
        assert (joined.labelled, joined.waiting, joined.missing) == (2, 1, 0)
        check = joined.check(7)
        assert (check.verdict, check.observed) == (
            Verdict.PASS,
            "2 joined, 1 rows wait, 0 of 2 missing",
        )

    def test_a_label_that_comes_in_a_later_look_finds_the_row_that_waited(self, desk):
        desk = desk()
        desk.labels("a,1")
        desk.at(NOW, served(["a", "b"]))
        desk.labels("a,1", "b,0")
        joined = desk.at(NOW + DAY)
        assert found(desk) == [("a", 0, "1"), ("b", 0, "0")]
        assert (joined.labelled, joined.waiting) == (1, 0)
        assert "twice" not in joined.check(7).why, "a source may keep its labels"

    def test_a_label_that_is_empty_has_not_come(self, desk):
        desk = desk()
        desk.labels("a,", "b,0")
        assert desk.at(NOW, served(["a", "b"])).waiting == 1

    @pytest.mark.parametrize("content", ["", "id,label\n"])
    def test_a_source_without_rows_has_no_label_yet(self, desk, content):
        desk = desk()
        desk.file.write_text(content)
        joined = desk.at(NOW, served(["a"]))
        assert (joined.waiting, joined.check(7).verdict) == (1, Verdict.PASS)

    def test_rows_of_a_request_have_their_own_labels(self, desk):
        desk = desk(row="row")
        desk.labels("a,0,1", "a,1,0", header="id,row,label")
        desk.at(NOW, served(["a", "a"], places=[0, 1]))
        assert found(desk) == [("a", 0, "1"), ("a", 1, "0")]

    def test_without_a_column_of_rows_a_request_of_several_cannot_be_joined(self, desk):
        desk = desk()
        desk.labels("a,1", "b,1")
        joined = desk.at(NOW, served(["a", "a", "b"], places=[0, 1, 0]))
        assert found(desk) == [("b", 0, "1")]
        check = joined.check(7)
        assert check.verdict is Verdict.INCONCLUSIVE
        assert "2 rows cannot be joined" in check.why
        assert "set monitor.labels.row" in check.why


def test_labels_may_come_from_a_database(desk):
    desk = desk(source={"kind": "sql", "url": "sqlite:///labels.db", "query": "select * from t"})
    with sqlite3.connect(desk.project.root / "labels.db") as database:
        database.execute("create table t (id text, label integer)")
        database.execute("insert into t values ('a', 1), ('b', null), ('007', 0)")
    database.close()
    desk.at(NOW, served(["a", "b", "007"]))
    assert found(desk) == [("a", 0, "1"), ("007", 0, "0")]


class TestFaults:
    def test_a_label_twice_and_equal_counts_once(self, desk):
        desk = desk()
        desk.labels("a,1", "a,1")
        joined = desk.at(NOW, served(["a"]))
        assert (joined.labelled, joined.labels.equal) == (1, 1)
        assert joined.check(7).verdict is Verdict.PASS
        assert "1 labels are in the source twice" in joined.check(7).why

    def test_a_label_twice_and_different_is_left_out_and_said(self, desk):
        desk = desk()
        desk.labels("a,1", "b,1", "a,0")
        joined = desk.at(NOW, served(["a", "b"]))
        assert found(desk) == [("b", 0, "1")]
        check = joined.check(7)
        assert check.verdict is Verdict.INCONCLUSIVE
        assert "1 keys have different labels and are left out: 'a 0'" in check.why

    def test_a_label_that_changes_after_it_was_joined_is_said_and_the_first_stays(self, desk):
        desk = desk()
        desk.labels("a,1")
        desk.at(NOW, served(["a"]))
        desk.labels("a,0")
        joined = desk.at(NOW + DAY)
        assert found(desk) == [("a", 0, "1")]
        assert "1 labels changed after they were joined; the first stays" in joined.check(7).why
        assert joined.check(7).verdict is Verdict.INCONCLUSIVE

    def test_a_label_of_an_unknown_request_is_counted_and_is_no_fault(self, desk):
        desk = desk()
        desk.labels("a,1", "zz,1")
        joined = desk.at(NOW, served(["a"]))
        assert joined.unknown == 1
        check = joined.check(7)
        assert check.verdict is Verdict.PASS
        assert "1 labels are of requests that are not in the log" in check.why

    def test_a_label_after_the_delay_is_missing_and_stays_so(self, desk):
        desk = desk()
        desk.labels()
        desk.at(NOW, served(["a"], at=NOW - 6 * DAY))
        late = desk.at(NOW + 2 * DAY)
        assert (late.missing, late.waiting) == (1, 0)
        desk.labels("a,1")
        joined = desk.at(NOW + 3 * DAY)
        assert (joined.labelled, joined.missing, joined.late) == (0, 1, 1)
        assert "1 labels came too late" in joined.check(7).why
        assert found(desk) == [("a", 0, None)]

    def test_labels_that_never_come_are_said_with_their_number_and_since_when(self, desk):
        desk = desk()
        desk.labels("a,1")
        times = [NOW - 9 * DAY, NOW - 8 * DAY, NOW - 8 * DAY]
        joined = desk.at(NOW, served(["a", "b", "c"], at=times))
        assert not joined.has_enough
        check = joined.check(7)
        assert check.verdict is Verdict.INCONCLUSIVE
        assert check.why == "2 of 3 rows got no label within 7 days, none since 2026-05-12"

    def test_a_few_missing_labels_are_counted(self, desk):
        desk = desk()
        desk.labels(*(f"{number},1" for number in range(19)))
        joined = desk.at(NOW, served([str(number) for number in range(20)], at=NOW - 8 * DAY))
        assert (joined.missing, joined.has_enough) == (1, True)
        assert joined.check(7).verdict is Verdict.PASS

    @pytest.mark.parametrize("labels", [["a,1", "b,perhaps"], ["a,0", "b,7", "c,1"]])
    def test_a_label_of_the_wrong_type_is_left_out_and_said(self, desk, labels):
        desk = desk()
        desk.labels(*labels)
        joined = desk.at(NOW, served(["a", "b", "c"]))
        assert "b" not in [request for request, _, _ in found(desk)]
        check = joined.check(7)
        assert check.verdict is Verdict.INCONCLUSIVE
        assert "1 labels are none of the task" in check.why

    def test_a_source_that_cannot_be_read_is_a_fault_of_the_environment(self, desk):
        desk = desk()
        with pytest.raises(EnvironmentFault, match=r"monitor\.labels\.source cannot be read"):
            desk.at(NOW, served(["a"]))

    def test_a_column_that_the_source_lacks_is_named(self, desk):
        desk = desk()
        desk.labels("a,1", header="id,lable")
        with pytest.raises(UsageError, match="no column 'label'"):
            desk.at(NOW, served(["a"]))

    def test_a_damaged_file_of_waiting_rows_is_named(self, desk):
        desk = desk()
        desk.labels()
        desk.at(NOW, served(["a"]))
        (desk.folder / "pending-1.parquet").write_bytes(b"PAR1 cut off")
        with pytest.raises(EnvironmentFault, match=r"pending-1\.parquet cannot be read"):
            desk.at(NOW)

    def test_rows_that_waited_by_other_keys_are_left_out_and_said(self, desk):
        before = desk()
        before.labels()
        before.at(NOW, served(["a"], symbol=["NABIL"]))
        after = LabelDesk(before.folder.parent, before.problem, keys={"symbol": "id"})
        after.look = before.look
        joined = after.at(NOW)
        assert (joined.other_keys, joined.waiting) == (1, 0)


KEYS = {"date": "date", "symbol": "symbol"}


class TestByKeys:
    def test_rows_are_joined_by_the_day_of_the_request_and_a_feature(self, desk):
        desk = desk(keys=KEYS)
        desk.labels("2026-05-19,NABIL,1", "2026-05-19,NIC,0", header="date,symbol,label")
        desk.at(NOW, served(["a", "b", "c"], symbol=["NIC", "NABIL", "ADBL"]))
        assert found(desk) == [("a", 0, "0"), ("b", 0, "1")]

    def test_whole_numbers_are_the_same_key_in_log_and_source(self, desk):
        desk = desk(keys={"customer": "customer"})
        desk.labels("17,1", "18,0", header="customer,label")
        desk.at(NOW, served(["a", "b"], customer=[17.0, 18]))
        assert found(desk) == [("a", 0, "1"), ("b", 0, "0")]

    def test_a_row_without_a_value_of_its_key_cannot_be_joined(self, desk):
        desk = desk(keys=KEYS)
        desk.labels("2026-05-19,NABIL,1", header="date,symbol,label")
        joined = desk.at(NOW, served(["a", "b"], symbol=["NABIL", None]))
        assert joined.unjoinable == 1

    @pytest.mark.parametrize("hashed", [True, False])
    def test_a_key_that_the_log_does_not_have_is_named(self, desk, hashed):
        desk = desk(keys=KEYS)
        desk.labels("2026-05-19,NABIL,1", header="date,symbol,label")
        rows = (
            served(["a"], symbol=["5f2c"], hashed=frozenset({"symbol"}))
            if hashed
            else served(["a"], volume=[1.0])
        )
        check = desk.at(NOW, rows).check(7)
        assert check.verdict is Verdict.INCONCLUSIVE
        assert "the log does not have the feature 'symbol' of monitor.labels.keys" in check.why

    def test_labels_of_days_before_the_log_begins_are_not_unknown_requests(self, desk):
        desk = desk(keys=KEYS)
        desk.labels(
            "2023-01-02,NABIL,1",
            "2026-05-19,GHOST,1",
            "2026-05-19,NIC,1",
            header="date,symbol,label",
        )
        assert desk.at(NOW, served(["a"], symbol=["NIC"])).unknown == 1


class TestTimeZones:
    """The problem's dates are local; requests are logged in UTC."""

    @pytest.mark.parametrize(
        ("zone", "moment", "day"),
        [
            ("Asia/Kathmandu", datetime(2026, 5, 18, 18, 14, tzinfo=UTC), "2026-05-18"),
            ("Asia/Kathmandu", datetime(2026, 5, 18, 18, 15, tzinfo=UTC), "2026-05-19"),
            ("UTC", datetime(2026, 5, 18, 18, 15, tzinfo=UTC), "2026-05-18"),
            # Clocks go forward on 8 March 2026 and back on 1 November 2026 in New York.
            ("America/New_York", datetime(2026, 3, 8, 4, 59, tzinfo=UTC), "2026-03-07"),
            ("America/New_York", datetime(2026, 3, 9, 3, 59, tzinfo=UTC), "2026-03-08"),
            ("America/New_York", datetime(2026, 11, 1, 4, 1, tzinfo=UTC), "2026-11-01"),
            ("America/New_York", datetime(2026, 11, 2, 4, 59, tzinfo=UTC), "2026-11-01"),
        ],
    )
    def test_the_day_of_a_request_is_that_of_the_configured_zone(self, desk, zone, moment, day):
        desk = desk(keys={"date": "date"}, time_zone=zone)
        desk.labels(f"{day},1", header="date,label")
        joined = desk.at(moment + DAY, served(["a"], at=moment))
        assert (joined.labelled, joined.unknown) == (1, 0)

    @pytest.mark.parametrize(
        "written",
        [
            "2026-05-19",
            "2026-05-19T00:00:00+05:45",
            "2026-05-19 23:59:59",
            "2026-05-18T18:15:00Z",
            "2026-05-19T18:14:59+00:00",
        ],
    )
    def test_a_source_may_have_dates_local_times_or_times_with_a_zone(self, desk, written):
        desk = desk(keys={"date": "date"}, time_zone="Asia/Kathmandu")
        desk.labels(f"{written},1", header="date,label")
        moment = datetime(2026, 5, 19, 6, tzinfo=UTC)
        assert desk.at(moment + DAY, served(["a"], at=moment)).labelled == 1

    @pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
    def test_moments_of_a_parquet_file_may_have_a_zone(self, desk, zone):
        desk = desk(
            keys={"date": "date"},
            time_zone="Asia/Kathmandu",
            source={"kind": "parquet", "path": "labels.parquet"},
        )
        local = pd.Timestamp("2026-05-19 00:30", tz="Asia/Kathmandu")
        written = local.tz_localize(None) if zone is None else local.tz_convert(zone)
        frame = pd.DataFrame({"date": [written], "label": [1]})
        frame.to_parquet(desk.project.root / "labels.parquet")
        moment = datetime(2026, 5, 19, 6, tzinfo=UTC)
        assert desk.at(moment + DAY, served(["a"], at=moment)).labelled == 1

    def test_a_format_of_dates_is_that_of_the_source(self, desk):
        desk = desk(keys={"date": "date"}, source={"date_format": "%d.%m.%Y"})
        desk.labels("19.05.2026,1", header="date,label")
        assert desk.at(NOW, served(["a"])).labelled == 1

    def test_an_unknown_zone_is_named(self, desk):
        with pytest.raises(UsageError, match="unknown time zone 'Asia/Katmandoo'"):
            desk(keys={"date": "date"}, time_zone="Asia/Katmandoo").open()


class TestTasks:
    def test_the_positive_value_of_a_text_label_is_one(self, desk):
        problem = SimpleNamespace(
            time_column=None, entity_column=None, options=SimpleNamespace(positive="churned")
        )
        desk = desk(problem)
        desk.labels("a,churned", "b,stayed", "c,stayed")
        desk.at(NOW, served(["a", "b", "c"]))
        assert [label for _, _, label in found(desk)] == ["1", "0", "0"]

    def test_yes_is_true(self, desk):
        problem = SimpleNamespace(
            time_column=None, entity_column=None, options=SimpleNamespace(positive=True)
        )
        desk = desk(problem)
        desk.labels("a,yes", "b,no")
        desk.at(NOW, served(["a", "b"]))
        assert [label for _, _, label in found(desk)] == ["1", "0"]

    def test_classes_are_text(self, desk):
        desk = desk()
        desk.task = MulticlassClassification(("blue", "red"))
        desk.labels("a,red", "b,blue")
        desk.at(NOW, served(["a", "b"], [[0.2, 0.8], [0.5, 0.5]]))
        assert [label for _, _, label in found(desk)] == ["red", "blue"]

    def test_numbers_are_numbers(self, desk):
        desk = desk()
        desk.task = Regression()
        desk.labels("a,1.5", "b,many")
        joined = desk.at(NOW, served(["a", "b"], [1.0, 2.0]))
        assert [label for _, _, label in found(desk)] == ["1.5"]
        assert joined.labels.wrong == ("many",)


class TestExactlyOnce:
    def test_a_killed_look_is_repeated_and_counts_nothing_twice(self, desk):
        desk = desk()
        desk.labels("a,1")
        desk.at(NOW, served(["a", "b"]))
        desk.labels("a,1", "b,0", "c,1")
        desk.at(NOW + DAY, served(["c"]), commit=False)
        again = desk.at(NOW + DAY, served(["c"]))
        assert again.labelled == 2
        assert found(desk) == [("a", 0, "1"), ("b", 0, "0"), ("c", 0, "1")]
        assert [path.name for path, kind, _ in segments(desk.folder) if kind == "pending"] == [
            "pending-2.parquet"
        ]

    def test_what_a_killed_look_left_is_removed_before_it_counts(self, desk):
        desk = desk()
        desk.labels("a,1")
        desk.at(NOW, served(["a"]), commit=False)
        pending = desk.open()
        pending.add(served(["b"]))
        desk.open()  # killed after rows were added
        assert segments(desk.folder) == []

    def test_labelled_rows_older_than_the_longest_window_are_removed(self, desk):
        desk = desk()
        desk.labels("a,1", "b,1")
        desk.at(NOW, served(["a"]))
        desk.at(NOW + 60 * DAY, served(["b"], at=NOW + 59 * DAY))
        assert len(labelled_files(desk.folder, desk.look)) == 2
        desk.at(NOW + 73 * DAY)
        desk.at(NOW + 74 * DAY)
        assert [request for request, _, _ in found(desk)] == ["b"]

    @settings(max_examples=15, deadline=None)
    @given(st.data())
    def test_every_row_is_labelled_or_missing_exactly_once(self, tmp_path_factory, data):
        """Whatever comes in whichever look, and whichever looks are killed."""
        problem = SimpleNamespace(time_column=None, options=SimpleNamespace(positive=1))
        desk = LabelDesk(tmp_path_factory.mktemp("desk"), problem)
        rows = [str(number) for number in range(data.draw(st.integers(1, 12)))]
        looks = data.draw(st.integers(1, 4))
        seen = {row: data.draw(st.integers(0, looks - 1)) for row in rows}
        comes = {row: data.draw(st.integers(0, looks + 1)) for row in rows}
        for look in range(looks):
            desk.labels(*(f"{row},1" for row in rows if comes[row] <= look))
            new = [row for row in rows if seen[row] == look]
            now = NOW + 3 * look * DAY
            for commit in [False] * data.draw(st.integers(0, 1)) + [True]:
                desk.at(now, *([served(new, at=now)] if new else []), commit=commit)
        desk.at(NOW + 40 * DAY)
        assert sorted(request for request, _, _ in found(desk)) == sorted(rows)
        for request, _, label in found(desk):
            first_due = seen[request] + 3  # looks are three days apart, the delay is seven days
            came = comes[request] < looks and comes[request] <= first_due
            assert (label == "1") == came


def test_what_other_versions_predict_and_groups_are_kept_with_the_row(desk):
    desk = desk()
    desk.group_by = ("side",)
    desk.labels("a,1")
    pending = desk.open()
    rows = served(["a", "b"], [0.1, 0.9], side=["left", None])
    pending.add(rows, {"e" * 64: np.array([0.3, 0.4])})
    pending.add(served(["c"], side=["right"], digest="e" * 64, version=2))
    pending.join(desk.project, desk.task, NOW)
    table = pq.read_table(desk.folder / "labelled-1.parquet")
    assert table[f"prediction:{'e' * 64}"].to_pylist() == [[0.3]]
    assert table["group:side"].to_pylist() == ["left"]
    waiting = pq.read_table(desk.folder / "pending-1.parquet")
    assert waiting[f"prediction:{'e' * 64}"].to_pylist() == [[0.4], None]


def test_of_more_rows_than_fit_into_memory_evenly_spread_ones_are_read(desk, monkeypatch):
    desk = desk()
    for look in range(3):
        ids = [f"{look}-{place}" for place in range(10)]
        desk.labels(*(f"{one},{place % 2}" for place, one in enumerate(ids)))
        desk.at(NOW, served(ids, np.arange(10) / 10 + look / 100))
    assert len(read_labelled(desk.folder, 3, DIGEST, BINARY)) == 30
    monkeypatch.setattr("ml_pipeline.monitoring.labelled_rows.MAX_ROWS", 10)
    rows = read_labelled(desk.folder, 3, DIGEST, BINARY)
    assert rows.predictions.tolist() == pytest.approx(
        [0.0, 0.3, 0.6, 0.9, 0.21, 0.51, 0.81, 0.12, 0.42, 0.72]
    )


def test_a_label_of_a_class_that_the_version_does_not_have_is_left_out(desk):
    desk = desk()
    desk.task = MulticlassClassification(("blue", "red"))
    desk.labels("a,red", "b,green")
    desk.at(NOW, served(["a", "b"], [[0.2, 0.8], [0.5, 0.5]]))
    rows = read_labelled(desk.folder, 1, DIGEST, desk.task)
    assert (rows.labels.tolist(), rows.unknown_classes) == ([1.0], ("green",))
    assert rows.predictions.tolist() == [[0.2, 0.8]]
