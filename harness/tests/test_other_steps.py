# ruff: noqa: E501  scripts stand in one line
"""Steps that read other scripts and repositories, or run another step by the name of its class."""

from __future__ import annotations

import subprocess
import textwrap
from pathlib import Path

import pytest
from pytest_jenkinsfile import Jenkins, ShCall, UnsupportedError

from .echoes import TELL, echoes

LOADED = {
    "the object of its methods": (
        'def f(x) { "f ${x}" }\ndef g() { sleep 1; 5 }\nreturn this',
        'def l = load "l.groovy"; sleep 1; "${l.f(1)} ${l.g()}"',
        "t: f 1 5",
    ),
    "the value of its last statement": (
        'sleep 1\nreturn "${env.BUILD_ID} ${params.size()}"',
        'load "l.groovy"',
        "t: 1 0",
    ),
    "a closure": ("return { a -> sleep 1; a + 1 }", 'load("l.groovy")(1)', "t: 2"),
    "an object of its own class": (
        "class Q implements Serializable { int n = 4 }\nreturn new Q()",
        'def q = load "l.groovy"; sleep 1; q.n',
        "t: 4",
    ),
    "undeclared variables are shared": ("y = 5\nsleep 1", 'load "l.groovy"; sleep 1; y', "t: 5"),
    "local ones are not": (
        "return z",
        'def z = 1; load "l.groovy"',
        "t: groovy.lang.MissingPropertyException: No such property: z for class: Script1",
    ),
    "methods of the script are not": (
        "return other()",
        'load "l.groovy"',
        "t: java.lang.NoSuchMethodError: No such DSL method 'other' found among steps",
    ),
    "its error": ('error "in it"', 'load "l.groovy"', "t: hudson.AbortException: in it"),
    "what does not compile": (
        "def {",
        'load "l.groovy"',
        "t: org.jenkinsci.plugins.workflow.cps.CpsCompilationErrorsException: startup failed:",
    ),
}


@pytest.mark.parametrize("name", LOADED)
def test_load(name: str, jenkins: Jenkins) -> None:
    text, call, expected = LOADED[name]
    script = (
        "def other() { 1 }\nnode { writeFile(file: 'l.groovy', text: '''%s'''); tell('t') { %s } }"
    )
    for reload in (True, False):
        messages = echoes(jenkins, script % (text, call), restart_everywhere=reload)
        assert messages[-1].startswith(expected)


def test_load_is_a_block_and_a_missing_file_is_an_error(jenkins: Jenkins) -> None:
    build = jenkins.run("node { writeFile(file: 'l', text: '1'); load 'l' }\n")
    at = build.console.index("[Pipeline] load")
    assert build.console[at : at + 4] == [
        "[Pipeline] load",
        "[Pipeline] { (l)",
        "[Pipeline] }",
        "[Pipeline] // load",
    ]
    (message,) = echoes(jenkins, "node { tell('t') { load 'none' } }")
    assert message.startswith("t: java.nio.file.NoSuchFileException: ")


def test_evaluate_runs_steps(jenkins: Jenkins) -> None:
    assert echoes(jenkins, "tell('t') { evaluate('sleep 1; 2 + 1') }") == ["t: 3"]


BY_CLASS = {
    "step([$class: 'ArtifactArchiver', artifacts: '*.txt'])": ("archiveArtifacts", "t: null"),
    "step([$class: 'hudson.tasks.Fingerprinter', targets: '*'])": ("fingerprint", "t: null"),
    "step([$class: 'JUnitResultArchiver', testResults: '*.xml']).toString()": ("step", "t: "),
    "step(null)": (
        "step",
        (
            "t: java.lang.NullPointerException: Cannot invoke "
            '"jenkins.tasks.SimpleBuildStep.requiresWorkspace()" because "this.delegate" is null'
        ),
    ),
    "archive '*.txt'": ("archive", "t: null"),
    "wrap([$class: 'TimestamperBuildWrapper']) { 5 }": ("wrap", "t: 5"),
    "bat 'dir'": ("bat", "t: java.io.IOException: Batch scripts can only be run on Windows nodes"),
    "powershell 'dir'": ("powershell", 't: java.io.IOException: Cannot run program "powershell"'),
    "pwsh 'dir'": ("pwsh", 't: java.io.IOException: Cannot run program "pwsh"'),
}


@pytest.mark.parametrize("call", BY_CLASS)
def test_a_step_by_another_name(call: str, jenkins: Jenkins) -> None:
    heading, expected = BY_CLASS[call]
    script = """
        node {
          writeFile(file: 'a.txt', text: 'x')
          writeFile(file: 'r.xml', text: '<testsuite name="s"><testcase name="n"/></testsuite>')
          tell('t') { %s }
        }
    """
    build = jenkins.run(TELL + textwrap.dedent(script % call), plugins=["timestamper"])
    assert build.echoes[-1].startswith(expected)
    assert f"[Pipeline] {heading}" in build.console


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("step([$class: 'XUnitBuilder'])", "XUnitBuilder"),
        ("wrap([$class: 'Xvfb']) { }", "Xvfb"),
        ("checkout([$class: 'SubversionSCM'])", "SubversionSCM"),
        ("git 'https://git.example/x.git'", "repositories="),
        (
            (
                "checkout(scmGit(branches: [[name: 'x']], userRemoteConfigs: [[url: 'u']], "
                "extensions: [[$class: 'PreBuildMerge']]))"
            ),
            "PreBuildMerge",
        ),
    ],
)
def test_an_unsupported_call_is_named(script: str, why: str, jenkins: Jenkins) -> None:
    with pytest.raises(UnsupportedError, match=why):
        jenkins.run(f"node {{ {script} }}\n")


GIT = {
    "git(url: 'u', branch: 'main')": "t: [GIT_BRANCH:origin/main, GIT_COMMIT:0, GIT_LOCAL_BRANCH:main, GIT_URL:u]",
    "git 'u'": "t: [GIT_BRANCH:origin/master, GIT_COMMIT:0, GIT_LOCAL_BRANCH:master, GIT_URL:u]",
    "checkout([$class: 'GitSCM', branches: [[name: '*/main']], userRemoteConfigs: [[url: 'u']]])": "t: [GIT_BRANCH:origin/main, GIT_COMMIT:0, GIT_URL:u]",
}


@pytest.mark.parametrize("call", GIT)
def test_a_repository_of_the_scenario(call: str, jenkins: Jenkins) -> None:
    script = f"node {{ tell('t') {{ {call} }}\necho readFile('a/b') }}"
    first, second = echoes(jenkins, script, repositories={"u": {"a/b": "text"}})
    assert first == GIT[call].replace("GIT_COMMIT:0", f"GIT_COMMIT:{'0' * 40}")
    assert second == "text"


def test_a_repository_is_cloned_in_live_mode(jenkins: Jenkins, tmp_path: Path) -> None:
    def git(*words: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *words]
        return subprocess.run(
            command, cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "--quiet", "--initial-branch", "main")
    (tmp_path / "f").write_text("one", encoding="utf-8")
    git("add", ".")
    git("commit", "--quiet", "-m", "first")
    commit = git("rev-parse", "HEAD")
    script = f"""
        node {{
          tell('main') {{ git(url: '{tmp_path}', branch: 'main').GIT_COMMIT + readFile('f') }}
          tell('none') {{ git(url: '{tmp_path}', branch: 'none') }}
          tell('gone') {{ dir('x') {{ git(url: '{tmp_path}/gone', branch: 'main') }} }}
        }}
    """
    messages = echoes(jenkins, script, mode="live")
    assert messages[0] == f"main: {commit}one"
    assert messages[1].startswith(
        "none: hudson.AbortException: Couldn't find any revision to build."
    )
    assert messages[2] == "gone: hudson.AbortException: Error cloning remote repo 'origin'"


RESOURCES = {"a": ["printers"], "b": ["printers"]}
LABELS = {
    "lock(label: 'printers', variable: 'L') { \"${env.L} ${env.L0} ${env.L1}\" }": "t: a,b a b",
    "lock(label: 'printers', quantity: 1, variable: 'L') { env.L }": "t: a",
    "lock(label: 'printers', quantity: 0, variable: 'L') { env.L }": "t: a,b",
    "lock('a') { lock(label: 'printers', quantity: 1, variable: 'L') { env.L } }": "t: b",
    "lock('a') { lock(label: 'printers', skipIfLocked: true) { 1 } }": "t: null",
    "lock(extra: [[label: 'printers', quantity: 1], [resource: 'c']], variable: 'L') { env.L }": "t: a,c",
    "lock(label: 'none') { 1 }": "t: java.lang.IllegalArgumentException: The resource label does not exist: none.",
}


@pytest.mark.parametrize("call", LABELS)
def test_labels_of_lockable_resources(call: str, jenkins: Jenkins) -> None:
    assert echoes(jenkins, f"tell('t') {{ {call} }}", resources=RESOURCES)[-1] == LABELS[call]


def test_a_build_that_waits_for_a_label_continues_when_a_resource_is_free(jenkins: Jenkins) -> None:
    script = """
        parallel(
          a: { lock(label: 'printers', quantity: 1, variable: 'L') { sleep 3; echo "a ${env.L}" } },
          b: { sleep 1; lock(label: 'printers', quantity: 1, variable: 'L') { sleep 9; echo "b ${env.L}" } },
          c: { sleep 2; lock(label: 'printers', quantity: 1, variable: 'L') { echo "c ${env.L}" } })
    """
    assert echoes(jenkins, script, resources=RESOURCES) == ["a a", "c a", "b b"]


def test_a_global_path_prefix_precedes_that_of_with_env(jenkins: Jenkins) -> None:
    seen: list[ShCall] = []
    script = """
        echo "${env.PATH}"
        node { withEnv(['PATH+OWN=/own']) { echo "${env.PATH.startsWith('/own:/glob:')}"; sh 'x' } }
    """
    messages = echoes(jenkins, script, env={"PATH+G": "/glob"}, sh=seen.append)
    assert messages == ["null", "true"]
    assert seen[0].environment["PATH"].startswith("/glob:/own:/glob:")


def test_an_undeclared_field_is_logged(jenkins: Jenkins) -> None:
    build = jenkins.run("x = 1\ndef y = 2\nx = null\n")
    messages = [
        line for line in build.console if line.startswith("Did you forget the `def` keyword?")
    ]
    assert messages == [
        (
            "Did you forget the `def` keyword? WorkflowScript seems to be setting a field named x (to a "
            "value of type Integer) which could lead to memory leaks or other issues."
        )
    ]


def test_a_secret_in_an_error_is_masked_and_its_file_is_deleted_with_its_block(
    jenkins: Jenkins,
) -> None:
    script = """
        node {
          tell('e') { withCredentials([string(credentialsId: 's', variable: 'S')]) { error "bad ${S}" } }
          tell('f') { def f; withCredentials([file(credentialsId: 'k', variable: 'F')]) { f = F }; fileExists f }
        }
    """
    messages = echoes(jenkins, script, credentials={"s": {"secret": "hidden"}, "k": {"file": "x"}})
    assert messages == [
        "e: org.jenkinsci.plugins.credentialsbinding.impl.MaskedException: bad ****",
        "f: false",
    ]
