"""Which rows neither model has learned from."""

import pandas as pd
import pytest
from ml_pipeline.gate.lineage import comparable_rows


def training(validation_end="2024-01-05", holdout_start="2024-01-08", **changed):
    return {
        "problem": "bars",
        "split": {"method": "time"},
        "cutoffs": {
            "train_end": "2023-12-01",
            "validation_end": validation_end,
            "holdout_start": holdout_start,
            "holdout_end": "2024-01-20",
        },
        "fingerprint": "data-1",
        **changed,
    }


def hashed(**changed):
    split = {"method": "hash", "hash_of": "row", "holdout_share": 0.2, "columns": ["a"]}
    return training(split=split, cutoffs={}, **changed)


DAYS = pd.DataFrame({"__time": pd.date_range("2024-01-08", "2024-01-20")})


def test_without_a_champion_the_whole_holdout_is_compared():
    assert comparable_rows(DAYS, training(), None).rows.all()


def test_the_later_holdout_counts():
    found = comparable_rows(DAYS, training(), training("2024-01-12", "2024-01-15"))
    assert (found.first_day, found.rows.sum()) == ("2024-01-15", 6)
    older = comparable_rows(DAYS, training(), training("2023-06-01", "2023-06-03"))
    assert (older.first_day, older.rows.all()) == ("2024-01-08", True)


def test_a_champion_that_saw_the_whole_holdout_leaves_nothing():
    found = comparable_rows(DAYS, training(), training("2024-02-01", "2024-02-03"))
    assert found.rows is None
    assert found.why == "no labelled row lies on or after 2024-02-03, after both cutoffs"


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({}, "incomplete"),
        (training(cutoffs={}), "no cutoff dates"),
        (training(cutoffs={"validation_end": "soon", "holdout_start": "later"}), "incomplete"),
        (training("2024-01-08", "2024-01-08"), "not after its last training day"),
        (training(problem="table"), "not comparable"),
        (hashed(), "not comparable"),
    ],
)
def test_what_lineage_does_not_prove_is_not_compared(record, why):
    found = comparable_rows(DAYS, training(), record)
    assert found.rows is None
    assert why in found.why


class TestUndated:
    rows = pd.DataFrame({"__time": range(5)})

    def test_the_same_hash_left_the_same_rows_out(self):
        assert comparable_rows(self.rows, hashed(), hashed(fingerprint="data-2")).rows.all()

    @pytest.mark.parametrize("change", [{"holdout_share": 0.3}, {"columns": ["a", "b"]}])
    def test_another_hash_did_not(self, change):
        other = hashed() | {"split": hashed()["split"] | change}
        assert "different hashes" in comparable_rows(self.rows, hashed(), other).why

    def test_a_hash_of_clusters_holds_for_the_same_data_only(self):
        mine = hashed() | {"split": {"method": "hash", "hash_of": "cluster"}}
        assert comparable_rows(self.rows, mine, mine).rows.all()
        found = comparable_rows(self.rows, mine, mine | {"fingerprint": "data-2"})
        assert "number their clusters anew" in found.why
