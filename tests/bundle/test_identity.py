"""What makes a new version, and what does not."""

from datetime import date

import pytest
from ml_pipeline import config
from ml_pipeline.bundle.identity import identity, locked, source_files
from ml_pipeline.core.errors import UsageError

DATA = "d" * 64


def changed(one, other):
    return {
        part for part in one.parts | other.parts if one.parts.get(part) != other.parts.get(part)
    }


@pytest.fixture
def project(make_project):
    made = make_project(features={"modules": ["own"]})
    (made.root / "own.py").write_text("import helper\nimport numpy\n")
    (made.root / "helper.py").write_text("X = 1\n")
    return made


def test_is_the_same_twice_and_has_the_five_parts(project):
    one, other = identity(project, DATA), identity(project, DATA)
    assert one == other
    assert set(one.parts) == {"data", "config", "source", "lock", "seed"}
    assert one.parts["seed"] == "7"


@pytest.mark.parametrize(
    ("assignment", "part"),
    [
        ("train.seed=8", "seed"),
        ("train.max_epochs=5", "config"),
        ("split.holdout_days=30", "config"),
        ("features.standard=false", "config"),
        ("data.constants.symbol=X", "config"),
        ("problem.horizon=2", "config"),
        ("train.window.days=90", "config"),
        ("project=other", "config"),
    ],
)
def test_a_key_that_shapes_the_model_changes_one_part(project, assignment, part):
    other = config.load(project.root, [assignment], environment={})
    one, two = identity(project, DATA), identity(other, DATA)
    assert changed(one, two) == {part}
    assert one.digest != two.digest


@pytest.mark.parametrize(
    "assignment",
    [
        "description=words",
        "policy.four_eyes=true",
        "gate.alpha=0.01",
        "evaluate.resamples=60",
        "environments.staging.port=9",
        "data.min_rows=5",
        "registry.name=x",
        "train.window=all",
    ],
)
def test_another_key_changes_nothing(project, assignment):
    other = config.load(project.root, [assignment], environment={})
    assert identity(other, DATA) == identity(project, DATA)


def test_the_day_of_a_change_counts_where_a_window_begins_with_it(project):
    day = date(2026, 5, 12)
    assert identity(project, DATA, change=day) == identity(project, DATA)
    windows = "train.windows=[all, {since: change}]"
    other = config.load(project.root, [windows], environment={})
    one, two = identity(other, DATA), identity(other, DATA, change=day)
    assert changed(one, two) == {"change"}
    assert two.parts["change"] == "2026-05-12"


def test_data_and_limits_are_parts_of_their_own(project):
    one = identity(project, DATA)
    assert changed(one, identity(project, "e" * 64)) == {"data"}
    assert changed(one, identity(project, DATA, limits={"max_epochs": 2})) == {"limits"}
    assert identity(project, DATA, limits={"max_epochs": None}) == one


@pytest.mark.parametrize(("name", "counts"), [("helper.py", True), ("tests/test_own.py", False)])
def test_code_that_is_imported_counts(project, name, counts):
    before = identity(project, DATA)
    (project.root / name).parent.mkdir(exist_ok=True)
    (project.root / name).write_text("X = 2\n")
    assert (changed(before, identity(project, DATA)) == {"source"}) is counts


@pytest.mark.parametrize("estimator", ["xgboost", "logistic-regression", "random-forest"])
def test_the_lock_of_the_first_estimators_is_unchanged(make_project, estimator):
    """Another list would give every model that exists another identity."""
    found = locked(make_project(train={"estimator": estimator}))
    assert sorted(found) == [
        "TA-Lib",
        "jenkins-ml-pipeline",
        "numpy",
        "onnx",
        "onnxmltools",
        "pandas",
        "pyarrow",
        "python",
        "scikit-learn",
        "scipy",
        "skl2onnx",
        "xgboost",
    ]


def test_groups_count_by_content_not_by_path(make_project):
    project = make_project(data={"groups": {"path": "a.csv", "entity": "s", "group": "g"}})
    (project.root / "a.csv").write_text("s,g\nA,x\n")
    (project.root / "b.csv").write_text("s,g\nA,x\n")
    moved = config.load(project.root, ["data.groups.path=b.csv"], environment={})
    before = identity(project, DATA)
    assert identity(moved, DATA) == before
    (project.root / "a.csv").write_text("s,g\nA,y\n")
    assert changed(before, identity(project, DATA)) == {"config"}


class TestSourceFiles:
    def write(self, project, files):
        for name, text in files.items():
            path = project.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return {path.relative_to(project.root).as_posix() for path in source_files(project)}

    def test_follows_every_form_of_import(self, make_project):
        project = make_project(features={"modules": ["pkg.a"]})
        found = self.write(
            project,
            {
                "pkg/__init__.py": "",
                "pkg/a.py": "from . import b\nfrom .c import X\ndef f():\n    import d.e\n",
                "pkg/b.py": "from pkg import a\n",
                "pkg/c.py": "from ..nothing import y\n",
                "d/e.py": "",
                "pkg/unused.py": "",
            },
        )
        assert found == {"pkg/__init__.py", "pkg/a.py", "pkg/b.py", "pkg/c.py", "d/e.py"}

    def test_leaves_what_is_installed_though_a_folder_has_its_name(self, make_project):
        project = make_project(features={"modules": ["own"]})
        found = self.write(
            project,
            {
                "own.py": "import ml_pipeline.core.errors\nimport json\nimport numpy\n",
                "pipeline/ml_pipeline/core/errors.py": "",
                "json.py": "",
                "numpy.py": "",
            },
        )
        assert found == {"own.py"}

    def test_a_missing_module_is_named(self, make_project):
        with pytest.raises(UsageError, match="no module 'gone'"):
            identity(make_project(features={"modules": ["gone"]}), DATA)

    def test_what_is_not_python_is_named_with_its_line(self, make_project):
        project = make_project(features={"modules": ["own"]})
        (project.root / "own.py").write_text("x = 1\ndef f(:\n")
        with pytest.raises(UsageError, match=r"own\.py:2 is not Python"):
            identity(project, DATA)
