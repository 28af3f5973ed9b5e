"""Which policy files a command is held to."""

from __future__ import annotations

import pytest

from pipeline.approval import policy
from pipeline.errors import UsageError
from pipeline.stages.session import Session


@pytest.fixture
def opened(make_project, tmp_path, monkeypatch):
    project = make_project()

    def open_(**files):
        """Open a session under policies by the name of what names them, each given as text."""
        for name in ("ML_POLICY", "ML_JOB_POLICY"):
            monkeypatch.delenv(name, raising=False)
        options = {"project": str(project.root)}
        for name, text in files.items():
            path = tmp_path / f"{name}.yaml"
            path.write_text(text)
            if name == "policy":
                options["policy"] = str(path)
            else:
                monkeypatch.setenv(name, str(path))
        session = Session.open(options, lambda what, share: None, interactive=False)
        return policy.floor(session.policy)

    return open_


STRICT = "four_eyes: true\nallow_yes: false\n"
LOOSE = "four_eyes: false\nallow_yes: true\nautomatic: true\n"


@pytest.mark.parametrize("other", ["policy", "ML_JOB_POLICY"])
def test_a_policy_of_the_command_or_the_job_does_not_loosen_the_administrators(opened, other):
    assert opened(ML_POLICY=STRICT, **{other: LOOSE}) == opened(ML_POLICY=STRICT)


def test_it_may_tighten(opened):
    found = opened(ML_POLICY=LOOSE, ML_JOB_POLICY="require: [lint]", policy=STRICT)
    assert (found.four_eyes, found.allow_yes, found.automatic) == (True, False, True)
    assert found.require == ("lint",)


def test_without_the_administrators_file_it_is_the_minimum(opened):
    assert opened(policy=LOOSE).automatic
    assert not opened(ML_JOB_POLICY=STRICT, policy=LOOSE).automatic
    assert not opened().automatic


def test_an_empty_path_is_refused(make_project, monkeypatch):
    monkeypatch.setenv("ML_POLICY", "")
    options = {"project": str(make_project().root)}
    with pytest.raises(UsageError, match="ML_POLICY is empty"):
        Session.open(options, lambda what, share: None, interactive=False)
