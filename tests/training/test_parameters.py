"""Parameters are checked by name and range, and the reference page shows each of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ml_pipeline.core.errors import UsageError
from ml_pipeline.training.estimators.loader import (
    check_parameters,
    installed_estimators,
    load_estimator,
)

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/estimator-parameters.md"


def parameters(name, values):
    return check_parameters(load_estimator(name), values)


@pytest.mark.parametrize(
    ("estimator", "values", "message"),
    [
        ("xgbost", {}, "unknown train.estimator 'xgbost'; did you mean 'xgboost'?"),
        (
            "xgboost",
            {"max_dept": 3},
            "train.params of xgboost: unknown key 'max_dept'; did you mean 'max_depth'?",
        ),
        (
            "xgboost",
            {"objective": "multi:softmax"},
            "train.params of xgboost: unknown key 'objective'",
        ),
        (
            "xgboost",
            {"subsample": 0},
            "train.params of xgboost: subsample is 0; expected more than 0",
        ),
        ("logistic-regression", {"c": 1}, "unknown key 'c'"),
        (
            "random-forest",
            {"n_estimators": "many"},
            "n_estimators is 'many'; expected a whole number",
        ),
    ],
)
def test_a_wrong_name_or_value_is_a_usage_error(estimator, values, message):
    with pytest.raises(UsageError) as error:
        parameters(estimator, values)
    assert message in str(error.value)


def test_xgboosts_short_names_are_understood():
    assert parameters("xgboost", {"eta": 0.2, "lambda": 3}) == parameters(
        "xgboost", {"learning_rate": 0.2, "reg_lambda": 3}
    )


@pytest.mark.parametrize("estimator", sorted(installed_estimators()))
def test_the_reference_shows_every_parameter_with_its_default(estimator):
    section = PAGE.read_text().split(f"## {estimator}\n")[1].split("\n## ")[0]
    rows = {
        line.split("|")[1].strip().strip("`"): line.split("|")[2].strip().strip("`")
        for line in section.splitlines()
        if line.startswith("| `")
    }
    defaults = load_estimator(estimator).Parameters().model_dump()
    assert rows == {name: str(default) for name, default in defaults.items()}
