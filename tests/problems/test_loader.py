"""Problem plug-ins are found by entry point, and their options are checked."""

from __future__ import annotations

from pathlib import Path

import pytest
from ml_pipeline.config import ProblemSection
from ml_pipeline.core.errors import UsageError
from ml_pipeline.problem import Problem
from ml_pipeline.problems.loader import load_problem, option_schemas

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
    ("section", "said"),
    [
        ({"kind": "bar"}, "unknown problem.kind 'bar'; did you mean 'bars'"),
        ({"kind": "bars", "daily_limt": 1}, "unknown key 'daily_limt'; did you mean 'daily_limit'"),
        ({"kind": "bars", "daily_limit": -1}, "daily_limit is -1"),
        ({"kind": "table"}, "label"),
        ({"kind": "table", "label": "y", "unseen": "guess"}, "unseen is 'guess'"),
    ],
)
def test_says_which_key_is_wrong(section, said):
    with pytest.raises(UsageError, match=said):
        load_problem(ProblemSection(**section), ROOT)


def test_option_schemas_are_printable():
    schemas = option_schemas()
    assert set(schemas) >= {"bars", "table"}
    assert "daily_limit" in schemas["bars"].model_json_schema()["properties"]
