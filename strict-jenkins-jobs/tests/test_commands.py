"""check, diff and update, against a Jenkins that answers on a real socket."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from strict_jenkins_jobs import commands
from strict_jenkins_jobs.errors import Refused, ServerError, UsageError

from .conftest import SMALL, Write
from .double import TOKEN, USER, Jenkins

CREDENTIALS = (
    "com.cloudbees.hudson.plugins.folder.properties."
    "FolderCredentialsProvider_-FolderCredentialsProperty"
)


class Terminal:
    """A person who reads what is printed and answers one question."""

    def __init__(self, *, agrees: bool = True) -> None:
        self.agrees = agrees
        self.lines: list[str] = []
        self.questions: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def confirm(self, question: str) -> bool:
        self.questions.append(question)
        return self.agrees


def update(jenkins: Jenkins, folder: Path, *, delete: bool = False) -> commands.Outcome:
    return commands.update(
        jenkins.environment, folder, say=lambda _line: None, yes=True, delete=delete
    )


# --- check --------------------------------------------------------------------------------------


def test_check_reports_a_misspelt_key(write: Write) -> None:
    outcome = commands.check(write(SMALL.replace("description: Of", "descripton: Of")))
    assert outcome.exit_code == 1
    assert "job 'team': unknown key 'descripton'" in outcome.lines[0]
    assert "did you mean 'description'?" in outcome.lines[0]
    assert outcome.data["findings"][0]["where"] == "jobs/jobs.yaml:5"


def test_golden_xml_shows_the_effect_of_a_change(write: Write, tmp_path: Path) -> None:
    folder, golden = write(), tmp_path / "golden"
    assert commands.check(folder, golden=golden, renew=True).exit_code == 0
    assert commands.check(folder, golden=golden).exit_code == 0
    outcome = commands.check(write(SMALL.replace("'one'", "'two'")), golden=golden)
    assert outcome.exit_code == 1
    assert "team/retrain.xml: golden: differs: - <script>echo 'one'</script>" in outcome.lines[0]


def test_missing_and_superfluous_golden_xml_is_reported(write: Write, tmp_path: Path) -> None:
    golden = tmp_path / "golden"
    commands.check(write(), golden=golden, renew=True)
    (golden / "jobs/team.xml").rename(golden / "jobs/other.xml")
    found = [line.partition("golden: ")[2] for line in commands.check(write(), golden=golden).lines]
    assert found[0].startswith("no job makes this file")
    assert found[1].startswith("missing")


def test_golden_xml_is_not_renewed_with_findings(write: Write, tmp_path: Path) -> None:
    outcome = commands.check(
        write(SMALL.replace("sandbox", "sandboks")), golden=tmp_path / "golden", renew=True
    )
    assert outcome.exit_code == 1
    assert not (tmp_path / "golden").exists()


def test_check_names_missing_arguments_and_folders(write: Write, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no YAML in"):
        commands.check(tmp_path)
    with pytest.raises(UsageError, match="--renew lacks --golden"):
        commands.check(write(), renew=True)
    with pytest.raises(UsageError, match="no golden XML"):
        commands.check(write(), golden=tmp_path / "none")


def test_pinned_plugin_versions_reach_jenkins_job_builder(write: Write) -> None:
    folder = write("""
        - job:
            name: free
            builders:
              - trigger-builds: [{project: other}]
    """)
    pinned = folder / "plugins/pinned.yaml"
    pinned.parent.mkdir()
    pinned.write_text("- {shortName: parameterized-trigger, version: 2.25}\n")
    with pytest.raises(UsageError, match="expected a list of"):
        commands.check(folder)
    pinned.write_text("- {shortName: parameterized-trigger, version: '2.25'}\n")
    assert commands.check(folder).exit_code == 0


def test_a_missing_jenkins_job_builder_is_named_with_the_command_that_installs_it(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jenkins_jobs.loader", None)
    with pytest.raises(UsageError, match=r"pip install .jenkins-job-builder"):
        commands.check(write())


# --- diff ---------------------------------------------------------------------------------------


def test_diff_shows_what_update_would_do_and_does_nothing(jenkins: Jenkins, write: Write) -> None:
    outcome = commands.diff(jenkins.environment, write())
    assert outcome.lines == (
        "+ create    job team",
        "+ create    job team/retrain",
        "plan: 2 create",
    )
    assert outcome.exit_code == 1
    assert jenkins.posts == []


def test_diff_passes_if_the_server_equals_yaml(jenkins: Jenkins, write: Write) -> None:
    folder = write()
    update(jenkins, folder)
    outcome = commands.diff(jenkins.environment, folder)
    assert (outcome.lines, outcome.exit_code) == (("plan: 2 unchanged",), 0)


def test_diff_names_the_place_that_changed(jenkins: Jenkins, write: Write) -> None:
    update(jenkins, write())
    outcome = commands.diff(jenkins.environment, write(SMALL.replace("'one'", "'two'")))
    assert outcome.lines == (
        "~ change    job team/retrain",
        "    definition/script: \"echo 'one'\" -> \"echo 'two'\"",
        "plan: 1 change, 1 unchanged",
    )


def test_a_job_changed_by_hand_is_a_change_although_yaml_is_the_same(
    jenkins: Jenkins, write: Write
) -> None:
    update(jenkins, write())
    by_hand = jenkins.jobs["team/retrain"].replace("<sandbox>true", "<sandbox>false")
    jenkins.jobs["team/retrain"] = by_hand
    outcome = commands.diff(jenkins.environment, write())
    assert outcome.lines[:2] == (
        "~ change    job team/retrain",
        "    definition/sandbox: add 'true'",
    )


def test_diff_needs_sound_yaml(jenkins: Jenkins, write: Write) -> None:
    with pytest.raises(UsageError, match=r"unknown key 'sandboks'.*.check. lists all findings"):
        commands.diff(jenkins.environment, write(SMALL.replace("sandbox", "sandboks")))
    assert jenkins.requests == []


# --- update -------------------------------------------------------------------------------------


def test_update_shows_the_plan_asks_and_makes_parents_first(jenkins: Jenkins, write: Write) -> None:
    person = Terminal()
    outcome = commands.update(jenkins.environment, write(), say=person.say, confirm=person.confirm)
    assert person.lines == [
        "+ create    job team",
        "+ create    job team/retrain",
        "plan: 2 create",
        "done: create job team",
        "done: create job team/retrain",
    ]
    assert person.questions == ["Carry out these 2 changes?"]
    assert jenkins.posts == ["/createItem?name=team", "/job/team/createItem?name=retrain"]
    assert (outcome.lines, outcome.exit_code) == (("2 done",), 0)


def test_without_a_confirmation_nothing_changes(jenkins: Jenkins, write: Write) -> None:
    person = Terminal(agrees=False)
    with pytest.raises(Refused, match="not confirmed"):
        commands.update(jenkins.environment, write(), say=person.say, confirm=person.confirm)
    with pytest.raises(UsageError, match=r"this plan was not confirmed.*--yes"):
        commands.update(jenkins.environment, write(), say=person.say)
    assert person.lines.count("plan: 2 create") == 2
    assert jenkins.posts == []


def test_an_unchanged_job_is_never_touched(jenkins: Jenkins, write: Write) -> None:
    folder = write()
    update(jenkins, folder)
    jenkins.requests.clear()
    assert update(jenkins, folder).lines == ("nothing to do",)
    assert jenkins.posts == []

    update(jenkins, write(SMALL.replace("'one'", "'two'")))
    assert jenkins.posts == ["/job/team/job/retrain/config.xml"]
    assert "echo 'two'" in jenkins.jobs["team/retrain"]


def test_an_update_keeps_the_credentials_of_a_folder(jenkins: Jenkins, write: Write) -> None:
    update(jenkins, write())
    secret = f"<properties><{CREDENTIALS}><secret>{{AQAAABAA=}}</secret></{CREDENTIALS}>"
    on_server = jenkins.jobs["team"].replace("<properties/>", f"{secret}</properties>")
    jenkins.jobs["team"] = on_server
    assert update(jenkins, write()).lines == ("nothing to do",)

    update(jenkins, write(SMALL.replace("Of the team", "Of all")))
    assert "Of all" in jenkins.jobs["team"]
    assert "{AQAAABAA=}" in jenkins.jobs["team"]


def test_a_crumb_is_sent_if_jenkins_requires_one(jenkins: Jenkins, write: Write) -> None:
    jenkins.crumb = "c0ffee"
    update(jenkins, write())
    assert sorted(jenkins.jobs) == ["team", "team/retrain"]
    assert [path for _, path in jenkins.requests].count("/crumbIssuer/api/json") == 1


def test_a_job_that_is_no_longer_defined_is_named_and_deleted_only_on_demand(
    jenkins: Jenkins, write: Write
) -> None:
    update(jenkins, write())
    only_folder = write(SMALL[: SMALL.index("- job:\n        name: team/retrain")])
    outcome = commands.diff(jenkins.environment, only_folder)
    assert outcome.lines[0] == "- delete    job team/retrain"
    assert outcome.exit_code == 1

    assert update(jenkins, only_folder).lines == ("nothing to do",)
    assert "team/retrain" in jenkins.jobs

    changed = write(only_folder.joinpath("jobs.yaml").read_text().replace("Of the", "Of our"))
    assert update(jenkins, changed).data["done"] == ["team"]
    assert "team/retrain" in jenkins.jobs

    update(jenkins, only_folder, delete=True)
    assert jenkins.posts[-1] == "/job/team/job/retrain/doDelete"
    assert sorted(jenkins.jobs) == ["team"]


def test_a_foreign_job_in_a_folder_from_yaml_is_listed_and_not_changed(
    jenkins: Jenkins, write: Write
) -> None:
    update(jenkins, write())
    jenkins.jobs["team/mine"] = "<?xml version='1.1'?>\n<project/>"
    outcome = commands.diff(jenkins.environment, write())
    assert outcome.lines[0] == "? foreign   job team/mine"
    assert outcome.exit_code == 0
    update(jenkins, write(), delete=True)
    assert "team/mine" in jenkins.jobs


def test_a_job_of_another_kind_prevents_all_changes(jenkins: Jenkins, write: Write) -> None:
    jenkins.jobs["team"] = "<?xml version='1.1'?>\n<project/>"
    with pytest.raises(Refused, match="the server has a project, YAML defines a Folder"):
        update(jenkins, write())
    assert jenkins.posts == []


def test_a_job_that_changed_since_the_plan_is_not_overwritten(
    jenkins: Jenkins, write: Write
) -> None:
    update(jenkins, write())

    def meanwhile(_question: str) -> bool:
        jenkins.jobs["team/retrain"] = jenkins.jobs["team/retrain"].replace("one", "by hand")
        return True

    folder = write(SMALL.replace("'one'", "'two'"))
    with pytest.raises(Refused, match="'team/retrain' changed on the server since the plan"):
        commands.update(jenkins.environment, folder, say=lambda _line: None, confirm=meanwhile)
    assert "by hand" in jenkins.jobs["team/retrain"]


def test_steps_before_an_error_are_reported_and_the_next_update_does_the_rest(
    jenkins: Jenkins, write: Write
) -> None:
    jenkins.broken = "/job/team/createItem"
    person = Terminal()
    with pytest.raises(ServerError, match=r"could not create job 'team/retrain' \(500\)"):
        commands.update(jenkins.environment, write(), say=person.say, yes=True)
    assert person.lines[-1] == "done: create job team"
    jenkins.broken = None
    assert update(jenkins, write()).data["done"] == ["team/retrain"]


def test_views_are_made_and_changed_like_jobs(jenkins: Jenkins, write: Write) -> None:
    view = "- view: {name: 'ML all', view-type: list, regex: '.*', description: %s}"
    update(jenkins, write(SMALL, views=view % "one"))
    assert "/createView?name=ML%20all" in jenkins.posts
    assert commands.diff(jenkins.environment, write(SMALL)).exit_code == 0
    update(jenkins, write(SMALL, views=view % "two"))
    assert jenkins.posts[-1] == "/view/ML%20all/config.xml"
    assert "two" in jenkins.views["ML all"]


def test_jenkins_job_builder_itself_finds_what_update_made(
    jenkins: Jenkins, write: Write, tmp_path: Path
) -> None:
    """The double is what jenkins-job-builder takes for a Jenkins, and update agrees with it.

    But for the end of a description: jenkins-job-builder writes a comment there.
    """
    folder = write()
    config = tmp_path / "jjb.ini"
    config.write_text(f"[jenkins]\nurl={jenkins.url}\nuser={USER}\npassword={TOKEN}\n")
    command = ["-W", "ignore", "-m", "jenkins_jobs", "--conf", str(config), "update", str(folder)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run(
        [sys.executable, *command], check=True, capture_output=True, env=environment, timeout=60
    )
    assert sorted(jenkins.jobs) == ["team", "team/retrain"]
    steps = commands.diff(jenkins.environment, folder).data["steps"]
    assert [(step["name"], step["action"]) for step in steps] == [
        ("team", "change"),
        ("team/retrain", "change"),
    ]
    for step in steps:
        (reason,) = step["reasons"]
        assert reason.startswith("description: ")
        assert "<!-- Managed by Jenkins Job Builder -->' -> '" in reason
