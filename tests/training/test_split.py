"""No row is in two parts, no day is cut, and no label is known inside the part after it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ml_pipeline.config import SplitSection
from ml_pipeline.core.errors import Refused, UsageError
from ml_pipeline.training.split import (
    PARTS,
    require_folds,
    row_hashes,
    split_by_hash,
    split_by_time,
)

SECTION = SplitSection(
    holdout_days=10,
    validation_days=5,
    folds=2,
    fold_days=5,
    quick_holdout_days=4,
    quick_validation_days=2,
)


def panel(days, entities=3, gap=()):
    """One row an entity and business day; ``gap`` lists (entity, day number) that lack one."""
    dates = pd.bdate_range("2024-01-01", periods=days)
    rows = [
        (date, f"e{entity}")
        for number, date in enumerate(dates)
        for entity in range(entities)
        if (entity, number) not in gap
    ]
    keys = pd.DataFrame(rows, columns=["time", "entity"])
    last = keys.groupby("entity").cumcount(ascending=False) == 0
    label = np.where(last, np.nan, np.arange(len(keys)) % 2).astype(float)
    return keys, label


class TestByTime:
    def test_the_parts_follow_each_other_with_an_embargo_between(self):
        keys, label = panel(41)
        split = split_by_time(keys, label, SECTION, horizon=1)
        # 40 days have labels: 23 + 1 + 5 + 1 + 10
        assert split.counts() == {
            "train": 69,
            "validation": 15,
            "embargo": 6,
            "holdout": 30,
            "unlabelled": 3,
        }
        dates = [str(date.date()) for date in pd.bdate_range("2024-01-01", periods=40)]
        assert split.cutoffs.train_end == dates[22]
        assert split.cutoffs.validation_end == dates[28]
        assert split.cutoffs.holdout_start == dates[30]
        assert split.cutoffs.holdout_end == dates[39]
        assert split.detail == {
            "days": 40,
            "holdout_days": 10,
            "validation_days": 5,
            "embargo_days": 1,
        }

    def test_there_is_no_embargo_without_a_horizon(self):
        keys, label = panel(41)
        assert split_by_time(keys, label, SECTION, horizon=0).counts()["embargo"] == 0

    def test_a_label_that_is_known_only_in_the_next_part_is_purged(self):
        # e0 is not traded on the days around the border: its last label of the training part
        # looks at a close of the validation part
        keys, label = panel(41, gap={(0, 23), (0, 24)})
        split = split_by_time(keys, label, SECTION, horizon=1)
        last_of_train = (keys["entity"] == "e0") & (
            keys["time"] == pd.bdate_range("2024-01-01", periods=41)[22]
        )
        assert split.part[last_of_train.to_numpy()].tolist() == ["embargo"]
        assert split.counts()["train"] == 68

    @given(
        days=st.integers(19, 60),
        horizon=st.integers(0, 3),
        gap=st.sets(st.tuples(st.integers(0, 2), st.integers(0, 59)), max_size=40),
        order=st.randoms(use_true_random=False),
    )
    def test_no_part_sees_into_the_next_one(self, days, horizon, gap, order):
        keys, label = panel(days, gap=gap)
        shuffled = list(range(len(keys)))
        order.shuffle(shuffled)
        keys, label = keys.iloc[shuffled].reset_index(drop=True), label[shuffled]
        try:
            split = split_by_time(keys, label, SECTION, horizon)
        except Refused:
            return
        assert set(split.part) <= set(PARTS)
        assert ((split.part == "unlabelled") == np.isnan(label)).all()
        time = keys["time"]
        known = time.copy()
        if horizon:
            ordered = keys.sort_values("time")
            known = ordered.groupby("entity")["time"].shift(-horizon).reindex(keys.index)
        begins = {
            part: time[split.part == part].min() for part in ("train", "validation", "holdout")
        }
        for part, following in (("train", "validation"), ("validation", "holdout")):
            inside = split.part == part
            assert (time[inside] < begins[following]).all()
            assert not (known[inside] >= begins[following]).any() or not horizon
        for fold in split.folds:
            first, second, third = (set(rows) for rows in (fold.train, fold.validation, fold.test))
            assert len(first | second | third) == len(first) + len(second) + len(third)
            assert time.iloc[fold.train].max() < time.iloc[fold.validation].min()
            assert time.iloc[fold.validation].max() < time.iloc[fold.test].min()
            assert time.iloc[fold.test].max() < begins["holdout"]
            if horizon:
                assert not (known.iloc[fold.train] >= time.iloc[fold.validation].min()).any()
                assert not (known.iloc[fold.validation] >= time.iloc[fold.test].min()).any()
                assert not (known.iloc[fold.test] >= begins["holdout"]).any()

    def test_folds_walk_forward_over_the_days_before_the_holdout(self):
        keys, label = panel(41)
        folds = require_folds(
            split_by_time(keys, label, SECTION, horizon=1), SECTION, "train.search"
        )
        days = pd.Index(keys["time"].drop_duplicates())
        windows = [
            [
                (
                    days.get_loc(keys["time"].iloc[rows].min()),
                    days.get_loc(keys["time"].iloc[rows].max()),
                )
                for rows in (fold.train, fold.validation, fold.test)
            ]
            for fold in folds
        ]
        assert windows == [
            [(0, 11), (13, 17), (19, 23)],
            [(0, 16), (18, 22), (24, 28)],
        ]

    def test_too_few_days_say_how_many_are_needed(self):
        keys, label = panel(18)
        with pytest.raises(Refused) as refusal:
            split_by_time(keys, label, SECTION, horizon=1)
        assert str(refusal.value) == (
            "17 dates have labels; expected at least 18: 10 to hold out, 5 to validate, "
            "2 of embargo and 1 to train on; bring more dates or lower split.holdout_days "
            "and split.validation_days"
        )

    def test_quick_sizes_and_no_folds(self):
        keys, label = panel(20)
        split = split_by_time(keys, label, SECTION, horizon=1, quick=True)
        assert split.counts()["holdout"] == 4 * 3
        assert split.folds == ()

    def test_too_few_days_for_a_quick_run_name_the_quick_keys(self):
        keys, label = panel(9)
        with pytest.raises(Refused, match=r"split\.quick_holdout_days"):
            split_by_time(keys, label, SECTION, horizon=1, quick=True)

    def test_times_of_day_do_not_cut_a_day(self):
        keys, label = panel(41)
        keys["time"] += pd.to_timedelta(np.arange(len(keys)) % 24, unit="h")
        plain = split_by_time(panel(41)[0], label, SECTION, horizon=1)
        assert (split_by_time(keys, label, SECTION, horizon=1).part == plain.part).all()

    def test_numbers_serve_as_days(self):
        keys, label = panel(41)
        keys["time"] = pd.factorize(keys["time"])[0]
        split = split_by_time(keys, label, SECTION, horizon=1)
        assert (split.cutoffs.train_end, split.cutoffs.holdout_end) == ("22", "39")

    def test_a_search_without_enough_days_is_refused(self):
        keys, label = panel(25)
        split = split_by_time(keys, label, SECTION, horizon=1)
        with pytest.raises(Refused, match=r"allow 1 walk-forward folds; expected 2 of 5 days each"):
            require_folds(split, SECTION, "train.search")

    def test_a_search_without_folds_is_a_usage_error(self):
        keys, label = panel(41)
        section = SECTION.model_copy(update={"folds": 0})
        with pytest.raises(UsageError, match=r"split\.folds over 0"):
            require_folds(split_by_time(keys, label, section, horizon=1), section, "train.search")


def table(count=4000):
    generator = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "number": generator.normal(size=count),
            "text": generator.choice(["a", "b", None], count),
            "whole": generator.integers(0, 1000, count),
        }
    )


class TestByHash:
    section = SplitSection(folds=3)

    def test_the_shares_are_those_of_the_configuration(self):
        frame = table()
        split = split_by_hash(frame, np.zeros(len(frame)), self.section)
        counts = split.counts()
        assert counts["holdout"] / len(frame) == pytest.approx(0.2, abs=0.02)
        assert counts["validation"] / len(frame) == pytest.approx(0.1, abs=0.02)
        assert split.cutoffs.train_end is None
        assert split.method == "hash"

    def test_a_row_keeps_its_part_when_rows_and_columns_move(self):
        frame = table()
        part = pd.Series(split_by_hash(frame, np.zeros(len(frame)), self.section).part)
        moved = frame.sample(1500, random_state=1)[["whole", "text", "number"]]
        again = split_by_hash(moved.reset_index(drop=True), np.zeros(1500), self.section).part
        assert (again == part.loc[moved.index]).all()

    def test_a_table_of_few_distinct_rows_is_not_split_by_what_they_say(self):
        frame = table()[["text"]].assign(label=np.arange(4000) % 2)
        part = pd.Series(split_by_hash(frame, np.zeros(4000), self.section).part)
        held = (part == "holdout").groupby([frame["text"].fillna("-"), frame["label"]]).mean()
        assert len(held) == 6
        assert held.between(0.14, 0.26).all()

    def test_of_equal_rows_as_many_are_held_out_in_any_order(self):
        frame = table()[["text"]]

        def counts(rows):
            split = split_by_hash(rows, np.zeros(len(rows)), self.section)
            return pd.crosstab(rows["text"].fillna("-"), split.part)

        moved = frame.sample(4000, random_state=1).reset_index(drop=True)
        pd.testing.assert_frame_equal(counts(frame), counts(moved))

    def test_rows_of_a_cluster_share_a_part_whatever_other_clusters_there_are(self):
        frame = table(2000).assign(owner=(np.arange(2000) // 4).astype(str))
        frame.loc[frame.index % 40 == 0, "owner"] = None
        split = split_by_hash(frame, np.zeros(2000), self.section, "owner")
        assert split.detail["hash_of"] == "owner"
        part = pd.Series(split.part)
        assert (part.groupby(frame["owner"]).agg(set).map(len) == 1).all()
        assert part[frame["owner"].isna()].nunique() == 3
        newer = frame[1000:].reset_index(drop=True)
        again = split_by_hash(newer, np.zeros(1000), self.section, "owner").part
        assert (again == split.part[1000:]).all()

    def test_folds_share_no_row_and_never_touch_the_holdout(self):
        frame = table()
        split = split_by_hash(frame, np.zeros(len(frame)), self.section)
        tests = [set(fold.test) for fold in split.folds]
        assert len(tests) == 3
        assert sum(map(len, tests)) == len(set.union(*tests))
        held = set(split.rows("holdout"))
        for fold in split.folds:
            parts = [set(fold.train), set(fold.validation), set(fold.test)]
            assert sum(map(len, parts)) == len(set.union(*parts))
            assert not held & set.union(*parts)

    def test_rows_without_label_are_in_no_other_part(self):
        frame = table(100)
        label = np.where(np.arange(100) < 30, np.nan, 1.0)
        assert split_by_hash(frame, label, self.section).counts()["unlabelled"] == 30

    def test_the_hash_is_the_same_in_every_version(self):
        """A change here would move rows between holdout and training part of released models."""
        frame = pd.DataFrame({"a": [1.5, None], "b": ["x", None], "c": [1, 2]})
        assert row_hashes(frame).tolist() == HASHES

    def test_the_type_of_a_number_does_not_matter(self):
        whole = pd.DataFrame({"a": [1, 2, 3]})
        assert (row_hashes(whole) == row_hashes(whole.astype("float32"))).all()
        assert len(set(row_hashes(pd.DataFrame({"a": [0.0, -0.0]})).tolist())) == 1


HASHES = [18345679721730530260, 3214862323546560457]


def test_shares_must_leave_training_rows():
    with pytest.raises(ValueError, match="must stay under 1"):
        SplitSection(holdout_share=0.6, validation_share=0.4)
