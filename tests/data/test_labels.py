"""Labels that are ``positive`` or the most frequent other value."""

from __future__ import annotations

import pandas as pd
import pytest
from ml_pipeline.data.labels import comparable_labels, one_of_two, shown_labels


@pytest.mark.parametrize(
    ("values", "positive", "fitting"),
    [
        ([0, 1, 1, 2, 0], 1, [True, True, True, False, True]),
        ([0.0, 1.0, None, 2.0, 0.0], 1, [True, True, True, False, True]),
        (["no", "yes", "Yes", "no"], "yes", [True, True, False, True]),
        (["no", "yes", "Yes", "N"], True, [True, True, True, True]),
        (["gone", "stays"], True, [False, False]),
        (["gone", "stays", None], "lost", [False, False, True]),
        ([1, 1], 1, [True, True]),
        (["1.0", "0", "1"], "1", [True, True, True]),
        ([-1, 1], 1, [True, True]),
        (["0", "1", "maybe", None], 1, [True, True, False, True]),
        (["gone", "stays", None], 1, [False, False, True]),
    ],
)
def test_accepted_labels_are_positive_and_the_most_frequent_other_value(values, positive, fitting):
    assert one_of_two(pd.Series(values), positive).tolist() == fitting


def test_ties_of_other_values_are_broken_independently_of_the_order():
    for values in (["a", "b", "yes"], ["b", "a", "yes"]):
        kept = pd.Series(values)[one_of_two(pd.Series(values), "yes")]
        assert sorted(kept) == ["a", "yes"]


def test_spellings_of_true_are_one_value_for_a_yaml_boolean():
    assert comparable_labels(pd.Series(["Yes", "y", "no"]), True).tolist() == [
        "true",
        "true",
        "false",
    ]


def test_labels_are_shown_with_counts_the_most_frequent_first():
    assert shown_labels(pd.Series([0.0, 1.0, 1.0, None])) == "1 (2), 0 (1)"
    assert shown_labels(pd.Series(list("aabbccddeeffg"))).endswith("e (2) and 2 more")
