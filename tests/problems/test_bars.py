"""Daily bars: features, labels and keys; nothing looks ahead and nothing spans a cut."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_pipeline.core.errors import Refused, UsageError
from ml_pipeline.problem import FeatureFunction
from ml_pipeline.problems import bar_features
from ml_pipeline.problems.bars import Bars, BarsOptions


def matrix(frame, functions=(), standard=True, **options):
    return Bars(BarsOptions(**options)).matrix(frame, list(functions), standard)


class TestMatrix:
    def test_has_the_frames_length_order_and_a_range_index(self, walk):
        shuffled = walk.sample(frac=1, random_state=1)
        result = matrix(shuffled)
        for part in (result.features, result.label, result.keys):
            assert part.index.equals(pd.RangeIndex(len(walk)))
        assert result.keys["entity"].tolist() == shuffled["symbol"].tolist()
        assert result.keys["time"].tolist() == shuffled["date"].tolist()

    def test_order_of_rows_changes_nothing(self, walk):
        shuffled = walk.sample(frac=1, random_state=1)
        expected = matrix(walk).features.iloc[shuffled.index].reset_index(drop=True)
        pd.testing.assert_frame_equal(matrix(shuffled).features, expected, check_exact=False)

    def test_features_are_float32_and_named(self, walk):
        features = matrix(walk).features
        assert tuple(features.columns) == bar_features.STANDARD
        assert set(features.dtypes) == {np.dtype("float32")}
        assert not np.isinf(features.to_numpy()).any()

    def test_every_feature_has_values(self, walk):
        assert matrix(walk).features.notna().any().all()

    def test_standard_ones_by_name(self, walk):
        assert list(matrix(walk, standard=("rsi_14", "weekday")).features) == ["rsi_14", "weekday"]

    @pytest.mark.parametrize(
        ("standard", "message"),
        [
            (("rsi_41",), "features.standard: unknown 'rsi_41'; did you mean 'rsi_14'"),
            (False, "the model has no feature"),
        ],
    )
    def test_refuses_a_wrong_choice(self, walk, standard, message):
        with pytest.raises(UsageError, match=message):
            matrix(walk, standard=standard)

    def test_scale_of_prices_does_not_matter(self, walk):
        prices = ["open", "high", "low", "close"]
        scaled = walk.assign(**{name: walk[name] * 64 for name in prices})
        pd.testing.assert_frame_equal(matrix(scaled).features, matrix(walk).features, rtol=1e-5)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda f: f.iloc[:0], "there are no bars"),
            (lambda f: f.assign(date=f["date"].where(f.index != 3)), "row 3 has no date"),
            (lambda f: f.assign(symbol=f["symbol"].where(f.index != 3)), "or no symbol"),
            (lambda f: pd.concat([f, f.iloc[[5]]]), "A has two bars of 2020-01-10"),
        ],
    )
    def test_refuses_what_validation_should_have_set_aside(self, walk, change, message):
        with pytest.raises(Refused, match=message):
            matrix(change(walk))

    def test_survives_defects_that_were_not_set_aside(self, walk):
        dirty = walk.copy()
        dirty.loc[10, ["open", "high", "low", "close"]] = [0.0, -1.0, np.inf, 0.0]
        dirty.loc[11, "volume"] = -5.0
        features = matrix(dirty).features
        assert not np.isinf(features.to_numpy()).any()
        assert features.loc[10, ["return_1", "rsi_14", "atr_14"]].isna().all()

    def test_one_bar(self, walk):
        result = matrix(walk.iloc[:1])
        assert result.label.isna().all()
        assert result.features.loc[0, "weekday"] == 6


class TestStandardFeatures:
    def test_calendar(self, make_bars):
        days = pd.to_datetime(["2024-01-04", "2024-01-07", "2024-01-08"])  # Thursday to Monday
        features = matrix(make_bars({"A": [100, 101, 102]}, days=days)).features
        assert features["weekday"].tolist() == [3, 6, 0]
        assert features["gap_days"].tolist()[1:] == [3, 1]

    def test_cross_section(self, make_bars):
        frame = make_bars({"A": [100, 101], "B": [100, 103], "C": [100, 101], "D": [np.nan, 50]})
        second = matrix(frame).features.iloc[[1, 3, 5, 6]]
        assert second["market_return"].tolist() == pytest.approx([5 / 300] * 4)
        assert second["relative_return"].tolist()[:3] == pytest.approx(
            [-2 / 300, 4 / 300, -2 / 300]
        )
        assert second["return_rank"].tolist()[:3] == pytest.approx([1 / 3, 5 / 6, 1 / 3])
        assert second.iloc[3][["relative_return", "return_rank"]].isna().all()

    def test_blanked_open_has_no_gap_and_harms_nothing_else(self, walk):
        blanked = walk.assign(open=np.nan)
        before, after = matrix(walk).features, matrix(blanked).features
        assert after["open_gap"].isna().all()
        pd.testing.assert_frame_equal(
            after.drop(columns="open_gap"), before.drop(columns="open_gap")
        )

    def test_open_beyond_the_daily_limit_has_no_gap(self, make_bars):
        frame = make_bars({"A": [100, 101, 102]})
        frame.loc[1, "open"] = 120.0
        gaps = matrix(frame).features["open_gap"]
        assert gaps.isna().tolist() == [True, True, False]


class TestLabel:
    def test_next_close_higher_flat_lower(self, make_bars):
        label = matrix(make_bars({"A": [100, 101, 101, 100]})).label
        assert label.tolist()[:3] == [1, 0, 0]
        assert np.isnan(label[3])

    def test_is_of_the_same_symbol(self, make_bars):
        label = matrix(make_bars({"A": [100, 99], "B": [50, 51]})).label
        assert label.tolist()[::2] == [0, 1]
        assert label.isna().tolist() == [False, True, False, True]

    def test_next_traded_close_after_days_without_a_bar(self, make_bars):
        label = matrix(make_bars({"A": [100, np.nan, 101], "B": [1, 1, 1]})).label
        assert label[0] == 1

    def test_next_known_close_where_one_is_unknown(self, make_bars):
        frame = make_bars({"A": [100, 101, 99]})
        frame.loc[1, "close"] = np.nan
        assert matrix(frame).label.isna().tolist() == [False, True, True]
        assert matrix(frame).label[0] == 0

    def test_last_bar_before_a_cut_has_none(self, make_bars):
        assert matrix(make_bars({"A": [100, 101, 60, 61]})).label.isna().tolist() == [
            False,
            True,
            False,
            True,
        ]


class TestKeys:
    def test_group_is_the_sector_or_one_for_all(self, walk):
        assert set(matrix(walk).keys["group"]) == {"all"}
        sectors = walk.assign(sector=walk["symbol"].map({"A": "Bank", "B": "Bank", "C": "Hydro"}))
        assert set(matrix(sectors).keys["group"]) == {"Bank", "Hydro", "unknown"}

    def test_cluster_is_the_day(self, walk):
        keys = matrix(walk).keys
        assert keys["cluster"].equals(keys["time"])
        assert keys["time"].dtype.kind == "M"

    def test_dates_may_be_text(self, walk):
        text = walk.assign(date=walk["date"].dt.strftime("%Y-%m-%d"))
        pd.testing.assert_frame_equal(matrix(text).keys, matrix(walk).keys)


class TestHeuristic:
    def test_persistence_is_the_last_move(self, make_bars):
        frame = make_bars({"A": [100, 101, 101, 99, 60, 61]})
        problem = Bars()
        signal = problem.heuristic(frame, problem.matrix(frame, [], True))["persistence"]
        assert signal.isna().tolist() == [True, False, False, False, True, False]
        assert signal.dropna().tolist() == [1, 0, 0, 1]


def closes(draw):
    """Draw a series of closes with ordinary moves, breaks and absences (NaN)."""
    size = draw(st.integers(25, 60))
    seed = draw(st.integers(0, 10_000))
    random = np.random.default_rng(seed)
    moves = np.clip(random.normal(0, 0.03, size), -0.09, 0.09)
    for place in draw(st.lists(st.integers(1, size - 1), max_size=3)):
        moves[place] = random.choice([-0.6, -0.12, 0.12, 1.0])
    values = 100 * np.exp(np.log1p(moves).cumsum())
    for place in draw(st.lists(st.integers(1, size - 1), max_size=2)):
        values[place : place + draw(st.integers(1, 15))] = np.nan
    values[0] = 100.0
    return values


@st.composite
def exchanges(draw, symbols=3):
    """Draw an exchange: bars of some symbols, the first of which trades every day."""
    drawn = {name: closes(draw) for name in "ABC"[:symbols]}
    length = max(values.size for values in drawn.values())
    padded = {
        name: np.concatenate([values, np.full(length - values.size, np.nan)])
        for name, values in drawn.items()
    }
    padded["M"] = 100 + np.arange(length) % 3
    return padded


@settings(deadline=None, max_examples=40)
@given(data=st.data(), exchange=exchanges())
def test_later_bars_never_change_earlier_features(data, exchange, make_bars):
    """Every bar after t becomes another one; features up to t stay bit-identical."""
    frame = make_bars(exchange)
    days = sorted(frame["date"].unique())
    moment = days[data.draw(st.integers(0, len(days) - 2))]
    later = (frame["date"] > moment).to_numpy()
    random = np.random.default_rng(data.draw(st.integers(0, 10_000)))
    changed = frame.copy()
    for name in ("open", "high", "low", "close", "volume"):
        changed.loc[later, name] = random.uniform(1, 1000, later.sum())
    own = [FeatureFunction("own", "tests", "entity", lambda bars: bars["close"].rolling(3).mean())]
    before, after = matrix(frame, own), matrix(changed, own)
    assert (
        before.features[~later].to_numpy().tobytes() == after.features[~later].to_numpy().tobytes()
    )
    known = matrix(frame[~later]).features
    assert known.to_numpy().tobytes() == (
        before.features[~later].drop(columns="own").to_numpy().tobytes()
    )


WITHIN_A_SEGMENT = [name for name in bar_features.STANDARD if name not in bar_features.DAY]


@settings(deadline=None, max_examples=60)
@given(exchange=exchanges(symbols=1))
def test_nothing_spans_a_cut(exchange, make_bars):
    """Each stretch between two cuts has the features and labels that it has all by itself."""
    frame = make_bars(exchange)
    whole = matrix(frame)
    one = frame[frame["symbol"] == "A"]
    day_number = {day: number for number, day in enumerate(sorted(frame["date"].unique()))}
    stretches, previous = [], None
    for place, bar in one.iterrows():
        cut = (
            previous is None
            or abs(bar["close"] / previous["close"] - 1) > 0.105
            or day_number[bar["date"]] - day_number[previous["date"]] > 11
        )
        stretches.append([place]) if cut else stretches[-1].append(place)
        previous = bar
    for stretch in stretches:
        alone = matrix(frame.loc[stretch])
        pd.testing.assert_frame_equal(
            alone.features[WITHIN_A_SEGMENT],
            whole.features.loc[stretch, WITHIN_A_SEGMENT].reset_index(drop=True),
            check_exact=True,
        )
        pd.testing.assert_series_equal(alone.label, whole.label[stretch].reset_index(drop=True))
        assert np.isnan(whole.label[stretch[-1]])
        assert np.isnan(whole.features.loc[stretch[0], "return_1"])


@settings(deadline=None, max_examples=40)
@given(exchange=exchanges())
def test_no_return_is_larger_than_the_limit_allows(exchange, make_bars):
    features = matrix(make_bars(exchange)).features
    for name in ("return_1", "market_return", "open_gap"):
        assert not (features[name].abs() > 0.105 + 1e-6).any()


class TestRules:
    def test_name_columns_that_the_problem_has(self):
        problem = Bars()
        known = {column.name for column in problem.columns()}
        for rule in problem.expectations():
            named = [value for key, value in rule.args.items() if key.startswith("column")]
            flat = [n for value in named for n in (value if isinstance(value, list) else [value])]
            assert flat
            assert set(flat) <= known

    def test_names_are_unique_and_only_the_open_is_blanked(self):
        rules = Bars().expectations()
        assert len({rule.name for rule in rules}) == len(rules)
        assert {rule.blank for rule in rules if rule.severity == "blank"} == {"open"}

    def test_every_critical_column_is_tested_for_nulls(self):
        problem = Bars()
        tested = {
            rule.args["column"] for rule in problem.expectations() if "not_be_null" in rule.expect
        }
        assert tested == {column.name for column in problem.columns() if column.critical}
