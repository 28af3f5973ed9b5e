"""Parameters are checked by name and range, and the reference page shows each of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from ml_pipeline.core.errors import UsageError
from ml_pipeline.training.estimators.parameters import ESTIMATORS, params_of

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/estimators.md"


@pytest.mark.parametrize(
    ("estimator", "values", "message"),
    [
        ("xgbost", {}, "train.estimator is 'xgbost'; did you mean 'xgboost'?"),
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
        params_of(estimator, values)
    assert message in str(error.value)


def test_xgboosts_short_names_are_understood():
    assert params_of("xgboost", {"eta": 0.2, "lambda": 3}) == params_of(
        "xgboost", {"learning_rate": 0.2, "reg_lambda": 3}
    )


@pytest.mark.parametrize("estimator", sorted(ESTIMATORS))
def test_the_reference_shows_every_parameter_with_its_default(estimator):
    section = PAGE.read_text().split(f"## {estimator}\n")[1].split("\n## ")[0]
    rows = {
        line.split("|")[1].strip().strip("`"): line.split("|")[2].strip().strip("`")
        for line in section.splitlines()
        if line.startswith("| `")
    }
    defaults = ESTIMATORS[estimator]().model_dump()
    assert rows == {name: str(default) for name, default in defaults.items()}
