"""A project's own feature functions: what they are given, and what they may return."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from ml_pipeline.core.errors import UsageError
from ml_pipeline.problem import FeatureFunction
from ml_pipeline.problems.bars import Bars


def features(frame, *functions, scope="entity", standard=("weekday",)):
    marked = [FeatureFunction(getattr(f, "__name__", "own"), "mine", scope, f) for f in functions]
    return Bars().matrix(frame, marked, standard).features


class TestScopes:
    def test_entity_gets_one_segment_in_time_order(self, make_bars):
        frame = make_bars({"A": [100, 101, 60, 61], "B": [5, 5, 5, 5]})
        seen = []

        def watch(bars):
            seen.append((bars["symbol"].unique().tolist(), bars["date"].is_monotonic_increasing))
            return bars["close"].cumsum()

        result = features(frame.iloc[::-1], watch)["watch"]
        assert {(tuple(symbols), order) for symbols, order in seen} == {
            (("A",), True),
            (("B",), True),
        }
        assert result.tolist() == [20, 15, 10, 5, 121, 60, 201, 100]

    def test_day_gets_the_days_rows_with_the_other_features(self, walk):
        def place(day):
            assert len(set(day["date"])) == 1
            return day["rsi_14"].rank()

        result = features(walk, place, scope="day", standard=("rsi_14",))
        assert result["place"].dropna().isin([1, 2, 3, 4]).all()

    def test_scope_that_bars_lack_is_refused(self, walk):
        with pytest.raises(UsageError, match=r"has scope 'row'; expected .* entity, day"):
            features(walk, lambda rows: rows["close"], scope="row")


class TestResults:
    def test_frame_gives_a_feature_for_each_column(self, walk):
        result = features(walk, lambda b: pd.DataFrame({"up": b["close"], "down": -b["close"]}))
        assert list(result) == ["weekday", "up", "down"]
        assert set(result.dtypes) == {np.dtype("float32")}

    def test_series_keeps_a_name_of_its_own(self, walk):
        assert "mine" in features(walk, lambda bars: bars["close"].rename("mine"))

    def test_array_takes_the_functions_name(self, walk):
        def doubled(bars):
            return bars["close"].to_numpy() * 2

        assert "doubled" in features(walk, doubled)

    def test_text_makes_a_categorical_feature(self, walk):
        def mood(bars):
            return pd.Series(np.where(bars["close"] > 200, "high", None), index=bars.index)

        matrix = Bars().matrix(
            walk, [FeatureFunction("mood", "mine", "entity", mood)], ("weekday",)
        )
        assert matrix.categorical == ("mood",)
        assert set(matrix.features["mood"]) == {"high", None}

    def test_switch_becomes_a_number(self, walk):
        assert features(walk, lambda bars: bars["close"] > 200)["<lambda>"].isin([0, 1]).all()

    def test_a_copy_is_given(self, walk):
        def spoil(bars):
            bars["close"] = 0.0
            return bars["volume"] * 1.0

        before = walk.copy()
        features(walk, spoil)
        pd.testing.assert_frame_equal(walk, before)


def number_or_text(bars):
    value = 1.0 if bars["symbol"].iloc[0] == "A" else "text"
    return pd.Series([value] * len(bars), index=bars.index)


def other_columns(bars):
    return bars[["close"]].rename(columns={"close": str(bars["symbol"].iloc[0])})


def broken(bars):
    return bars["clsoe"]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (broken, r"feature mine\.broken raised KeyError: 'clsoe'"),
        (lambda bars: bars["close"].iloc[1:], r"mine\.<lambda> returns \d+ values for 60 rows"),
        (lambda bars: bars["close"].to_numpy()[1:], r"returns 59 values for 60 rows"),
        (lambda bars: bars["close"].reset_index(drop=True).rename("x").iloc[::-1], "another index"),
        (lambda bars: 3.0, r"mine\.<lambda> returns a float; expected a Series or a DataFrame"),
        (lambda bars: None, r"returns a NoneType"),
        (lambda bars: bars["close"] / 0, "returns an infinite value in '<lambda>'"),
        (lambda bars: bars["close"] * 1e300, "returns an infinite value"),
        (lambda bars: bars["date"], r"returns '.*' of type datetime64"),
        (lambda bars: bars[["close"]], "a feature 'close'; expected a name that no column"),
        (lambda bars: bars["close"].rename("weekday"), "a feature 'weekday'; expected a name"),
        (lambda bars: bars["close"].rename("__time"), "named '__time'"),
        (lambda bars: bars["close"].to_frame(7), "named 7"),
        (lambda bars: bars[[]], "returns no column"),
        (lambda bars: pd.concat([bars["close"]] * 2, axis=1), "two columns of one name"),
        (number_or_text, "returns both numbers and text in 'number_or_text'"),
        (other_columns, r"mine\.other_columns returns columns B on one part .* expected A"),
        (lambda bars: bars["close"].shift(-1), "changes when later bars are taken away.*a leak"),
        (lambda bars: bars["close"] / bars["close"].mean(), "changes when later bars"),
    ],
)
def test_fault_is_one_line_that_names_the_function(function, message, walk):
    with pytest.raises(UsageError, match=message) as caught:
        features(walk, function)
    assert "\n" not in str(caught.value)
    assert "mine." in str(caught.value)


def test_two_functions_may_not_return_one_name(walk):
    with pytest.raises(UsageError, match="'same'"):
        features(walk, *[lambda bars: bars["close"].rename("same")] * 2)
