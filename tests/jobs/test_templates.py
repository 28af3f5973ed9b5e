"""The jobs of this repository: what each project gets, and what it must never get."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml
from strict_jenkins_jobs import check, diff, update
from strict_jenkins_jobs.builder import RenderedJobs, render

ROOT = Path(__file__).resolve().parents[2]
JOBS = ROOT / "jobs"
GOLDEN = ROOT / "tests/jobs/golden"
PROJECTS = ("nepse", "churn", "loans")
SOURCES = dict(
    zip(PROJECTS, ("GitHubSCMSource", "GitSCMSource", "BitbucketSCMSource"), strict=True)
)


@pytest.fixture(scope="module")
def rendered() -> RenderedJobs:
    return render(JOBS)


def job(rendered: RenderedJobs, name: str) -> ET.Element:
    return ET.fromstring(rendered.jobs[name])


def traits(root: ET.Element) -> set[str]:
    return {trait.tag.rpartition(".")[2] for trait in root.iter("traits") for trait in trait}


def test_check_is_green_on_the_jobs_of_this_repository() -> None:
    outcome = check(JOBS)
    assert (outcome.lines[-1].endswith("nothing to correct"), outcome.exit_code) == (True, 0)


def test_the_jobs_of_this_repository_go_to_a_server_once(jenkins_server: Any) -> None:
    access = jenkins_server.environment
    assert update(access, JOBS, say=lambda _line: None, yes=True).lines == ("29 done",)
    outcome = diff(access, JOBS)
    assert (outcome.lines, outcome.exit_code) == (("plan: 29 unchanged",), 0)
    json.dumps(outcome.data)


def test_the_jobs_are_as_their_golden_xml_says() -> None:
    """To renew: ml-pipeline jobs check --golden tests/jobs/golden --renew."""
    outcome = check(JOBS, golden=GOLDEN)
    assert outcome.exit_code == 0, "\n".join(outcome.lines)


def test_a_new_project_is_five_lines() -> None:
    for entry in yaml.safe_load((JOBS / "projects.yaml").read_text()):
        assert 1 + len(entry["project"]) == 5


@pytest.mark.parametrize("project", PROJECTS)
def test_a_project_gets_two_folders_and_their_jobs(rendered: RenderedJobs, project: str) -> None:
    below = [name for name in rendered.jobs if name.startswith(f"{project}/")]
    assert below == [
        f"{project}/ci",
        f"{project}/delivery",
        f"{project}/delivery/branches",
        f"{project}/delivery/monitor",
        f"{project}/delivery/reconcile",
        f"{project}/delivery/retrain",
        f"{project}/delivery/rollback",
        f"{project}/delivery/tags",
    ]
    source = job(rendered, f"{project}/ci").find("sources/data/jenkins.branch.BranchSource/source")
    assert source is not None
    assert source.attrib["class"].endswith(SOURCES[project])


@pytest.mark.parametrize("project", PROJECTS)
def test_pull_requests_are_built_in_ci_only(rendered: RenderedJobs, project: str) -> None:
    for name in ("branches", "tags"):
        found = traits(job(rendered, f"{project}/delivery/{name}"))
        assert not {trait for trait in found if "PullRequest" in trait}
    if project != "churn":
        ci = traits(job(rendered, f"{project}/ci"))
        assert {"OriginPullRequestDiscoveryTrait", "ForkPullRequestDiscoveryTrait"} <= ci


@pytest.mark.parametrize("project", ["nepse", "loans"])
def test_a_fork_cannot_bring_its_own_jenkinsfile(rendered: RenderedJobs, project: str) -> None:
    (trust,) = job(rendered, f"{project}/ci").iter("trust")
    assert trust.attrib["class"].endswith("ForkPullRequestDiscoveryTrait$TrustNobody")


@pytest.mark.parametrize(
    ("project", "releases"),
    [("nepse", "release/*"), ("churn", "release/* hotfix/*"), ("loans", "release/*")],
)
def test_what_is_delivered_is_not_built_twice(
    rendered: RenderedJobs, project: str, releases: str
) -> None:
    ci, delivery = job(rendered, f"{project}/ci"), job(rendered, f"{project}/delivery/branches")
    assert [item.text for item in ci.iter("excludes")] == [f"main {releases}"]
    assert [item.text for item in delivery.iter("includes")] == [f"main {releases}"]


@pytest.mark.parametrize("project", PROJECTS)
def test_a_branch_called_like_a_tag_is_not_delivered(rendered: RenderedJobs, project: str) -> None:
    tags = job(rendered, f"{project}/delivery/tags")
    assert [item.text for item in tags.iter("includes")] == ["v*"]
    assert "TagDiscoveryTrait" in traits(tags)
    assert "BranchDiscoveryTrait" not in traits(tags)


@pytest.mark.parametrize("project", PROJECTS)
def test_the_retrain_starts_the_main_job_every_week(rendered: RenderedJobs, project: str) -> None:
    retrain = job(rendered, f"{project}/delivery/retrain")
    script = (retrain.findtext("definition/script") or "").splitlines()
    assert script[0] == "build(job: 'branches/main', wait: false)"
    assert retrain.findtext("definition/sandbox") == "true"
    assert [item.text for item in retrain.iter("spec")] == ["H H(0-5) * * 6"]


@pytest.mark.parametrize("project", PROJECTS)
def test_rollback_asks_for_version_and_reason(rendered: RenderedJobs, project: str) -> None:
    rollback = job(rendered, f"{project}/delivery/rollback")
    assert [item.text for item in rollback.findall(".//parameterDefinitions/*/name")] == [
        "TO",
        "REASON",
    ]
    assert rollback.findtext("definition/sandbox") == "true"


@pytest.mark.parametrize(
    ("project", "source"),
    [
        ("nepse", "https://github.com/example-org/nepse-models.git"),
        ("churn", "https://git.example.org/churn.git"),
        ("loans", "https://bitbucket.org/example-team/loans.git"),
    ],
)
def test_the_jobs_that_people_and_timers_start_read_main(
    rendered: RenderedJobs, project: str, source: str
) -> None:
    for name in ("rollback", "reconcile", "monitor"):
        script = job(rendered, f"{project}/delivery/{name}").findtext("definition/script") or ""
        assert f"branches: [[name: 'main']], userRemoteConfigs: [[url: '{source}'" in script


@pytest.mark.parametrize(
    ("name", "timer"), [("reconcile", "H/15 * * * *"), ("monitor", "H 6 * * *")]
)
def test_a_job_that_looks_at_production_runs_on_a_timer_and_one_at_a_time(
    rendered: RenderedJobs, name: str, timer: str
) -> None:
    found = job(rendered, f"nepse/delivery/{name}")
    assert [item.text for item in found.iter("spec")] == [timer]
    properties = found.find("properties")
    assert properties is not None
    assert "DisableConcurrentBuildsJobProperty" in {
        item.tag.rpartition(".")[2] for item in properties
    }


def test_a_project_says_when_it_is_looked_at_and_who_gets_the_alarms(tmp_path: Path) -> None:
    (tmp_path / "templates.yaml").write_text((JOBS / "templates.yaml").read_text())
    (tmp_path / "projects.yaml").write_text(
        "- project:\n    name: a\n    url: https://git.example.org/a.git\n    jobs: [ml-git]\n"
        "    main: trunk%2Fone\n    monitored: H/30 * * * *\n"
        "    notify: \"[slack: '#models', webhook: 'alarm-hook']\"\n"
    )
    made = render(tmp_path)
    assert made.findings == ()
    found = job(made, "a/delivery/monitor")
    assert [item.text for item in found.iter("spec")] == ["H/30 * * * *"]
    script = found.findtext("definition/script") or ""
    assert "retrainJob: 'branches/trunk%2Fone', rollbackJob: 'rollback'" in script
    assert "notify: [slack: '#models', webhook: 'alarm-hook'], credentials: [:]" in script


def test_a_branch_that_is_gone_is_cleaned_up_and_a_promotion_is_not_aborted(
    rendered: RenderedJobs,
) -> None:
    def strategy(name: str) -> dict[str, str | None]:
        orphans = job(rendered, name).find("orphanedItemStrategy")
        assert orphans is not None
        return {item.tag: item.text for item in orphans}

    assert strategy("nepse/ci")["pruneDeadBranches"] == "true"
    assert strategy("nepse/ci")["abortBuilds"] == "true"
    assert strategy("nepse/delivery/branches")["abortBuilds"] == "false"


def test_tags_start_by_themselves_where_the_plugin_for_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "templates.yaml").write_text((JOBS / "templates.yaml").read_text())
    (tmp_path / "projects.yaml").write_text(
        "- project:\n    name: a\n    url: https://git.example.org/a.git\n    jobs: [ml-git]\n"
        "    tag_builds: [tags: {ignore-tags-older-than: 7}]\n"
    )
    made = render(tmp_path)
    assert made.findings == ()
    (older,) = job(made, "a/delivery/tags").iter("atMostMillis")
    assert older.text == str(7 * 86_400_000)


def test_no_job_holds_a_credential(rendered: RenderedJobs) -> None:
    for xml in rendered.jobs.values():
        assert not [item for item in ET.fromstring(xml).iter("credentialsId") if item.text]


def test_the_view_shows_the_jobs_of_every_project(rendered: RenderedJobs) -> None:
    view = ET.fromstring(rendered.views["ML delivery"])
    assert view.findtext("recurse") == "true"


def test_every_description_is_text_for_people(rendered: RenderedJobs) -> None:
    """Jenkins shows a description escaped: an HTML comment in it would be read by everybody."""
    for xml in (*rendered.jobs.values(), *rendered.views.values()):
        description = ET.fromstring(xml).findtext("description") or ""
        assert description.endswith(". Defined in YAML; change it there.")
        assert "<" not in description
