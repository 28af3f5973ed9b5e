# ruff: noqa: E501  scripts stand in one line
"""Behaviour of a real controller that a simple mock does not reproduce, one small script each."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from pytest_jenkinsfile import Answer, Jenkins, Sh, ShCall, UnsupportedError

from .echoes import echoes

ENVIRONMENT = {
    "an empty value removes": (
        "withEnv(['X=1']) { withEnv(['X=']) { echo \"${env.X}\" } }",
        "null",
    ),
    "a built-in one too": ("withEnv(['BUILD_NUMBER=']) { echo \"${env.BUILD_NUMBER}\" }", "null"),
    "null becomes a text": (
        'env.X = null; echo "${env.X.class.simpleName} ${env.X}"',
        "String null",
    ),
    "a map as Java writes it": ("env.X = [a: 1]; echo env.X", "{a=1}"),
    "names without case": ("env.ABC = 'x'; echo env.abc", "x"),
    "one of two spellings": ("withEnv(['p=a', 'P=b']) { echo \"${env.p == env.P}\" }", "true"),
    "withEnv before an assignment": ("withEnv(['X=in']) { env.X = 'set'; echo env.X }", "in"),
    "which is seen after it": ("withEnv(['X=in']) { env.X = 'set' }\necho env.X", "set"),
    "no expansion": ("withEnv(['X=$HOME']) { echo env.X }", "$HOME"),
    "two prefixes": ("withEnv(['NEW+A=/a', 'NEW+B=/b']) { echo env.NEW }", "/a:/b"),
    "an empty prefix": ("withEnv(['N=/o']) { withEnv(['N+A=']) { echo env.N } }", "/o"),
    "an odd name": ("withEnv(['a.b=c']) { echo env.'a.b' }", "c"),
}


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_environment(name: str, jenkins: Jenkins) -> None:
    script, expected = ENVIRONMENT[name]
    assert echoes(jenkins, script) == [expected]


@pytest.mark.parametrize(
    "script",
    [
        "env.X = ''; sh 'true'",
        "withEnv(['X=']) { sh 'true' }",
        "withEnv(['a.b=1', 'a-b=2']) { sh 'true' }",
    ],
)
def test_a_script_does_not_see(script: str, jenkins: Jenkins) -> None:
    calls: list[ShCall] = []
    jenkins.run(f"node {{ {script} }}\n", sh=calls.append)
    assert not {"X", "a.b", "a-b"} & set(calls[0].environment)


def test_an_empty_variable_shows_the_value_of_the_agent(jenkins: Jenkins) -> None:
    calls: list[ShCall] = []
    jenkins.run("node { withEnv(['HOME=']) { sh 'true' } }\n", sh=calls.append)
    assert calls[0].environment["HOME"]


def test_a_container_keeps_the_variables_of_its_start(jenkins: Jenkins) -> None:
    calls: list[ShCall] = []
    jenkins.run(
        "node { withEnv(['X=outer', 'Y=outer']) { docker.image('i').inside {\n"
        "withEnv(['X=']) { env.Z = 'set'; sh 'true' } } } }\n",
        sh=calls.append,
    )
    seen = calls[-1].environment
    assert (seen["X"], seen["Y"], seen["Z"]) == ("outer", "outer", "set")


def test_a_variable_over_128_kib_makes_every_later_script_fail(jenkins: Jenkins) -> None:
    script = """
        node {
          env.LONG = 'x' * 100000
          tell('100 kB') { sh 'true' }
          env.LONG = 'x' * 140000
          tell('140 kB') { sh 'true' }
          tell('again') { sh 'true' }
        }
    """
    first, *others = echoes(jenkins, script)
    assert first == "100 kB: null"
    assert len(others) == 2
    assert all("java.io.IOException: Cannot run program" in line for line in others)
    assert all("Argument list too long" in line for line in others)


def test_a_path_without_a_shell_hangs_the_script(jenkins: Jenkins) -> None:
    script = "timeout(time: 9, unit: 'SECONDS') { withEnv(['path=/none']) { sh 'true' } }"
    calls: list[ShCall] = []
    build = jenkins.run(f"node {{ {script} }}\n", sh=calls.append)
    assert (build.result, calls) == ("ABORTED", [])


PARAMETERS = """
    properties([parameters([string(name: 'BRANCH_NAME', defaultValue: 'given'),
      string(name: 'D', defaultValue: '$BUILD_ID ${JOB_NAME}'), string(name: 'E', defaultValue: ''),
      string(name: 'T', defaultValue: ' x ', trim: true), booleanParam(name: 'FLAG', defaultValue: false),
      password(name: 'SECRET', defaultValue: 'pw')])])
    echo "${env.BRANCH_NAME} ${env.D} [${env.E}] ${env.T} ${env.FLAG ? 'true' : 'none'} ${env.SECRET}"
    echo "${params.BRANCH_NAME} ${params.D} [${params.E}] ${params.T} ${params.FLAG} ${params.SECRET.class.name}"
"""


def test_parameters_replace_variables_from_the_second_build_on(jenkins: Jenkins) -> None:
    build = jenkins.run(textwrap.dedent(PARAMETERS), builds=2, branch="main", sandbox=False)
    given = "given $BUILD_ID ${JOB_NAME} [] x false hudson.util.Secret"
    first, second = (one.echoes for one in build.builds)
    assert first == ["main null [null] null none null", given]
    assert second == ["given 2 job/main [] x true pw", given]


def test_a_build_by_indexing_has_no_parameters(jenkins: Jenkins) -> None:
    build = jenkins.run(
        textwrap.dedent(PARAMETERS), builds=2, branch="main", sandbox=False, cause="indexing"
    )
    assert build.echoes[0].startswith("main null")


def test_environment_of_declarative(jenkins: Jenkins) -> None:
    script = """
        pipeline { agent any
          environment { X = ''
            Y = "${X}"
            LATER = "${AFTER}"
            AFTER = 'after'
            NUMBER = 5
            FLAG = true
            OWN = "own ${OWN}" }
          stages { stage('s') { steps {
            echo "${env.X} ${env.Y} ${env.LATER} ${env.NUMBER} ${env.FLAG} ${env.OWN}"
            script { env.AFTER = 'assigned' } } } }
          post { always { echo env.AFTER } } }
    """
    build = jenkins.run(textwrap.dedent(script), env={"OWN": "outer"})
    assert build.echoes == ["null null after 5 true own outer", "after"]


def test_a_restart_keeps_only_env_artifacts_and_parameters(jenkins: Jenkins) -> None:
    script = """
        pipeline { agent any
          parameters { string(name: 'P', defaultValue: 'd') }
          stages {
            stage('one') { steps { script { env.MADE = "in ${currentBuild.number}"; currentBuild.description = 'told' }
              writeFile(file: 'a', text: 'x')
              archiveArtifacts 'a' } }
            stage('two') { steps { milestone 1
              echo "${env.MADE} ${params.P} ${currentBuild.description}" } } } }
    """
    build = jenkins.run(textwrap.dedent(script), builds=2, restart_from="two")
    assert [one.echoes for one in build.builds] == [["in 1 d told"], ["in 1 d null"]]
    assert list(build.artifacts) == ["a"]
    assert "Restarted from build #1, stage two" in build.console
    assert "Copying 1 artifact(s) from #1" in build.console


def test_a_replay_keeps_neither_env_nor_artifacts_nor_parameters(jenkins: Jenkins) -> None:
    script = 'echo "old ${env.MADE}"\nenv.MADE = "x"\n'
    build = jenkins.run(script, builds=2, cause="replay", replay_with=script.replace("old", "new"))
    assert [one.echoes for one in build.builds] == [["old null"], ["new null"]]


def test_equal_queued_builds_are_merged_with_both_causes(jenkins: Jenkins) -> None:
    script = 'properties([disableConcurrentBuilds()])\necho "${currentBuild.buildCauses.size()}"\nsleep 60\n'
    build = jenkins.run(script, starts=[0, 5, 10])
    assert [one.echoes for one in build.builds] == [["1"], ["2"]]


STEPS = {
    "milestone 1; tell('m') { milestone 1 }": "m: hudson.AbortException: Invalid ordinal 1, as the previous one was 1",
    "tell('m') { parallel(a: { node { milestone 2 } }, b: { sleep 9 }) }": "m: hudson.AbortException: Using a milestone step inside parallel is not allowed",
    "tell('l') { lock(resource: 'a', variable: 'L', extra: [[resource: 'b']]) { \"${env.L} ${env.L0} ${env.L1}\" } }": "l: a,b a b",
    "tell('l') { lock(label: 'none') { 1 } }": "l: java.lang.IllegalArgumentException: The resource label does not exist: none.",
    "tell('l') { lock('a') { lock(resource: 'a', skipIfLocked: true) { 1 } } }": "l: null",
    "tell('c') { catchError { 5 } }": "c: null",
    "tell('c') { catchError(buildResult: null) { error 'x' }; currentBuild.result }": "c: null",
    "tell('c') { catchError(buildResult: 'SUCCESS', stageResult: 'SUCCESS') { none() }; 'on' }": "c: on",
    "tell('w') { withEnv(['A=1']) { env.A } }": "w: 1",
    "tell('w') { withEnv(['A']) { 1 } }": "w: java.lang.IllegalArgumentException: Could not instantiate {overrides=[A]} for org.jenkinsci.plugins.workflow.steps.EnvStep: java.lang.reflect.InvocationTargetException",
    "tell('e') { echo 5 }": "e: java.lang.IllegalArgumentException: Could not instantiate {message=5} for org.jenkinsci.plugins.workflow.steps.EchoStep: java.lang.ClassCastException: org.jenkinsci.plugins.workflow.steps.EchoStep.message expects class java.lang.String but received class java.lang.Integer",
    "tell('s') { timeout(5) }": "s: java.lang.IllegalStateException: timeout step must be called with a body",
    "tell('t') { timeout(time: null) { 1 } }": "t: org.jenkinsci.plugins.workflow.steps.FlowInterruptedException: Timeout has been exceeded",
    "tell('t') { timeout(time: 1, unit: 'SECONDS') { try { sleep 9 } catch (e) { }; sleep 9; 'on' } }": "t: on",
    "tell('r') { retry(0) { 'once' } }": "r: once",
    "tell('r') { int n = 0; try { retry(2) { n++; timeout(time: 1, unit: 'SECONDS') { sleep 9 } } } catch (e) { }; n }": "r: 2",
    "tell('b') { currentBuild.result = 'nonsense'; currentBuild.result }": "b: FAILURE",
    "tell('b') { currentBuild.result = 'unstable'; currentBuild.result }": "b: UNSTABLE",
    "tell('b') { currentBuild.result = null }": 'b: java.lang.NullPointerException: Cannot invoke "String.equalsIgnoreCase(String)" because "s" is null',
    "tell('p') { parallel([:]).size() }": "p: 0",
    "tell('p') { parallel(a: { error 'first' }, b: { sleep 1; throw new IllegalStateException('later') }) }": "p: java.lang.IllegalStateException: later",
    "tell('m') { mail(to: 'a@example.org', subject: 's', body: 'b') }": "m: org.eclipse.angus.mail.util.MailConnectException: Couldn't connect to host, port: localhost, 25; timeout 60000",
    "tell('m') { mail(to: 'nobody', subject: 's', body: 'b') }": "m: hudson.AbortException: Email not sent. No recipients of any kind specified ('to', 'cc', 'bcc').",
    "node { tell('d') { deleteDir(); fileExists('.') } }": "d: false",
    "node { tell('f') { dir('x') { writeFile(file: 'f', text: '') }; readFile 'x' } }": "f: ",
    "node { tell('j') { writeFile(file: 'e.xml', text: ''); junit(testResults: 'e.xml', allowEmptyResults: true).failCount } }": "j: 1",
    "tell('c') { def c = { a = 3 -> a }; c() }": "c: null",
    "tell('i') { for (i in 1..2) { sleep 1 } }": "i: java.io.NotSerializableException: groovy.lang.IntRange",
    "tell('i') { for (i in 1..2) { stage(\"s${i}\") { echo 'in' } }; 'on' }": "i: on",
    "tell('t') { long t = System.currentTimeMillis(); sleep 30; System.currentTimeMillis() - t >= 30000 }": "t: true",
}


@pytest.mark.parametrize("script", STEPS)
def test_step(script: str, jenkins: Jenkins) -> None:
    assert echoes(jenkins, script)[-1] == STEPS[script]


def test_recursion_has_a_limit(jenkins: Jenkins) -> None:
    script = "def deep(n) { n == 0 ? 0 : 1 + deep(n - 1) }\ntell('300') { deep(300) }\ntell('1200') { deep(1200) }\n"
    short, long = echoes(jenkins, script)
    assert short == "300: 300"
    assert "StackOverflowError: Excessively nested closures/functions" in long


def test_an_unknown_argument_is_logged_and_dropped(jenkins: Jenkins) -> None:
    build = jenkins.run("node { sh(script: 'true', nonesuch: 1) }\n")
    name = "org.jenkinsci.plugins.workflow.steps.durable_task.ShellStep"
    assert build.result == "SUCCESS"
    assert f"WARNING: Unknown parameter(s) found for class type '{name}': nonesuch" in build.console


def test_a_nested_lock_of_the_same_resource_waits_until_the_build_is_aborted(
    jenkins: Jenkins,
) -> None:
    build = jenkins.run("lock('a') { lock('a') { echo 'in' } }\n")
    assert (build.result, build.echoes) == ("ABORTED", [])
    assert "Aborted by admin" in build.console


def test_mail_succeeds_with_a_mail_server(jenkins: Jenkins) -> None:
    script = "mail(to: 'a@example.org', subject: 's', body: 'b')\n"
    assert jenkins.run(script, mail_server=True).result == "SUCCESS"


def test_publishing_a_missing_folder_fails_the_build_without_an_exception(jenkins: Jenkins) -> None:
    script = "node { publishHTML(target: [reportName: 'r', reportDir: 'none', reportFiles: 'i'%s]) }\necho 'on'\n"
    plugins = ["htmlpublisher"]
    assert jenkins.run(script % "", plugins=plugins).result == "FAILURE"
    assert jenkins.run(script % "", plugins=plugins).echoes == ["on"]
    assert jenkins.run(script % ", allowMissing: true", plugins=plugins).result == "SUCCESS"


def test_null_in_json_is_not_null_in_groovy(jenkins: Jenkins) -> None:
    script = 'def j = readJSON(text: \'{"a": null}\')\necho "${j.a == null} ${j.a.class.name}"\n'
    build = jenkins.run(script, plugins=["pipeline-utility-steps"])
    assert build.echoes == ["false net.sf.json.JSONNull"]


@pytest.mark.parametrize("values", [{"OTHER": "x"}, {"LEVEL": "four"}])
def test_an_invalid_form_is_an_error_and_the_prompt_remains_open(
    values: dict[str, str], jenkins: Jenkins
) -> None:
    build = jenkins.run(
        "def r = input(message: 'm', id: 'Go', parameters: [choice(name: 'LEVEL', choices: ['one', 'two'])])\necho r\n",
        answers=[Answer(by="alice", values=values), Answer(by="alice", values={"LEVEL": "two"})],
    )
    assert build.refused_submissions == [{"input": "Go", "by": "alice", "status": 500}]
    assert build.echoes == ["two"]


def test_a_rejection_and_an_abort_name_the_user(jenkins: Jenkins) -> None:
    script = "try { input(message: 'm') } catch (e) { echo e.causes[0].user.id; throw e }\n"
    for decision in ("reject", "abort"):
        build = jenkins.run(script, answers=[Answer(by="carol", do=decision)])  # type: ignore[arg-type]
        assert build.echoes == ["carol"]


def test_the_post_of_a_stage_takes_over_its_result(jenkins: Jenkins) -> None:
    caught = "catchError(buildResult: 'UNSTABLE', stageResult: 'FAILURE') { error 'e' }"
    script = """
        pipeline { agent any
          stages { stage('good') { steps { echo "${currentBuild.result}" }
              post { always { echo "${currentBuild.result}" } } }
            stage('caught') { steps { %s }
              %s } } }
    """
    post = "post { always { echo currentBuild.result } }"
    with_post = jenkins.run(textwrap.dedent(script) % (caught, post))
    assert with_post.echoes == ["null", "SUCCESS", "FAILURE"]
    assert jenkins.run(textwrap.dedent(script) % (caught, "")).result == "UNSTABLE"


def test_each_line_restarts_the_activity_timeout(jenkins: Jenkins) -> None:
    script = "node { timeout(time: 9, unit: 'SECONDS', activity: true) { 4.times { sh 'x' } } }\n"
    assert jenkins.run(script, sh=lambda _: Sh(stdout="said\n", seconds=6)).result == "SUCCESS"


def test_a_step_of_a_missing_plugin_is_unsupported_and_no_failure(jenkins: Jenkins) -> None:
    with pytest.raises(UnsupportedError, match="compareVersions"):
        jenkins.run("compareVersions(v1: '1', v2: '2')\n", plugins=["pipeline-utility-steps"])


LIVE = {
    "a child that holds the output": "long t = System.currentTimeMillis(); sh 'sleep 30 & echo on'; echo \"${System.currentTimeMillis() - t < 20000}\"",
    "a missing interpreter": "echo \"${sh(returnStatus: true, script: '#!/none/such\\nx') == 127}\"",
    "a workspace removed": "try { sh(returnStatus: true, script: 'rm -rf \"$PWD\"') } catch (e) { echo \"${e.message.startsWith('missing workspace ')}\" }",
    "a shell without input": "echo \"${sh(returnStdout: true, script: 'cat | wc -c').trim() == '0'}\"",
}


@pytest.mark.parametrize("name", LIVE)
def test_a_script_that_really_runs(name: str, jenkins: Jenkins, tmp_path: Path) -> None:
    build = jenkins.run(f"node {{ {LIVE[name]} }}\n", mode="live", folder=tmp_path)
    assert build.echoes == ["true"], build.text
