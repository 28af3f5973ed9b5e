"""Search over ranges: seeded, resumable to the bit, and blind to the holdout."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from ml_pipeline.config.train import SearchSection, TrainSection
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.schema_errors import parse
from ml_pipeline.training.range_search import search_ranges, suggest
from ml_pipeline.training.trainer import recipes_of
from ml_pipeline.training.training_record import Trial
from ml_pipeline.training.trial_log import TrialLog

from tests.training.test_trainer import SPLIT, TRAIN, matrix
from tests.training.test_trainer import run as run_training

RANGES = {
    "trials": 15,
    "ranges": {
        "x": {"low": -4.0, "high": 4.0},
        "size": {"low": 1, "high": 64, "log": True},
        "kind": ["a", "b"],
    },
}
SECTION = SearchSection.model_validate(RANGES)


@dataclass(frozen=True)
class Point:
    """As much of a recipe as the search asks for."""

    values: dict[str, Any]


def loss(values):
    return (values["x"] - 1) ** 2 + abs(np.log2(values["size"]) - 3) + (values["kind"] == "a")


class Scores:
    """Scores points by a function, and may be interrupted after some."""

    def __init__(self, stop_after=None):
        self.numbers: list[int] = []
        self.stop_after = stop_after

    def __call__(self, point, number):
        if len(self.numbers) == self.stop_after:
            raise KeyboardInterrupt
        self.numbers.append(number)
        return Trial(params=point.values, scores=(loss(point.values),))


def search(scores, log=None, seed=7):
    return search_ranges(SECTION, Point, scores, seed, log or TrialLog())


def test_makes_as_many_trials_within_the_ranges_and_takes_the_best():
    best, trials = search(Scores())
    assert len(trials) == 15
    for trial in trials:
        assert -4 <= trial.params["x"] <= 4
        assert isinstance(trial.params["size"], int)
        assert trial.params["kind"] in ("a", "b")
    assert loss(best.values) == min(trial.mean for trial in trials)


def test_the_same_seed_makes_the_same_trials_and_another_seed_others():
    assert search(Scores()) == search(Scores())
    assert search(Scores())[1] != search(Scores(), seed=8)[1]


def test_later_trials_learn_from_earlier_ones():
    history = [({"x": x, "size": 8, "kind": "b"}, x) for x in np.linspace(-4, 4, 40)]
    near_one = [(values, Trial(params=values, scores=(loss(values),))) for values, _ in history]
    near_minus_three = [
        (values, Trial(params=values, scores=((values["x"] + 3) ** 2,))) for values, _ in history
    ]
    assert abs(suggest(SECTION, near_one, 7)["x"] - 1) < 1.5
    assert abs(suggest(SECTION, near_minus_three, 7)["x"] + 3) < 1.5


@pytest.mark.parametrize("stop_after", [0, 3, 12])
def test_an_interrupted_search_goes_on_with_the_trials_it_would_have_made(tmp_path, stop_after):
    expected = search(Scores())

    def log():
        log = TrialLog(tmp_path / "search/trials.jsonl", "subject")
        log.open(b"rows")
        return log

    with pytest.raises(KeyboardInterrupt):
        search(Scores(stop_after), log())
    resumed = Scores()
    assert search(resumed, log()) == expected
    assert resumed.numbers == list(range(stop_after, 15)), "none is made twice"


class TestLog:
    @pytest.fixture
    def path(self, tmp_path):
        path = tmp_path / "trials.jsonl"
        log = TrialLog(path, "subject")
        log.open(b"rows")
        for number in range(3):
            log.append({"x": number / 3}, Trial(params={"x": number / 3}, scores=(0.1, 0.2)))
        return path

    def opened(self, path, subject="subject", rows=b"rows"):
        log = TrialLog(path, subject)
        log.open(rows)
        return [log.trial(number) for number in range(4)]

    def test_is_read_again_to_the_bit(self, path):
        *trials, none = self.opened(path)
        assert [values["x"] for values, _ in trials] == [0.0, 1 / 3, 2 / 3]
        assert none is None

    @pytest.mark.parametrize("change", [{"subject": "other"}, {"rows": b"others"}])
    def test_of_another_search_is_begun_anew(self, path, change):
        assert self.opened(path, **change) == [None] * 4

    def test_a_line_that_was_cut_off_is_dropped(self, path):
        path.write_bytes(path.read_bytes()[:-9])
        kept = self.opened(path)
        assert [each is not None for each in kept] == [True, True, False, False]
        assert kept == self.opened(path), "and is not in the file any more"

    @pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{}\n[1]\n", b'{"search": 1}\n7\n'])
    def test_an_invalid_history_file_is_replaced(self, path, content):
        path.write_bytes(content)
        assert self.opened(path) == [None] * 4


class TestTraining:
    SECTION = TRAIN.model_copy(
        update={
            "params": {"learning_rate": 0.3},
            "max_epochs": 5,
            "search": SearchSection.model_validate(
                {"trials": 3, "ranges": {"max_depth": {"low": 1, "high": 4}}}
            ),
        }
    )

    def run(self, rows):
        return run_training(rows, split=SPLIT, section=self.SECTION)

    def test_never_looks_at_the_holdout(self):
        rows = matrix()
        trained = self.run(rows)
        held = trained.split.rows("holdout")
        assert len(held) > 100
        features, label = rows.features.copy(), rows.label.copy()
        numbers = features.select_dtypes("number").columns
        features.loc[features.index[held], numbers] = np.float32(-77.0)
        label.iloc[held] = 1.0 - label.iloc[held]
        other = self.run(replace(rows, features=features, label=label))
        assert list(other.split.part) == list(trained.split.part)
        assert other.trials == trained.trials
        assert other.recipe == trained.recipe
        assert len(trained.trials) == 3

    def test_the_chosen_parameters_are_those_of_the_least_mean(self):
        trained = self.run(matrix())
        means = [trial.mean for trial in trained.trials]
        assert trained.chosen_trial == trained.trials[means.index(min(means))]
        (check,) = (each for each in trained.checks if each.name == "model selection")
        assert check.observed.startswith(f"set {means.index(min(means)) + 1} of 3")
        assert trained.recipe.params.learning_rate == 0.3


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({"max_dept": {"low": 1, "high": 3}}, "unknown key 'max_dept'; did you mean 'max_depth'?"),
        ({"max_depth": {"low": 1, "high": 99}}, "max_depth is 99; expected at most 32"),
        ({"grow_policy": ["depthwise", "sideways"]}, "grow_policy is 'sideways'"),
    ],
)
def test_a_range_beyond_what_the_parameter_allows_is_refused_before_the_search(ranges, message):
    section = TrainSection(search={"trials": 2, "ranges": ranges})
    with pytest.raises(UsageError) as error:
        recipes_of(section)
    assert message in str(error.value)
    assert "train.search.ranges" in str(error.value)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"ranges": {"max_depth": {"low": 1, "high": 3}}}, "trials"),
        ({"trials": 5, "ranges": {}}, "ranges"),
        ({"trials": 5, "ranges": {"gamma": {"low": 3, "high": 1}}}, "low must be less"),
        ({"trials": 5, "ranges": {"gamma": {"low": 0, "high": 1, "log": True}}}, "above 0"),
        ({"trials": 1, "ranges": {"gamma": {"low": 0, "high": 1}}}, "trials"),
    ],
)
def test_a_wrong_section_is_refused(search, message):
    with pytest.raises(UsageError, match=message):
        parse(TrainSection, {"search": search}, "train")
