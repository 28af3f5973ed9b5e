"""Two configurations that say the same, and two that do not."""

from __future__ import annotations

import pytest
from strict_jenkins_jobs.configuration import differences, merged, parse
from strict_jenkins_jobs.errors import UsageError

FOLDER = "com.cloudbees.hudson.plugins.folder.Folder"
MULTIBRANCH = "org.jenkinsci.plugins.workflow.multibranch.WorkflowMultiBranchProject"
TRUST = "org.jenkinsci.plugins.github_branch_source.ForkPullRequestDiscoveryTrait$Trust"
CREDENTIALS = (
    "com.cloudbees.hudson.plugins.folder.properties."
    "FolderCredentialsProvider_-FolderCredentialsProperty"
)

MADE = f"""<?xml version="1.0" encoding="utf-8"?>
<{MULTIBRANCH} plugin="workflow-multibranch">
  <properties/>
  <views><hudson.model.AllView><name>All</name></hudson.model.AllView></views>
  <orphanedItemStrategy class="a.Default"><pruneDeadBranches>true</pruneDeadBranches>
    <abortBuilds>false</abortBuilds></orphanedItemStrategy>
  <sources class="a.List" plugin="branch-api"><data><jenkins.branch.BranchSource>
    <source class="a.GitHubSCMSource" plugin="github-branch-source">
      <repoOwner>example</repoOwner><repository>models</repository><credentialsId/>
      <traits>
        <org.jenkinsci.plugins.github__branch__source.TagDiscoveryTrait/>
        <org.jenkinsci.plugins.github__branch__source.ForkPullRequestDiscoveryTrait>
          <strategyId>1</strategyId><trust class="{TRUST}Nobody"/>
        </org.jenkinsci.plugins.github__branch__source.ForkPullRequestDiscoveryTrait>
      </traits>
    </source></jenkins.branch.BranchSource></data>
    <owner class="{MULTIBRANCH}" reference="../.."/></sources>
  <description>Pull requests</description>
  <canRoam>true</canRoam>
</{MULTIBRANCH}>
"""
SAVED = f"""<?xml version='1.1' encoding='UTF-8'?>
<{MULTIBRANCH} plugin="workflow-multibranch@821.vc3b">
  <actions/>
  <description>Pull requests</description>
  <properties/>
  <folderViews class="jenkins.branch.MultiBranchProjectViewHolder" plugin="branch-api@2.1">
    <owner class="{MULTIBRANCH}" reference="../.."/></folderViews>
  <healthMetrics/>
  <orphanedItemStrategy class="a.Default" plugin="cloudbees-folder@6.9">
    <pruneDeadBranches>true</pruneDeadBranches></orphanedItemStrategy>
  <triggers/>
  <disabled>false</disabled>
  <sources class="a.List" plugin="branch-api@2.1"><data><jenkins.branch.BranchSource>
    <source class="a.GitHubSCMSource" plugin="github-branch-source@1793">
      <apiUri>https://api.github.com</apiUri>
      <repoOwner>example</repoOwner><repository>models</repository>
      <repositoryUrl>https://github.com/example/models</repositoryUrl>
      <traits>
        <org.jenkinsci.plugins.github__branch__source.TagDiscoveryTrait/>
        <org.jenkinsci.plugins.github__branch__source.ForkPullRequestDiscoveryTrait>
          <strategyId>1</strategyId><trust class="{TRUST}Nobody"/>
        </org.jenkinsci.plugins.github__branch__source.ForkPullRequestDiscoveryTrait>
      </traits>
    </source>
    <strategy class="jenkins.branch.DefaultBranchPropertyStrategy">
      <properties class="empty-list"/></strategy>
  </jenkins.branch.BranchSource></data></sources>
</{MULTIBRANCH}>
"""


def different(on_server: str, in_yaml: str) -> list[str]:
    return [
        str(item) for item in differences(parse(on_server, "on_server"), parse(in_yaml, "in_yaml"))
    ]


def test_a_job_that_jenkins_saved_again_is_unchanged() -> None:
    assert different(SAVED, MADE) == []


def test_a_looser_fork_trust_is_a_difference() -> None:
    (found,) = different(SAVED.replace("TrustNobody", "TrustEveryone"), MADE)
    assert found.endswith(
        "ForkPullRequestDiscoveryTrait/trust@class: "
        "ForkPullRequestDiscoveryTrait$TrustEveryone -> ForkPullRequestDiscoveryTrait$TrustNobody"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("Pull requests", "By hand"), "description: 'By hand' -> 'Pull requests'"),
        (("<pruneDeadBranches>true", "<pruneDeadBranches>false"), "pruneDeadBranches: add 'true'"),
        (("github.com/example", "github.com/stranger"), "repositoryUrl: remove"),
        (("<triggers/>", "<triggers><a.Timer/></triggers>"), "triggers: remove"),
        (("<actions/>", "<authToken>open-sesame</authToken>"), "authToken: remove ****"),
    ],
)
def test_a_change_by_hand_is_a_difference(change: tuple[str, str], said: str) -> None:
    (found,) = different(SAVED.replace(*change), MADE)
    assert said in found


def test_the_order_of_list_items_counts_and_that_of_fields_does_not() -> None:
    fields = "<project><b>1</b><a>2</a></project>"
    assert different(fields, "<project><a>2</a><b>1</b></project>") == []
    items = "<project><builders><a.Shell/><a.Maven/></builders></project>"
    turned = "<project><builders><a.Maven/><a.Shell/></builders></project>"
    assert different(items, turned) == ["builders: another order -> Maven, Shell"]


def test_a_long_script_shows_the_line_that_differs() -> None:
    on_server = "<flow-definition><script>one\ntwo\nthree</script></flow-definition>"
    assert different(on_server, on_server.replace("two", "2")) == ["script line 2: 'two' -> '2'"]


@pytest.mark.parametrize(
    "secret", ["<apiToken>hunter2</apiToken>", "<value>{AQAAABAAAAAQhunter2hunter2==}</value>"]
)
def test_secrets_are_not_shown(secret: str) -> None:
    on_server = f"<project>{secret}</project>"
    for found in (different(on_server, "<project/>"), different("<project/>", on_server)):
        assert "hunter2" not in "".join(found)
        assert "****" in "".join(found)


def test_merging_keeps_the_credentials_of_a_folder() -> None:
    on_server = parse(
        f"<{FOLDER}><properties><{CREDENTIALS}><secret>{{AQAAABAA=}}</secret></{CREDENTIALS}>"
        f"</properties></{FOLDER}>",
        "on_server",
    )
    in_yaml = parse(f"<{FOLDER}><properties/><description>new</description></{FOLDER}>", "in_yaml")
    sent = merged(in_yaml, on_server)
    assert sent.findtext(f"properties/{CREDENTIALS}/secret") == "{AQAAABAA=}"
    assert [str(item) for item in differences(on_server, sent)] == ["description: add 'new'"]


def test_a_disabled_job_stays_disabled_unless_yaml_sets_it() -> None:
    on_server = parse("<flow-definition><disabled>true</disabled></flow-definition>", "on_server")
    silent = parse("<flow-definition/>", "in_yaml")
    assert differences(on_server, merged(silent, on_server)) == ()
    firm = parse("<flow-definition><disabled>false</disabled></flow-definition>", "in_yaml")
    assert [str(d) for d in differences(on_server, merged(firm, on_server))] == [
        "disabled: remove 'true'"
    ]


def test_other_properties_of_a_pipeline_are_not_kept() -> None:
    on_server = "<flow-definition><properties><a.Throttle/></properties></flow-definition>"
    in_yaml = parse("<flow-definition/>", "in_yaml")
    root = parse(on_server, "on_server")
    assert [str(d) for d in differences(root, merged(in_yaml, root))] == ["properties: remove"]


@pytest.mark.parametrize("text", ["", "<a>", "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "no xml"])
def test_an_invalid_configuration_is_an_error(text: str) -> None:
    with pytest.raises(UsageError, match="the configuration of 'x'"):
        parse(text, "x")
