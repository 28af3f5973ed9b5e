"""The policy files that bind a command."""

from __future__ import annotations

import os

import pytest
from ml_pipeline.approval import policy, policy_files
from ml_pipeline.core.errors import UsageError
from ml_pipeline.stages.session import Session


class Opened:
    """Sessions under policies by the name of what names them, each given as text."""

    def __init__(self, project, folder, monkeypatch):
        self.project, self.folder, self.monkeypatch = project, folder, monkeypatch

    def __call__(self, **files):
        return policy_files.read(self.files(**files))

    def files(self, **files):
        for name in ("ML_POLICY", "ML_JOB_POLICY"):
            self.monkeypatch.delenv(name, raising=False)
        options = {"project": str(self.project.root)}
        for name, text in files.items():
            self.path(name).write_text(text)
            if name == "policy":
                options["policy"] = str(self.path(name))
            else:
                self.monkeypatch.setenv(name, str(self.path(name)))
        return Session.open(options, lambda what, share: None, interactive=False).policies

    def path(self, name):
        return self.folder / f"{name}.yaml"


@pytest.fixture
def opened(make_project, tmp_path, monkeypatch, system_policy):
    return Opened(make_project(), tmp_path, monkeypatch)


@pytest.fixture
def system_policy(tmp_path, monkeypatch):
    """Stand in for /etc/ml-pipeline/policy.yaml; not there until a test writes it."""
    path = tmp_path / "etc" / "policy.yaml"
    path.parent.mkdir()
    monkeypatch.setattr(policy_files, "SYSTEM_POLICY", path)
    return path


STRICT = "four_eyes: true\nallow_yes: false\n"
LOOSE = "four_eyes: false\nallow_yes: true\nautomatic: true\n"


@pytest.mark.parametrize("other", ["policy", "ML_JOB_POLICY"])
def test_a_policy_of_the_command_or_the_job_does_not_loosen_the_administrators(opened, other):
    assert opened(ML_POLICY=STRICT, **{other: LOOSE}) == opened(ML_POLICY=STRICT)


def test_it_may_tighten(opened):
    found = opened(ML_POLICY=LOOSE, ML_JOB_POLICY="require: [lint]", policy=STRICT)
    assert (found.four_eyes, found.allow_yes, found.automatic) == (True, False, True)
    assert found.require == ("lint",)


@pytest.mark.parametrize("name", ["policy", "ML_JOB_POLICY"])
def test_without_the_administrators_file_it_tightens_the_built_in_minimum(opened, name):
    assert opened(ML_POLICY=LOOSE).automatic
    assert opened(**{name: LOOSE}) == opened()
    assert opened(**{name: STRICT}).four_eyes


class TestPolicyOfTheMachine:
    """No variable and no argument replaces it."""

    @pytest.mark.parametrize("other", ["ML_POLICY", "ML_JOB_POLICY", "policy"])
    def test_is_never_loosened(self, opened, system_policy, other):
        system_policy.write_text(STRICT)
        assert opened(**{other: LOOSE}) == opened()
        assert (opened().four_eyes, opened().allow_yes) == (True, False)

    def test_may_be_tightened(self, opened, system_policy):
        system_policy.write_text(LOOSE)
        found = opened(ML_POLICY="require: [lint]", policy="four_eyes: true")
        assert (found.automatic, found.four_eyes, found.require) == (True, True, ("lint",))

    @pytest.mark.parametrize("file", ["nowhere", "."], ids=["dangling", "folder"])
    def test_that_cannot_be_read_ends_the_command(self, opened, system_policy, file):
        system_policy.symlink_to(file)
        with pytest.raises(UsageError, match=str(system_policy)):
            opened(ML_POLICY=LOOSE)


def test_the_marker_of_the_library_is_not_a_path(opened, monkeypatch):
    """From Jenkins' configuration without ML_POLICY: an image's own variable does not count."""
    plain = opened()
    monkeypatch.setattr("os.environ", dict(os.environ) | {"ML_POLICY": "-"})
    options = {"project": str(opened.project.root)}
    session = Session.open(options, lambda what, share: None, interactive=False)
    assert policy.minimum(session.policy) == plain


@pytest.mark.parametrize("name", ["ml_policy", "Ml_Job_Policy"])
def test_a_name_in_another_case_is_refused(opened, monkeypatch, name):
    """Jenkins compares names without case, and keeps the first spelling."""
    monkeypatch.setenv(name, "/etc/policy.yaml")
    with pytest.raises(UsageError, match=f"variable {name} is set"):
        opened()


def test_the_policy_files_in_force_are_listed(opened, system_policy):
    assert policy_files.describe(opened.files()) == "the built-in minimum"
    job = opened.files(ML_JOB_POLICY=STRICT)
    assert policy_files.describe(job).startswith("the built-in minimum, tightened by /")
    system_policy.write_text(STRICT)
    both = policy_files.describe(opened.files(ML_POLICY=STRICT))
    assert both == f"{system_policy}, tightened by {opened.path('ML_POLICY')} (ML_POLICY)"


def test_an_empty_path_is_refused(make_project, monkeypatch):
    monkeypatch.setenv("ML_POLICY", "")
    options = {"project": str(make_project().root)}
    with pytest.raises(UsageError, match="ML_POLICY is empty"):
        Session.open(options, lambda what, share: None, interactive=False)
