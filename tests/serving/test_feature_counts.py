"""The counts of a block are those of a loop over the values."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_pipeline.core.whitespace import BLANKS
from ml_pipeline.features.schema import Feature, FeatureSchema
from ml_pipeline.serving import feature_counts
from ml_pipeline.serving.feature_counts import FeatureCounts

SCHEMA = FeatureSchema(
    (
        Feature("c", "categorical", ("north", "", "0.1")),
        Feature("x", "numeric", (), 0.1, 0.7),
        Feature("empty", "numeric"),
        Feature("late", "categorical", ("a",), optional=True),
    )
)
numbers = st.none() | st.sampled_from([0.1, 0.7, 0.09, 0.71, -3, 10**6])
texts = st.none() | st.sampled_from(["north", " north", "", " ", "\u200b", "0.1", "a", "west"])
rows = st.lists(
    st.tuples(texts, numbers, numbers) | st.tuples(texts, numbers, numbers, texts), max_size=9
)


def expected(feature, values):
    """Return the numbers of missing, out-of-range and unseen values."""
    if feature.kind == "numeric":
        given_ones = [value for value in values if value is not None]
        low, high = feature.minimum, feature.maximum
        outside = [value for value in given_ones if low is None or not low <= value <= high]
        return len(values) - len(given_ones), len(outside), None
    others = [value for value in values if value not in feature.categories]
    missing = [value for value in others if value is None or not value.strip(BLANKS)]
    unseen = [value for value in others if (value or "").strip(BLANKS) not in feature.categories]
    return len(missing), None, len([value for value in unseen if value not in missing])


@settings(max_examples=60, deadline=None)
@given(st.lists(rows, max_size=5), st.integers(1, 6))
def test_counts_are_those_of_a_loop_over_the_values(requests, block_rows):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_counts, "BLOCK_ROWS", block_rows)
        counts = FeatureCounts(SCHEMA)
    for request in requests:
        counts.add(SCHEMA.encode_rows(request), request)
    everything = [(*row, None)[:4] for request in requests for row in request]
    for place, feature in enumerate(SCHEMA.features):
        missing, outside, unseen = expected(feature, [row[place] for row in everything])
        assert counts.missing[feature.name] == missing
        assert counts.out_of_range.get(feature.name) == outside
        assert counts.unseen.get(feature.name) == unseen


def test_the_ends_of_the_range_are_in_it_as_float32():
    counts = FeatureCounts(FeatureSchema((Feature("x", "numeric", (), 0.1, 0.7),)))
    rows_at_the_ends = [[0.1], [0.7]]
    schema = FeatureSchema((Feature("x", "numeric"),))
    counts.add(schema.encode_rows(rows_at_the_ends), rows_at_the_ends)
    assert counts.out_of_range == {"x": 0}


def test_a_wide_model_has_a_small_block():
    names = (Feature(f"f{number}", "numeric") for number in range(20_000))
    assert len(FeatureCounts(FeatureSchema(tuple(names)))._block) == 3
