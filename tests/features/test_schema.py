"""How rows become numbers: the same in training, ONNX and server."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from ml_pipeline.features.schema import Feature, FeatureError, FeatureSchema


@pytest.fixture
def training():
    return pd.DataFrame(
        {
            "age": np.array([30, np.nan, 41], dtype=np.float32),
            "town": pd.Series(["Pokhara", None, "Kathmandu"], dtype=object),
            "income": np.array([1.5, -2.0, 7.0], dtype=np.float32),
        }
    )


@pytest.fixture
def schema(training):
    return FeatureSchema.fit(training, ["town"], "missing")


@pytest.fixture
def strict(training):
    return FeatureSchema.fit(training, ["town"], "refuse")


@pytest.fixture
def numeric():
    return FeatureSchema((Feature("a", "numeric"), Feature("b", "numeric")))


class TestFit:
    def test_keeps_order_sorts_categories_and_takes_ranges_and_missing_shares(self, schema):
        assert schema.features == (
            Feature("age", "numeric", (), 30.0, 41.0, missing=1 / 3),
            Feature("town", "categorical", ("Kathmandu", "Pokhara"), missing=1 / 3),
            Feature("income", "numeric", (), -2.0, 7.0, missing=0.0),
        )
        assert schema.names == ("age", "town", "income")
        assert schema.width == 4
        assert schema.encoded_names == ("age", "town=Kathmandu", "town=Pokhara", "income")

    def test_column_without_a_value_has_no_range(self):
        frame = pd.DataFrame({"x": np.array([np.nan, np.nan])})
        assert FeatureSchema.fit(frame).features[0].minimum is None

    def test_refuses_two_features_of_one_name(self):
        with pytest.raises(ValueError, match="duplicate feature names"):
            FeatureSchema((Feature("a", "numeric"), Feature("a", "numeric")))


class TestJson:
    def test_round_trip_is_equal(self, schema):
        assert FeatureSchema.from_json(json.loads(json.dumps(schema.to_json()))) == schema

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"schema": 2}, "not a feature schema of version 1"),
            ({"unseen": "guess"}, "'unseen'"),
            ({"features": None}, "'features'"),
            ({"features": [{"kind": "numeric"}]}, "without a name"),
            ({"features": [{"name": "a", "kind": "date"}]}, "kind 'date'"),
            ({"features": [{"name": "a", "kind": "categorical"}]}, "list of texts"),
            (
                {"features": [{"name": "a", "kind": "categorical", "categories": ["x", "x"]}]},
                "duplicate",
            ),
            (
                {"features": [{"name": "a", "kind": "numeric", "minimum": "0"}]},
                "'0' is not a number",
            ),
            *(
                ({"features": [{"name": "a", "kind": "numeric", "missing": share}]}, "not a share")
                for share in (1.1, True, "0", math.nan)
            ),
        ],
    )
    def test_refuses_an_invalid_schema(self, schema, change, message):
        with pytest.raises(ValueError, match=message):
            FeatureSchema.from_json(schema.to_json() | change)

    def test_a_schema_without_missing_shares_is_valid(self, schema):
        values = schema.to_json()
        for feature in values["features"]:
            del feature["missing"]
        earlier = FeatureSchema.from_json(values)
        assert {feature.missing for feature in earlier.features} == {None}
        assert earlier.contract == schema.contract, "they are no part of the contract"

    @pytest.mark.parametrize("values", [None, [], "text", {}])
    def test_refuses_json_of_another_type(self, values):
        with pytest.raises(ValueError, match="not a feature schema"):
            FeatureSchema.from_json(values)


class TestEncode:
    def test_one_hot_with_missing_as_zeros(self, schema, training):
        encoded = schema.encode(training)
        assert encoded.dtype == np.float32
        np.testing.assert_array_equal(
            encoded,
            np.array([[30, 0, 1, 1.5], [np.nan, 0, 0, -2], [41, 1, 0, 7]], dtype=np.float32),
        )

    def test_accepts_lists_and_ignores_other_columns(self, schema):
        columns = {"age": [1, None], "town": ["Pokhara", None], "income": [2.0, 3], "other": "x"}
        np.testing.assert_array_equal(
            schema.encode(columns), np.array([[1, 0, 1, 2], [np.nan, 0, 0, 3]], dtype=np.float32)
        )

    def test_unseen_category_is_missing_or_refused(self, schema, strict):
        columns = {"age": [1.0], "town": ["Paris"], "income": [2.0]}
        assert schema.encode(columns)[0, 1:3].tolist() == [0, 0]
        with pytest.raises(FeatureError, match="'Paris', which training never saw"):
            strict.encode(columns)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"age": ["old", 1.0]}, "feature 'age' of row 0 is 'old'; expected a number or null"),
            ({"age": [1.0, np.inf]}, "feature 'age' of row 1 is infinite"),
            ({"age": [1.0, 1e300]}, "feature 'age' of row 1 is infinite or too large"),
            ({"town": ["Pokhara", 3]}, "feature 'town' of row 1 is 3; expected text or null"),
            ({"age": [1.0]}, "town has 2 rows, others 1"),
        ],
    )
    def test_errors_name_the_feature(self, schema, change, message):
        columns = {"age": [1.0, 2.0], "town": [None, None], "income": [1.0, 2.0]}
        with pytest.raises(FeatureError, match=message):
            schema.encode(columns | change)

    def test_errors_name_missing_features(self, schema):
        with pytest.raises(FeatureError, match="missing features: town, income"):
            schema.encode({"age": [1.0]})


class TestEncodeRows:
    def test_equals_encode_of_the_columns(self, schema, training):
        rows = [[30, "Pokhara", 1.5], [None, None, -2.0], [41.0, "Kathmandu", 7]]
        np.testing.assert_array_equal(schema.encode_rows(rows), schema.encode(training))

    def test_null_is_missing_in_rows_of_numbers(self, numeric):
        encoded = numeric.encode_rows([[1, None], [2.5, 3]])
        np.testing.assert_array_equal(encoded, np.array([[1, np.nan], [2.5, 3]], np.float32))

    def test_no_rows_are_an_empty_matrix(self, numeric, schema):
        assert numeric.encode_rows([]).shape == (0, 2)
        assert schema.encode_rows([]).shape == (0, 4)

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ([1.0], r"row 1 has 1 values; the model takes 2: a, b"),
            ([1.0, 2.0, 3.0], r"row 1 has 3 values"),
            ([1.0, float("nan")], r"feature 'b' of row 1 is nan; expected a finite number or null"),
            ([float("inf"), 1.0], r"feature 'a' of row 1 is inf"),
            ([1.0, 1e39], r"feature 'b' of row 1 is 1e\+39"),
            ([-1e39, 1.0], r"feature 'a' of row 1 is -1e\+39"),
            ([float("nan"), 1.0], r"feature 'a' of row 1 is nan"),
            ([float("inf"), float("-inf")], r"feature 'a' of row 1 is inf"),
            ([1.0, 10**400], r"feature 'b' of row 1 is too large for a float"),
            ([True, 1.0], r"feature 'a' of row 1 is True; expected a number or null"),
            ([1.0, "2"], r"feature 'b' of row 1 is '2'; expected a number or null"),
            ([1.0, [2]], r"feature 'b' of row 1 is \[2\]"),
            ({"a": 1, "b": 2}, r"row 1 is not a list of values"),
            (7, r"row 1 is not a list of values"),
            ("ab", r"row 1 is not a list of values"),
        ],
    )
    def test_names_feature_and_row(self, numeric, row, message):
        with pytest.raises(FeatureError, match=message):
            numeric.encode_rows([[0.0, 0.0], row])

    def test_the_error_has_row_and_feature(self, numeric):
        with pytest.raises(FeatureError) as caught:
            numeric.encode_rows([[0.0, "x"]])
        assert (caught.value.row, caught.value.feature) == (0, "b")

    @pytest.mark.parametrize("value", [3, 1.5, float("nan"), True, ["x"]])
    def test_a_category_must_be_text(self, schema, value):
        with pytest.raises(
            FeatureError, match=r"feature 'town' of row 0 is .*; expected text or null"
        ):
            schema.encode_rows([[1.0, value, 2.0]])

    def test_unseen_category_is_missing_or_refused(self, schema, strict):
        row = [1.0, "Paris", 2.0]
        assert schema.encode_rows([row]).tolist() == [[1, 0, 0, 2]]
        with pytest.raises(FeatureError, match="expected null or one of 'Kathmandu', 'Pokhara'"):
            strict.encode_rows([row])

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(row=st.lists(st.none() | st.integers() | st.floats() | st.text(max_size=3), max_size=3))
    @example(row=[3.4028234663852886e38, 1.0])
    @example(row=[-3.4028234663852886e38, 3.4028234663852886e38])
    @example(row=[1e308, 1.7e308])
    @example(row=[5e-324, -0.0])
    def test_encode_into_equals_encode_rows(self, numeric, row):
        matrix = numeric.empty(3)
        try:
            expected = numeric.encode_rows([row])[0]
        except FeatureError as error:
            with pytest.raises(FeatureError, match=re.escape(str(error))):
                numeric.encode_into(matrix, 1, row)
            expected = [0, 0]
        else:
            numeric.encode_into(matrix, 1, row)
        np.testing.assert_array_equal(matrix, [[0, 0], expected, [0, 0]])

    def test_encode_into_equals_encode_rows_with_categories(self, schema):
        matrix = schema.empty(2)
        schema.encode_into(matrix, 1, [30, "Pokhara", 1.5])
        assert matrix.tolist() == [[0, 0, 0, 0], [30, 0, 1, 1.5]]

    def test_long_values_are_truncated_in_errors(self, numeric):
        with pytest.raises(FeatureError) as caught:
            numeric.encode_rows([[0.0, "x" * 10_000]])
        assert len(str(caught.value)) < 200

    @given(
        st.lists(
            st.lists(
                st.none()
                | st.integers(-(10**12), 10**12)
                | st.floats(width=32, allow_nan=False, allow_infinity=False),
                min_size=2,
                max_size=2,
            ),
            max_size=5,
        )
    )
    def test_fast_path_and_slow_path_agree(self, rows):
        numeric = FeatureSchema((Feature("a", "numeric"), Feature("b", "numeric")))
        by_value = numeric.encode_rows([tuple(row) for row in rows])
        np.testing.assert_array_equal(numeric.encode_rows(rows), by_value)


def test_module_imports_neither_pandas_nor_numpy():
    code = (
        "import sys, ml_pipeline.features.schema;"
        "print([name for name in ('numpy', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("unseen", ["missing", "refuse"])
@pytest.mark.parametrize(
    ("given", "same"),
    [("pro ", "pro"), ("\u00a0basic", "basic"), ("\ufeffpro", "pro"), ("", None), (" \t", None)],
)
def test_blanks_around_a_category_are_ignored_as_in_training(unseen, given, same):
    frame = pd.DataFrame({"plan": ["basic", "pro"], "age": np.array([1, 2], dtype=np.float32)})
    schema = FeatureSchema.fit(frame, ("plan",), unseen=unseen)
    wanted = schema.encode_rows([[same, 1.0]]).tolist()
    assert schema.encode_rows([[given, 1.0]]).tolist() == wanted
    assert schema.encode({"plan": [given], "age": [1.0]}).tolist() == wanted
