"""Problem plug-ins are found by entry point, and their options are checked."""

from __future__ import annotations

from pathlib import Path

import pytest
from ml_pipeline.config import ProblemSection
from ml_pipeline.core.errors import UsageError
from ml_pipeline.problem import Problem
from ml_pipeline.problems.loader import load_problem, option_schemas, problem_tasks

ROOT = Path("/project")


def test_default_is_bars_with_its_options():
    problem = load_problem(ProblemSection(), ROOT)
    assert problem.kind == "bars"
    assert problem.options.daily_limit == 0.10


@pytest.mark.parametrize(
    "section", [ProblemSection(), ProblemSection(kind="table", label="y")], ids=["bars", "table"]
)
def test_plugins_keep_the_protocol(section):
    assert isinstance(load_problem(section, ROOT), Problem)


def test_options_reach_the_plugin():
    problem = load_problem(ProblemSection(kind="bars", daily_limit=0.2, max_absence=None), ROOT)
    assert (problem.options.daily_limit, problem.options.max_absence) == (0.2, None)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"kind": "bar"}, "unknown problem.kind 'bar'; did you mean 'bars'"),
        ({"kind": "bars", "daily_limt": 1}, "unknown key 'daily_limt'; did you mean 'daily_limit'"),
        ({"kind": "bars", "daily_limit": -1}, "daily_limit is -1"),
        ({"kind": "table"}, "label"),
        ({"kind": "table", "label": "y", "unseen": "guess"}, "unseen is 'guess'"),
    ],
)
def test_the_wrong_key_is_named(section, message):
    with pytest.raises(UsageError, match=message):
        load_problem(ProblemSection(**section), ROOT)


COUNT = """
from ml_pipeline import Regression


class Count(Regression):
    name = "count"
"""


class TestInstalledTask:
    """A task of another package, which no problem of this one names."""

    @pytest.fixture(autouse=True)
    def count(self, install_distribution):
        install_distribution(
            "count-task", {"ml_pipeline.tasks": {"count": "count_task:Count"}}, count_task=COUNT
        )

    def test_a_problem_with_a_built_in_task_of_its_objective_takes_it(self):
        problem = load_problem(ProblemSection(kind="table", label="y", task="count"), ROOT)
        assert problem.task.name == "count"
        assert problem.task.to_json()["name"] == "count"
        assert "count" in problem_tasks()["table"]

    def test_a_problem_without_one_refuses_it(self):
        with pytest.raises(UsageError, match="'count', which the problem 'bars' does not have"):
            load_problem(ProblemSection(kind="bars", task="count"), ROOT)
        assert "count" not in problem_tasks()["bars"]


def test_a_task_with_an_unknown_plot_is_refused(install_distribution):
    source = COUNT + '    plots = ("residual",)\n'
    install_distribution(
        "plot-task", {"ml_pipeline.tasks": {"plotted": "plot_task:Count"}}, plot_task=source
    )
    with pytest.raises(UsageError, match=r"declares the plot 'residual'; expected plots of calib"):
        load_problem(ProblemSection(kind="table", label="y", task="plotted"), ROOT)


def test_option_schemas_are_printable():
    schemas = option_schemas()
    assert set(schemas) >= {"bars", "table"}
    assert "daily_limit" in schemas["bars"].model_json_schema()["properties"]
