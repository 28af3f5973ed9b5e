"""A project names its own plug-ins as ``module:Name`` of its repository."""

from __future__ import annotations

import pytest
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.project_modules import check_reference, load_object


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


class TestCheckReference:
    """The reference is checked without running the module."""

    @pytest.mark.parametrize(
        "content",
        [
            "class Churn: ...",
            "def Churn(): ...",
            "Churn = object()",
            "from elsewhere import Model as Churn",
            "from elsewhere import *",
        ],
    )
    def test_a_name_that_the_module_binds_passes(self, tmp_path, content):
        (tmp_path / "my_models.py").write_text(f"{content}\nraise SystemExit\n")
        check_reference(tmp_path, "my_models:Churn", key="train.estimator")

    @pytest.mark.parametrize(
        ("reference", "message"),
        [
            ("my_models:Chrun", "module my_models has no 'Chrun'; did you mean 'Churn'"),
            ("my_model:Churn", "there is no module my_model in .*; expected my_model.py"),
            ("broken:Churn", "broken.py is not Python: invalid syntax"),
        ],
    )
    def test_a_wrong_reference_names_the_key(self, tmp_path, reference, message):
        (tmp_path / "my_models.py").write_text("class Churn: ...")
        (tmp_path / "broken.py").write_text("class Churn(:")
        with pytest.raises(UsageError, match=f"train.estimator: .*{message}"):
            check_reference(tmp_path, reference, key="train.estimator")

    def test_a_package_is_a_module(self, tmp_path):
        (tmp_path / "models").mkdir()
        (tmp_path / "models/__init__.py").write_text("class Churn: ...")
        check_reference(tmp_path, "models:Churn", key="train.estimator")
