"""A project names its own plug-ins as ``module:Name`` of its repository."""

from __future__ import annotations

import pytest
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.project_modules import load_object


def test_a_module_of_the_project_is_imported(tmp_path):
    (tmp_path / "my_models.py").write_text("class Churn: pass\n")
    assert load_object(tmp_path, "my_models:Churn", key="train.estimator").__name__ == "Churn"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("my_models", "train.estimator is 'my_models'; expected 'module:Name'"),
        ("my_models:a.b", "train.estimator is 'my_models:a.b'; expected 'module:Name'"),
        ("my_models:Chrun", "my_models has no 'Chrun'; did you mean 'Churn'?"),
        ("my_modls:Churn", "train.estimator: there is no module my_modls in"),
        ("json:loads", "an installed package has this name"),
    ],
)
def test_a_wrong_reference_is_refused(tmp_path, reference, message):
    (tmp_path / "my_models.py").write_text("class Churn: pass\n")
    with pytest.raises(UsageError) as raised:
        load_object(tmp_path, reference, key="train.estimator")
    assert message in str(raised.value)


def test_a_module_that_fails_is_named(tmp_path):
    (tmp_path / "my_models.py").write_text("import no_such_package\n")
    with pytest.raises(UsageError, match=r"train\.estimator: my_models cannot be imported: Module"):
        load_object(tmp_path, "my_models:Churn", key="train.estimator")
