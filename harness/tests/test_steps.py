# ruff: noqa: E501, RUF001  scripts stand in one line, with the quotation marks that Jenkins prints
"""Steps: what they return, throw and print."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_jenkinsfile import HarnessError, Jenkins, Sh

SHOW = 'try { echo "${%s}" } catch (e) { echo "${e.class.simpleName}: ${e.message}" }\n'


@pytest.mark.parametrize(
    ("call", "shown"),
    [
        ("sh('a')", "null"),
        ("sh(script: 'a', returnStdout: true)", "out\n"),
        ("sh(script: 'fail', returnStatus: true)", "3"),
        ("sh('fail')", "AbortException: script returned exit code 3"),
        ("error('broken')", "AbortException: broken"),
        ("fileExists('none')", "false"),
        ("pwd().endsWith('/job')", "true"),
        ("isUnix()", "true"),
        (
            "archiveArtifacts('none')",
            'AbortException: No artifacts found that match the file pattern "none". Configuration error?',
        ),
        ("stash(name: 's', includes: 'none')", "AbortException: No files included in stash ‘s’"),
        ("unstash('s')", "AbortException: No such saved stash ‘s’"),
        ("junit('none')", "AbortException: No test report files were found. Configuration error?"),
        ("junit(testResults: 'none', allowEmptyResults: true).totalCount", "0"),
        (
            "libraryResource('none')",
            "AbortException: No such library resource none could be found.",
        ),
        ("libraryResource('v.txt').trim()", "21"),
        (
            "mail(to: 'a@example.org', subject: 's', body: 'b')",
            "MailConnectException: Couldn't connect to host, port: localhost, 25; timeout 60000",
        ),
        (
            "mail(to: 'a@example.org', subject: 's')",
            "AbortException: Email not sent. All mandatory properties must be supplied ('subject', 'body').",
        ),
        (
            "mail(subject: 's', body: 'b')",
            "AbortException: Email not sent. No recipients of any kind specified ('to', 'cc', 'bcc').",
        ),
        (
            "libraryResource('../vars/hello.groovy')",
            "AbortException: No such library resource ../vars/hello.groovy could be found.",
        ),
        ("parallel(a: { 1 }, b: { 2 })", "[a:1, b:2]"),
        ("retry(2) { 5 }", "5"),
        ("timeout(1) { 5 }", "5"),
        ("withEnv(['A=1']) { env.A }", "1"),
        ("withEnv(['PATH+X=/x']) { env.PATH.startsWith('/x:') }", "true"),
        ("catchError { error 'x' }", "null"),
        (
            "checkout(scm)",
            "AbortException: ‘checkout scm’ is only available when using “Multibranch Pipeline” or “Pipeline script from SCM”",
        ),
    ],
)
def test_the_result_of_a_step(call: str, shown: str, jenkins: Jenkins) -> None:
    build = jenkins.run("node {\n" + SHOW % call + "}\n", sh={"fail": 3, "a": "out\n"})
    assert build.echoes == [shown]


def test_files_are_archived_and_tests_counted(jenkins: Jenkins) -> None:
    report = '<testsuite name="s"><testcase name="a"/><testcase name="b"><failure/></testcase><testcase name="c"><skipped/></testcase></testsuite>'
    build = jenkins.run(
        f"node {{ writeFile file: 'r/t.xml', text: '{report}'; archiveArtifacts 'r/**'; def s = junit 'r/*.xml'\n"
        'echo "${s.totalCount} ${s.failCount} ${s.skipCount} ${s.passCount}" }\n'
    )
    assert (build.result, build.echoes) == ("UNSTABLE", ["3 1 1 1"])
    assert build.artifacts["r/t.xml"].read_text() == report


def test_a_time_limit_ends_a_command_of_the_scenario(jenkins: Jenkins) -> None:
    build = jenkins.run(
        "node { timeout(1) { sh 'slow' }; echo 'never' }\n", sh={"slow": Sh(seconds=90)}
    )
    assert (build.result, build.echoes) == ("ABORTED", [])
    assert (
        jenkins.run("node { timeout(2) { sh 'slow' } }\n", sh={"slow": Sh(seconds=90)}).result
        == "SUCCESS"
    )


def test_a_list_of_replies_is_used_in_turn(jenkins: Jenkins) -> None:
    build = jenkins.run(
        "node { retry(3) { sh 'flaky' }; echo 'passed' }\n", sh={"flaky": [1, 1, 0]}
    )
    assert (build.echoes, len(build.calls("sh"))) == (["passed"], 3)


def test_a_command_without_reply_is_an_error_of_the_scenario(jenkins: Jenkins) -> None:
    with pytest.raises(HarnessError, match="no reply for sh 'other'"):
        jenkins.run("node { sh 'other' }\n", sh={"this": 0})


def test_retry_retries_a_time_limit_inside_but_not_an_abort(jenkins: Jenkins) -> None:
    inside = jenkins.run(
        'int n = 0\nretry(3) { n++; echo "try ${n}"; timeout(1) { if (n < 3) { sleep 99 } } }\n'
    )
    assert (inside.result, inside.echoes) == ("SUCCESS", ["try 1", "try 2", "try 3"])
    outside = jenkins.run("timeout(1) { retry(3) { echo 'try'; sleep 99 } }\n")
    assert (outside.result, outside.echoes) == ("ABORTED", ["try"])


def test_a_time_limit_inside_catch_error_still_aborts_the_build(jenkins: Jenkins) -> None:
    build = jenkins.run(
        "catchError(buildResult: 'SUCCESS') { timeout(1) { sleep 99 } }\necho 'went on'\n"
    )
    assert (build.result, build.echoes) == ("ABORTED", ["went on"])


def test_finally_runs_steps_when_interrupted(jenkins: Jenkins) -> None:
    build = jenkins.run("timeout(1) { try { sleep 99 } finally { sleep 1; echo 'cleaned up' } }\n")
    assert (build.result, build.echoes) == ("ABORTED", ["cleaned up"])


def test_parallel_branches_take_turns_and_keep_their_variables(jenkins: Jenkins) -> None:
    build = jenkins.run(
        "def seen = []\ndef branches = [:]\nfor (n in ['a', 'b']) { def name = n; branches[name] = { sleep(name == 'a' ? 2 : 1); seen << name } }\n"
        "parallel branches\necho seen.join(' ')\n"
    )
    assert build.echoes == ["b a"]


def test_parallel_throws_the_failure_and_not_the_interruption(jenkins: Jenkins) -> None:
    build = jenkins.run(
        "try { parallel a: { sleep 1; error 'broken' }, b: { sleep 99 }, failFast: true } catch (e) { echo \"${e.class.simpleName} ${e.message}\" }\n"
    )
    assert build.echoes == ["AbortException broken"]


def test_the_description_and_name_of_a_build(jenkins: Jenkins) -> None:
    build = jenkins.run(
        "currentBuild.description = \"v${1}\"\ncurrentBuild.displayName = '#1 v1'\n"
    )
    assert (build.description, build.display_name) == ("v1", "#1 v1")


def test_a_job_keeps_what_properties_set(jenkins: Jenkins) -> None:
    build = jenkins.run(
        "properties([parameters([string(name: 'P', defaultValue: 'd')]), buildDiscarder(logRotator(numToKeepStr: '5'))])\necho params.P\n"
    )
    assert build.echoes == ["d"]
    assert {"buildDiscarder": {"value": {"logRotator": {"numToKeepStr": "5"}}}} in build.properties


def test_steps_are_stubbed_by_the_scenario(jenkins: Jenkins) -> None:
    sent: list[object] = []
    build = jenkins.run(
        "slackSend(channel: 'c', message: \"m ${1}\")\necho waitUntil { false }.toString()\n",
        steps={"slackSend": sent.append, "waitUntil": "w"},
    )
    assert sent == [{"channel": "c", "message": "m 1"}]
    assert build.result == "SUCCESS"


def test_a_stub_replaces_an_implemented_step(jenkins: Jenkins) -> None:
    build = jenkins.run(
        "lock('r') { echo 'inside' }\necho \"${isUnix()}\"\n",
        steps={"lock": None, "isUnix": lambda arguments: False},
    )
    assert build.echoes == ["inside", "false"]
    assert "Lock acquired" not in build.text


def test_only_a_script_without_a_shebang_shows_its_commands(jenkins: Jenkins) -> None:
    build = jenkins.run("node { sh '#!/bin/sh\\ncat a'; sh 'cat b' }\n", sh={"cat": "text\n"})
    assert [line for line in build.console if line.startswith("+")] == ["+ cat b"]
    assert build.console.count("text") == 2


def test_hostile_values_reach_the_script_unchanged(jenkins: Jenkins) -> None:
    hostile = "'\"$(touch x)`id`\\n../ü" + "x" * 200
    build = jenkins.run(
        "node { echo params.P\necho env.BRANCH_NAME }\n",
        parameters={"P": hostile},
        branch=hostile,
        sandbox=True,
    )
    assert build.echoes == [hostile, hostile]


def test_library_variables_are_distinguished_from_steps_of_jenkins(jenkins: Jenkins) -> None:
    build = jenkins.run("@Library('probe-lib@v1') _\nhello('you')\n")
    assert build.echoes == ["twice 21", "hello you from the library v=42"]
    assert [step.arguments for step in build.calls("hello")] == [["you"]]
    assert build.calls("hello")[0].library


def test_a_library_is_visible_after_it_is_loaded(jenkins: Jenkins) -> None:
    folder = Path(__file__).parent / "library"
    with Jenkins(library={"named": folder}, implicit=False) as other:
        assert "No such DSL method 'hello'" in other.run("hello()\n").text
        assert other.run("@Library('named') _\nhello()\n").result == "SUCCESS"
        assert other.run("library 'named@v1'\nhello()\n").result == "SUCCESS"
        unknown = other.run("@Library('nope') _\nhello()\n")
        assert "ERROR: Could not find any definition of libraries [nope]" in unknown.console


def test_a_library_is_trusted_and_the_script_is_not(jenkins: Jenkins) -> None:
    script = "try { echo \"${env['PATH']}\" } catch (e) { echo e.message }\n"
    refused = "Scripts not permitted to use staticMethod org.codehaus.groovy.runtime.DefaultGroovyMethods getAt java.lang.Object java.lang.String"
    assert jenkins.run(script, branch="main").echoes == [refused]
    assert jenkins.run(script, env={"PATH": "p"}).echoes == ["p"]
    trusted = jenkins.run("causesOf { timeout(1) { sleep 99 } }\n", branch="main")
    assert trusted.echoes == [
        "library sees FlowInterruptedException result=ABORTED causes=[org.jenkinsci.plugins.workflow.steps.TimeoutStepExecution$ExceededTimeout]"
    ]


def test_a_missing_script_is_named(jenkins: Jenkins) -> None:
    with pytest.raises(Exception, match="'Jenkinsfil' is not a file"):
        jenkins.run("Jenkinsfil")
