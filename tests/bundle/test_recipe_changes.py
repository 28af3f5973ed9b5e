"""What of a recipe differs from that of a bundle, by the names that the user knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from ml_pipeline import config
from ml_pipeline.bundle import identity, source
from ml_pipeline.bundle.recipe_changes import recipe_changes
from ml_pipeline.bundle.sbom import sbom
from ml_pipeline.config import Project
from ml_pipeline.core.errors import Refused

GROUPS = {"path": "sectors.csv", "entity": "symbol", "group": "sector"}


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    made = make_project(
        features={"modules": ["own"]}, data={"groups": GROUPS}, train={"window": {"days": 90}}
    )
    (made.root / "own.py").write_text("import helper\n")
    (made.root / "helper.py").write_text("X = 1\n")
    (made.root / "sectors.csv").write_text("symbol,sector\nA,bank\n")
    return made


@pytest.fixture
def bundle(project: Project, make_bundle: Callable[..., Path]) -> Path:
    packages = sbom("small", "a" * 64, identity.locked(project), "0" * 64)
    return make_bundle(source=source.archive(project), sbom=packages.encode())


def differences(project: Project, parts: dict[str, str], bundle: Path) -> dict[str, str]:
    found = recipe_changes(project, parts, bundle)
    return {one.part: one.detail for one in found if one.changed}


def test_nothing_differs_from_itself(project: Project, bundle: Path) -> None:
    assert differences(project, identity.recipe(project), bundle) == {}


def test_each_difference_is_named(project: Project, bundle: Path) -> None:
    parts = identity.recipe(project)
    (project.root / "own.py").write_text("import other\n")
    (project.root / "other.py").touch()
    (project.root / "sectors.csv").write_text("symbol,sector\nA,hydro\n")
    assignments = ["train.window.days=120", "data.constants.symbol=A", "train.seed=8"]
    other = config.load(project.root, assignments, environment={})
    assert differences(other, parts, bundle) == {
        "code": "helper.py is gone, other.py is new, own.py",
        "configuration": "data.constants.symbol is new, "
        "train.window.days (90, now 120), content of data.groups.path",
        "seed": "7, now 8",
    }


def test_flags_of_train_are_a_part(project: Project, bundle: Path) -> None:
    parts = {**identity.recipe(project), "limits": "1" * 64}
    assert list(differences(project, parts, bundle)) == ["flags of train"]


def test_more_than_five_are_counted(project: Project, bundle: Path) -> None:
    parts = identity.recipe(project)
    keys = ("max_depth", "learning_rate", "min_child_weight", "subsample", "reg_lambda", "gamma")
    assignments = [f"train.params.{key}=0.5" for key in keys if key != "max_depth"]
    other = config.load(project.root, [*assignments, "train.params.max_depth=4"], environment={})
    assert differences(other, parts, bundle)["configuration"].endswith(", and 1 more")


def test_an_archive_that_cannot_be_read_is_refused(project: Project, bundle: Path) -> None:
    (bundle / "source.tar.gz").write_bytes(b"no archive")
    (project.root / "own.py").write_text("X = 2\n")
    with pytest.raises(Refused, match=r"source\.tar\.gz cannot be read"):
        recipe_changes(project, {}, bundle)
