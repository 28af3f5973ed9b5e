# ruff: noqa: E501  scripts stand in one line, with the quotation marks that Jenkins prints
"""Agents, labels, workspaces, containers and pods."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pytest_jenkinsfile import Jenkins, Sh, ShCall, UnsupportedError

from .conftest import CREDENTIALS, HERE

TWO = {"one": ["linux"], "two": ["linux", "gpu"]}


def test_files_do_not_travel_by_themselves(jenkins: Jenkins) -> None:
    build = jenkins.run(
        "node('linux') { writeFile file: 'a', text: 'x'; stash name: 's', includes: 'a'; echo env.NODE_NAME }\n"
        "node('linux') { echo \"${env.NODE_NAME} ${fileExists('a')}\"; unstash 's'; echo readFile('a') }\n",
        agents=TWO,
    )
    assert build.echoes == ["one", "two false", "x"]


def test_a_label_expression_chooses_the_agent(jenkins: Jenkins) -> None:
    assert jenkins.run("node('linux && gpu') { echo env.NODE_NAME }\n", agents=TWO).echoes == [
        "two"
    ]


@pytest.mark.parametrize(
    ("label", "fits"),
    [
        ("gpu", True),
        ("the-node", True),
        ("GPU", False),
        ("gpu&&linux", True),
        ("gpu && windows", False),
        ("tpu || linux", True),
        ("linux || tpu && windows", True),
        ("(linux || tpu) && windows", False),
        ("!windows", True),
        ("! (gpu && linux)", False),
        ("gpu -> windows", False),
        ("windows->gpu", True),
        ("gpu <-> linux", True),
        ("gpu <-> windows", False),
        ('"gpu"', True),
        ('"with blank" && gpu', True),
        ("with blank", True),
        ("a-->b", True),
        ("gpu &&", False),
        ("", True),
    ],
)
def test_label_expressions_are_those_of_jenkins(label: str, fits: bool, jenkins: Jenkins) -> None:
    agents = {"the-node": ["linux", "gpu", "with blank"]}
    build = jenkins.run(f"node('{label}') {{ echo 'here' }}\n", agents=agents)
    assert (build.result, build.echoes) == (("SUCCESS", ["here"]) if fits else ("ABORTED", []))


def test_an_agent_with_any_label_matches_all_and_a_pod_only_its_own(jenkins: Jenkins) -> None:
    script = "node('gpu && !cpu') { echo env.NODE_NAME }\npodTemplate { node('x') { echo env.NODE_NAME } }\n"
    build = jenkins.run(script, agents="any", plugins=["kubernetes"])
    assert build.echoes == ["built-in", "built-in"]


def test_an_unknown_label_aborts_the_build_and_lists_the_known_labels(
    jenkins: Jenkins,
) -> None:
    build = jenkins.run(
        "timeout(time: 1, unit: 'HOURS') { node('linx') { echo 'never' } }\n", agents=TWO
    )
    assert (build.result, build.echoes) == ("ABORTED", [])
    assert (
        "No agent of the scenario has the label 'linx'; there are: one linux, two linux gpu. "
        "Add one: agents={'NAME': ['LABEL']}, or --agent LABELS of the command" in build.console
    )
    assert "Timeout has been exceeded" not in build.text


def test_concurrent_builds_have_separate_workspaces(jenkins: Jenkins) -> None:
    build = jenkins.run(
        "node { echo env.WORKSPACE.tokenize('/').last(); sleep 60 }\n", starts=[0, 1]
    )
    assert [one.echoes for one in build.builds] == [["job"], ["job@2"]]


def test_a_third_build_waits_for_one_of_two_executors(jenkins: Jenkins) -> None:
    build = jenkins.run("node { sleep 60 }\necho 'end'\n", starts=[0, 1, 2])
    assert [one.result for one in build.builds] == ["SUCCESS"] * 3


def test_a_missing_image_is_pulled(
    jenkins: Jenkins, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = tmp_path / "docker"
    fake.write_text(
        '#!/bin/sh\ncase "$1" in inspect) exit 1;; run) echo c0ffee;; top) echo cat;; esac\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    build = jenkins.run("node { docker.image('img:1').inside { echo 'in' } }\n", mode="live")
    assert "docker pull img:1" in build.text
    assert build.echoes == ["in"]


def test_the_scenario_sees_where_a_command_runs(jenkins: Jenkins) -> None:
    calls: list[ShCall] = []

    def answer(call: ShCall) -> Sh:
        calls.append(call)
        (call.workspace / "made").write_text("by the scenario")
        return Sh(stdout="out\n")

    build = jenkins.run(
        "stage('s') { node { docker.image('img').inside('-v /a:/b') { withEnv(['A=1']) { dir('d') {\n"
        "echo sh(script: 'run it', returnStdout: true).trim() } }; echo readFile('made') } } }\n",
        sh=answer,
    )
    assert build.echoes == ["out", "by the scenario"]
    (call,) = calls
    assert (call.script, call.stage, call.container, call.environment["A"]) == (
        "run it",
        "s",
        "img",
        "1",
    )
    assert call.cwd == call.workspace / "d"
    assert any("-v /a:/b" in line for line in build.console)


def test_the_entrypoint_of_a_container_must_run_its_arguments(
    jenkins: Jenkins, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = tmp_path / "docker"
    fake.write_text('#!/bin/sh\ncase "$1" in run) echo c0ffee;; top) echo PID;; esac\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    build = jenkins.run("node { docker.image('img:1').inside { echo 'in' } }\n", mode="live")
    assert "didn't run the expected command" in build.text


def test_the_agents_own_variables_stay_outside_the_container(
    jenkins: Jenkins, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{HERE / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("OF_THE_AGENT", "x")
    calls = jenkins.run("node { docker.image('i').inside { sh 'echo $HOME' } }\n", mode="live")
    assert "/" in calls.console


def test_a_secret_is_masked_while_it_is_bound(jenkins: Jenkins) -> None:
    build = jenkins.run(
        "node { withCredentials([string(credentialsId: 'a-token', variable: 'T')]) {\n"
        "env.KEPT = env.T\n sh 'use it'; echo env.T }\n echo env.KEPT }\n",
        sh={"use": "the token is s3cret-token, nekot-terc3s\n"},
        credentials=CREDENTIALS,
    )
    assert "the token is ****, nekot-terc3s" in build.console
    assert "****" in build.console
    assert (
        "s3cret-token" in build.console
    )  # read inside and kept outside it is readable, as in Jenkins


def test_a_missing_credential_or_one_of_another_type_is_named(jenkins: Jenkins) -> None:
    script = "withCredentials([{0}(credentialsId: '{1}', variable: 'T')]) {{ echo 'never' }}\n"
    missing = jenkins.run(script.format("string", "nope"), credentials=CREDENTIALS)
    assert "ERROR: Could not find credentials entry with ID 'nope'" in missing.console
    wrong = jenkins.run(script.format("string", "a-login"), credentials=CREDENTIALS)
    assert (
        "where 'org.jenkinsci.plugins.plaincredentials.StringCredentials' was expected"
        in wrong.text
    )


POD = "podTemplate(containers: [containerTemplate(name: 'm', image: 'maven:3')]) { %s }\n"


def test_a_pod_is_an_agent_with_the_containers_of_its_template(jenkins: Jenkins) -> None:
    script = POD % "node(POD_LABEL) { container('m') { sh 'mvn' }; sh 'plain' }"
    build = jenkins.run(script, plugins=["kubernetes"])
    assert build.result == "SUCCESS"
    assert [step.container for step in build.calls("sh")] == ["maven:3", None]
    assert build.calls("sh")[0].node == build.calls("node")[0].arguments["label"]


def test_a_pod_is_allocated_only_by_its_label(jenkins: Jenkins) -> None:
    build = jenkins.run(POD % "node { sh 'plain' }", plugins=["kubernetes"])
    assert build.calls("sh")[0].node == "built-in"


def test_a_container_that_the_template_lacks_is_named(jenkins: Jenkins) -> None:
    build = jenkins.run(POD % "node(POD_LABEL) { container('n') { } }", plugins=["kubernetes"])
    assert build.result == "FAILURE"
    assert "container n not found; the pod has [m]" in build.text


def test_live_a_container_of_a_pod_is_a_container_of_docker(
    jenkins: Jenkins, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", f"{HERE / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_CALLS", str(tmp_path / "calls"))
    inside = "container('m') { sh 'echo in' }; container('jnlp') { sh 'echo beside' }"
    script = POD % f"node(POD_LABEL) {{ {inside} }}"
    build = jenkins.run(script, mode="live", plugins=["kubernetes"])
    assert build.result == "SUCCESS"
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split()[1] for call in calls] == ["run", "top", "exec", "stop", "rm"]
    assert "maven:3 cat" in calls[0]


YAML_POD = """
spec:
  containers:
  - {name: maven, image: 'maven:3'}
  - {name: go, image: golang}
"""


def in_pod(agent: str, steps: str) -> str:
    return (
        f"pipeline {{ agent {{ kubernetes {{ {agent} }} }}\n"
        f"stages {{ stage('a') {{ steps {{ {steps} }} }} }} }}\n"
    )


@pytest.mark.parametrize(
    ("agent", "containers"),
    [
        (f"yaml '''{YAML_POD}'''", [None, "golang"]),
        (f"defaultContainer 'maven'; yaml '''{YAML_POD}'''", ["maven:3", "golang"]),
        ("yamlFile 'pod.yaml'", [None, "golang"]),
        ("containerTemplate { name 'go'; image 'golang' }", ["golang", "golang"]),
        ("label 'own'; yaml '''{YAML_POD}'''", None),
    ],
)
def test_a_declarative_pod(
    agent: str, containers: list[str | None] | None, jenkins: Jenkins
) -> None:
    script = in_pod(agent, "sh 'one'; container('go') { sh 'two' }")
    build = jenkins.run(script, plugins=["kubernetes"], branch="main", scm={"pod.yaml": YAML_POD})
    if containers is None:
        assert "container go not found; the pod has []" in build.text
        return
    assert build.result == "SUCCESS", build.text
    assert [step.container for step in build.calls("sh")] == containers
    assert build.calls("sh")[0].node == build.calls("node")[0].arguments["label"]


def test_a_pod_without_its_plugin_is_unsupported(jenkins: Jenkins) -> None:
    with pytest.raises(UnsupportedError, match=r"^WorkflowScript:1: the agent type 'kubernetes'"):
        jenkins.run(in_pod("yaml ''", "sh 'x'"))


def test_a_pod_with_invalid_yaml_is_an_error(jenkins: Jenkins) -> None:
    build = jenkins.run(in_pod("yaml '[1'", "sh 'x'"), plugins=["kubernetes"])
    assert build.result == "FAILURE"
    assert "ERROR: this is not YAML: " in build.text
