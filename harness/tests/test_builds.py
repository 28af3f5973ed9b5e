# ruff: noqa: E501, RUF001  scripts stand in one line, with the quotation marks that Jenkins prints
"""More than one build: causes, milestones, locks, other jobs, replays and restarts."""

from __future__ import annotations

import pytest
from pytest_jenkinsfile import Answer, Jenkins


def test_causes_are_maps_and_never_strings(jenkins: Jenkins) -> None:
    show = 'def c = currentBuild.getBuildCauses()\nsleep 1\necho "${c.getClass().name} ${c[0].getClass().name} ${c*._class}"\n'
    assert jenkins.run(show).echoes == [
        "net.sf.json.JSONArray net.sf.json.JSONObject [hudson.model.Cause$UserIdCause]"
    ]
    assert (
        jenkins.run(show, cause="timer")
        .echoes[0]
        .endswith("[hudson.triggers.TimerTrigger$TimerTriggerCause]")
    )


def test_a_replayed_build_has_the_user_and_the_replay_as_causes(jenkins: Jenkins) -> None:
    build = jenkins.run(
        'echo "${currentBuild.getBuildCauses().collect { it._class }}"\n', cause="replay", builds=2
    )
    assert [one.echoes for one in build.builds] == [
        ["[hudson.model.Cause$UserIdCause]"],
        ["[hudson.model.Cause$UserIdCause, org.jenkinsci.plugins.workflow.cps.replay.ReplayCause]"],
    ]


RESTARTED = """pipeline {
  agent any
  %s
  stages {
    stage('make') { steps { writeFile file: 'a', text: 'a'; stash name: 'a', includes: 'a'; echo 'made' } }
    stage('use') { steps { unstash 'a'; echo "${currentBuild.getBuildCauses().last()._class}" } }
  }
}
"""


def test_a_build_restarted_at_a_stage_skips_the_ones_before_and_has_no_stashes(
    jenkins: Jenkins,
) -> None:
    build = jenkins.run(RESTARTED % "", builds=2, restart_from="use")
    assert build.stage("make").status == "SKIPPED"
    assert build.result == "FAILURE"
    assert "ERROR: No such saved stash ‘a’" in build.console


def test_stashes_may_be_preserved(jenkins: Jenkins) -> None:
    build = jenkins.run(RESTARTED % "options { preserveStashes() }", builds=2, restart_from="use")
    assert build.echoes == [
        "org.jenkinsci.plugins.pipeline.modeldefinition.causes.RestartDeclarativePipelineCause"
    ]


def test_passing_a_milestone_aborts_older_builds_at_their_prompt(jenkins: Jenkins) -> None:
    script = (
        "milestone 1\n"
        "if (currentBuild.number == 1) { try { input(message: 'm', id: 'Go') } catch (e) {\n"
        '  echo "${e.result} ${e.causes[0].class.simpleName}"; throw e } }\nmilestone 2\n'
    )
    build = jenkins.run(script, starts=[0, 10], answers=[Answer(do="ignore")])
    assert [one.result for one in build.builds] == ["NOT_BUILT", "SUCCESS"]
    assert build.builds[0].echoes == ["NOT_BUILT CancelledCause"]
    assert "Superseded by job#2" in build.builds[0].console


def test_an_older_build_cannot_pass_a_milestone_that_a_newer_one_passed(jenkins: Jenkins) -> None:
    script = "milestone 1\nsleep(currentBuild.number == 1 ? 60 : 1)\nlock('l') { milestone 2; echo 'in' }\n"
    build = jenkins.run(script, starts=[0, 10])
    assert [one.result for one in build.builds] == ["NOT_BUILT", "SUCCESS"]


def test_abort_previous_ends_the_previous_build_as_not_built(jenkins: Jenkins) -> None:
    script = (
        "pipeline { agent none\n options { disableConcurrentBuilds(abortPrevious: true) }\n"
        "stages { stage('s') { steps { sleep 60; echo 'end' } } }\n"
        "post { aborted { echo 'aborted' }\n notBuilt { echo 'notBuilt' }\n unsuccessful { echo 'unsuccessful' } } }\n"
    )
    build = jenkins.run(script, starts=[0, 10])
    assert [(one.result, one.echoes) for one in build.builds] == [
        ("NOT_BUILT", ["unsuccessful", "notBuilt"]),
        ("SUCCESS", ["end"]),
    ]


def test_without_concurrent_builds_the_next_one_waits(jenkins: Jenkins) -> None:
    script = (
        "properties([disableConcurrentBuilds()])\n"
        'echo "${currentBuild.previousBuild?.result}"\nsleep 60\n'
    )
    build = jenkins.run(script, starts=[0, 10])
    assert [one.echoes for one in build.builds] == [["null"], ["SUCCESS"]]


def test_a_lock_serialises_builds(jenkins: Jenkins) -> None:
    script = "lock('l') { echo \"in ${currentBuild.number}\"; sleep 60 }\n"
    build = jenkins.run(script, starts=[0, 10])
    assert "[Resource: l] is not free, waiting for execution ..." in build.console
    assert [one.result for one in build.builds] == ["SUCCESS", "SUCCESS"]


def test_another_job_gets_its_parameters_unchanged(jenkins: Jenkins) -> None:
    hostile = '$(touch /nope) "q" ../ ü'
    build = jenkins.run(
        "def r = build(job: 'other', parameters: [string(name: 'P', value: '''"
        + hostile
        + "''')])\n"
        'echo "${r.class.simpleName} ${r.result} ${r.number}"\n',
        jobs={"other": 'echo params.P\necho "${currentBuild.getBuildCauses()[0]._class}"\n'},
    )
    assert build.echoes == ["RunWrapper SUCCESS 1"]
    child = next(one for one in build.builds if one.job == "other")
    assert child.echoes == [
        hostile,
        "org.jenkinsci.plugins.workflow.support.steps.build.BuildUpstreamCause",
    ]


def test_a_failed_downstream_job_fails_the_caller_unless_propagate_is_false(
    jenkins: Jenkins,
) -> None:
    jobs = {"other": "error 'broken'\n"}
    assert jenkins.run("build 'other'\n", jobs=jobs).result == "FAILURE"
    build = jenkins.run("echo build(job: 'other', propagate: false).result\n", jobs=jobs)
    assert (build.result, build.echoes) == ("SUCCESS", ["FAILURE"])
    assert "ERROR: No item named nope found" in jenkins.run("build 'nope'\n").console


def test_build_without_wait_returns_null(jenkins: Jenkins) -> None:
    build = jenkins.run(
        "echo \"${build(job: 'other', wait: false)}\"\n", jobs={"other": "echo 'x'\n"}
    )
    assert build.echoes == ["null"]
    assert len(build.builds) == 2


@pytest.mark.parametrize(
    "step", ["unstable 'x'", "currentBuild.result = 'SUCCESS'", "currentBuild.result = 'UNSTABLE'"]
)
def test_a_result_never_gets_better(step: str, jenkins: Jenkins) -> None:
    build = jenkins.run(f"currentBuild.result = 'FAILURE'\n{step}\necho currentBuild.result\n")
    assert (build.result, build.echoes) == ("FAILURE", ["FAILURE"])


def test_change_sets_are_empty_without_changes_in_the_scenario(jenkins: Jenkins) -> None:
    assert jenkins.run('echo "${currentBuild.changeSets.size()}"\n').echoes == ["0"]
    assert jenkins.run(
        'echo "${currentBuild.changeSets[0].items[0].msg}"\n', changes=[{"items": [{"msg": "m"}]}]
    ).echoes == ["m"]


def test_the_variables_of_a_multibranch_job(jenkins: Jenkins) -> None:
    names = [
        "JOB_NAME",
        "BRANCH_NAME",
        "BRANCH_IS_PRIMARY",
        "CHANGE_ID",
        "CHANGE_TARGET",
        "CHANGE_BRANCH",
        "CHANGE_FORK",
        "TAG_NAME",
    ]
    script = "\n".join(f'echo "{name}=${{env.{name}}}"' for name in names) + "\n"

    def seen(**options: str) -> dict[str, str]:
        build = jenkins.run(script, **options)  # type: ignore[arg-type]
        return {k: v for k, v in (line.split("=", 1) for line in build.echoes) if v != "null"}

    assert seen(branch="main") == {
        "JOB_NAME": "job/main",
        "BRANCH_NAME": "main",
        "BRANCH_IS_PRIMARY": "true",
    }
    assert seen(branch="feature/one") == {
        "JOB_NAME": "job/feature%2Fone",
        "BRANCH_NAME": "feature/one",
    }
    assert seen(branch="PR-7", fork="dev/repo") == {
        "JOB_NAME": "job/PR-7",
        "BRANCH_NAME": "PR-7",
        "CHANGE_ID": "7",
        "CHANGE_TARGET": "main",
        "CHANGE_BRANCH": "change-7",
        "CHANGE_FORK": "dev/repo",
    }
    assert seen(tag="v1") == {"JOB_NAME": "job/v1", "BRANCH_NAME": "v1", "TAG_NAME": "v1"}


def test_values_assigned_to_env_become_text_and_with_env_overrides_them(jenkins: Jenkins) -> None:
    build = jenkins.run(
        "env.A = 5\necho env.A.getClass().simpleName\nwithEnv(['A=6']) { echo env.A; env.A = 7; echo env.A }\necho env.A\n"
    )
    assert build.echoes == ["String", "6", "6", "7"]


def test_the_job_of_a_build_has_its_branch_whatever_the_environment_holds(
    jenkins: Jenkins,
) -> None:
    script = """
        echo "${env.BRANCH_NAME}"
        echo "${currentBuild.rawBuild.parent.getEnvironment(null, hudson.model.TaskListener.NULL).BRANCH_NAME}"
        echo "${currentBuild.rawBuild.parent.fullName}"
    """
    build = jenkins.run(script, branch="feature/one", sandbox=False, env={"BRANCH_NAME": "main"})
    assert build.echoes == ["main", "feature/one", "job/feature%2Fone"]


def test_jobs_of_the_same_folder_and_their_builds_that_wait_or_run(jenkins: Jenkins) -> None:
    script = """
        build(job: 'branches/main', wait: false, parameters: [string(name: 'N', value: env.BUILD_NUMBER)])
        look()

        @com.cloudbees.groovy.cps.NonCPS
        def look() {
            def folder = currentBuild.rawBuild.parent.parent
            def target = folder.getItem('branches').getItem('main')
            def queued = hudson.model.Queue.instance.getItems(target).collect { it.causes*.upstreamBuild }
            def last = target.lastBuild
            def running = last.building ? last : last.previousBuildInProgress
            echo "${target.fullName} ${target.absoluteUrl} ${folder.getItem('none')}"
            echo "running ${running?.number}, queued ${queued}"
        }
    """
    main = "properties([disableConcurrentBuilds()])\ninput 'go on?'"
    build = jenkins.run(
        script,
        job="nepse/monitor",
        jobs={"nepse/branches/main": main},
        sandbox=False,
        starts=[0, 60],
    )
    assert build.number == 2, "a build that another one started is not the requested one"
    url = "http://jenkins.example/job/nepse/job/branches/job/main/"
    assert build.echoes == [f"nepse/branches/main {url} null", "running 1, queued [[2]]"]


def test_the_causes_of_the_build_that_started_this_one(jenkins: Jenkins) -> None:
    timer = {"_class": "hudson.triggers.TimerTrigger$TimerTriggerCause", "shortDescription": "t"}
    upstream = {
        "_class": "org.jenkinsci.plugins.workflow.support.steps.build.BuildUpstreamCause",
        "shortDescription": 'Started by upstream project "nightly" build number 4',
        "upstreamProject": "nightly",
        "upstreamBuild": 4,
        "upstreamCauses": [timer],
    }
    script = """
        echo "${currentBuild.rawBuild.causes[0].upstreamCauses[0].class.simpleName}"
        echo "${currentBuild.getBuildCauses()[0].keySet().contains('upstreamCauses')}"
    """
    build = jenkins.run(script, cause=[upstream], sandbox=False)
    assert build.echoes == ["TimerTriggerCause", "false"]


def test_another_job_is_that_of_a_branch_if_the_scenario_says_so(jenkins: Jenkins) -> None:
    script = 'echo "${env.BRANCH_NAME} ${currentBuild.fullProjectName} ${params.WHY}"'
    build = jenkins.run(
        "build(job: 'branches/main', parameters: [string(name: 'WHY', value: 'drift')])",
        job="nepse/monitor",
        jobs={"nepse/branches/main": {"script": script, "branch": "main"}},
    )
    (started,) = [each for each in build.builds if each.job == "nepse/branches/main"]
    assert started.echoes == ["main nepse/branches/main drift"]
