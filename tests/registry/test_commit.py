"""Whether a model was made from what its commit holds, and from nothing else."""

from __future__ import annotations

import subprocess

import pytest
from ml_pipeline import config
from ml_pipeline.bundle import identity, source
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core import git
from ml_pipeline.features.decorator import load_modules
from ml_pipeline.registry import commit

pytestmark = pytest.mark.needs("git")

ML = """\
project: small
problem: {kind: table, label: y, id: id}
features: {modules: [features.mine]}
train: {seed: 3}
"""
MODULE = "from features import helper\n"


@pytest.fixture
def case(tmp_path, make_bundle, monkeypatch):
    return Case(tmp_path / "project", make_bundle, monkeypatch)


class Case:
    """A project in its repository, and the bundle that it would make."""

    def __init__(self, root, make_bundle, monkeypatch):
        self.root, self.make_bundle = root, make_bundle
        (root / "features").mkdir(parents=True)
        self.write("ml.yaml", ML)
        self.write("features/__init__.py", "")
        self.write("features/mine.py", MODULE)
        self.write("features/helper.py", "ONE = 1\n")
        self.git("init", "-q")
        self.commit()
        for name in ("ML__TRAIN__SEED", "PYTHONPATH"):
            monkeypatch.delenv(name, raising=False)

    def write(self, name, text):
        (self.root / name).write_text(text)

    def git(self, *words):
        subprocess.run(
            ["git", "-c", "user.name=A", "-c", "user.email=a@ex.org", *words],
            cwd=self.root,
            check=True,
            capture_output=True,
        )

    def commit(self):
        self.git("add", "--all")
        self.git("commit", "-q", "--allow-empty", "-m", "change")

    def differences(self, *assignments, environment=None, limits=None):
        """Make the bundle as ``train`` and ``package`` would, and compare it with the commit."""
        project = config.load(self.root, assignments, environment or {})
        parts = identity.identity(project, "f" * 64, limits=limits).parts
        path = self.make_bundle(source=source.archive(project), identity_parts=dict(parts))
        head = git.head(self.root)
        assert head is not None
        overrides = {
            key: f"{origin} of user asha" for key, origin in config.overridden(project).items()
        }
        return commit.differences(project, Bundle.open(path), head.commit, overrides)


def test_a_model_trained_from_its_commit_has_no_changes(case):
    assert case.differences() == []


def test_another_project_that_the_process_served_hides_no_module(case, tmp_path):
    other = tmp_path / "other"
    (other / "features").mkdir(parents=True)
    (other / "features/__init__.py").write_text("")
    (other / "features/theirs.py").write_text(
        "from ml_pipeline import feature\n\n@feature\ndef theirs(rows):\n    return rows['x']\n"
    )
    load_modules(other, ["features.theirs"])
    assert case.differences() == []


def test_an_override_with_the_value_of_the_file_is_not_a_change(case):
    assert case.differences("train.seed=3", environment={"ML__PROJECT": "small"}) == []


def test_overrides_are_named_with_who_set_them(case):
    found = case.differences("train.seed=4", environment={"ML__SPLIT__HOLDOUT_SHARE": "0.3"})
    assert found == [
        "split.holdout_share set by environment variable ML__SPLIT__HOLDOUT_SHARE of user asha",
        "train.seed set by --set train.seed of user asha",
    ]


@pytest.mark.parametrize(
    "assignment",
    [
        "train.params={max_depth: 2}",
        "data.min_rows=7",
        "data.tolerances={label: 0.5}",
        "features.standard=false",
        "problem.label=z",
    ],
)
def test_every_key_that_shapes_the_model_counts(case, assignment):
    key = assignment.partition("=")[0]
    assert case.differences(assignment)[0].startswith(key)


@pytest.mark.parametrize("assignment", ["data.source={kind: csv, path: x.csv}", "gate.alpha=0.01"])
def test_data_locations_and_limits_do_not_change_the_model(case, assignment):
    assert case.differences(assignment) == []


def test_flags_of_train_are_in_no_commit(case):
    assert case.differences(limits={"max_epochs": 2})[0].startswith("flags of train")


def test_an_override_missing_from_the_reports_is_found_by_the_identity(case):
    project = config.load(case.root, ["train.seed=4"], {})
    parts = identity.identity(project, "f" * 64).parts
    path = case.make_bundle(source=source.archive(project), identity_parts=dict(parts))
    head = git.head(case.root)
    found = commit.differences(project, Bundle.open(path), head.commit, {})
    assert found == ["ml.yaml has other values in the commit"]


def test_an_ignored_module_is_named(case):
    case.write(".gitignore", "helper.py\n")
    case.git("rm", "-q", "--cached", "features/helper.py")
    case.commit()
    assert git.head(case.root).dirty is False
    assert case.differences() == ["features/helper.py is not in the commit"]


def test_a_module_that_the_index_hides_is_named(case):
    case.git("update-index", "--assume-unchanged", "features/helper.py")
    case.write("features/helper.py", "ONE = 2\n")
    assert git.head(case.root).dirty is True
    assert case.differences() == ["features/helper.py is another one in the commit"]


def test_a_module_from_elsewhere_is_named(case, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "smuggled.py").touch()
    case.write("features/helper.py", "import smuggled\n")
    case.commit()
    monkeypatch.syspath_prepend(elsewhere)
    assert case.differences() == [
        f"{elsewhere / 'smuggled.py'} is imported from outside the project"
    ]


def test_line_endings_of_a_checkout_are_not_a_change(case):
    case.git("update-index", "--assume-unchanged", "features/helper.py")
    (case.root / "features/helper.py").write_bytes(b"ONE = 1\r\n")
    assert case.differences() == []


def test_a_configuration_that_is_in_no_commit_is_named(case):
    case.git("rm", "-q", "--cached", "ml.yaml")
    case.git("commit", "-q", "-m", "without")
    assert case.differences() == ["ml.yaml is not in the commit"]


def test_the_line_of_many_is_short():
    assert commit.summarize([f"file {n}" for n in range(100)]).endswith("file 4 and 95 more")
