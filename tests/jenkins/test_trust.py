"""What decides about delivery and trust, and to which build a state belongs."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_jenkinsfile import scenario

from tests.jenkins.conftest import EXPLICIT, TEMPLATE, Deliver, Package

LIBRARY = "@Library('ml-pipeline') _\n"
PROJECT = "project: 'examples/nepse'"
RESERVED = [
    "BRANCH_NAME",
    "branch_name",
    "CHANGE_ID",
    "TAG_NAME",
    "JOB_NAME",
    "BUILD_NUMBER",
    "BUILD_URL",
    "WORKSPACE",
    "HOME",
    "path",
    "Path",
    "PATH+EXTRA",
    "LD_PRELOAD",
    "BASH_ENV",
    "PYTHONPATH",
    "PIP_INDEX_URL",
    "GIT_SSH_COMMAND",
    "DOCKER_HOST",
    "MLFLOW_TRACKING_URI",
    "ML_HOME",
    "ML_POLICY",
    "ML_STATE",
    "ML_DELIVERS",
    "ML_AGENT",
    "ML_PIPELINE_BIN",
    "ml__gate__alpha",
]
FREE = ["ENV", "BRANCH", "TAG", "BUILD_TYPE", "GIT_BRANCH", "PYTHON_VERSION", "DRY_RUN", "REASON"]


@pytest.mark.parametrize("name", RESERVED)
def test_a_parameter_that_replaces_a_variable_of_trust_is_refused_by_name(
    deliver: Deliver, package: Package, name: str
) -> None:
    """From a job's second build on, parameters replace any variable of their name."""
    build = deliver(branch="feature/x", parameters={name: "main"})
    assert build.result == "FAILURE"
    assert f"mlPipeline: the parameter '{name}' would replace" in (build.description or "")
    assert package.verbs == []
    assert not build.calls("node")


def test_every_step_refuses_such_a_parameter(deliver: Deliver, package: Package) -> None:
    build = deliver(f"{LIBRARY}mlLint({PROJECT})", parameters={"ML_HOME": ""})
    assert build.result == "FAILURE"
    assert "mlLint: the parameter 'ML_HOME' would replace" in build.text
    assert package.verbs == []


def test_other_parameters_are_the_users(deliver: Deliver, package: Package) -> None:
    build = deliver(f"{LIBRARY}mlLint({PROJECT})", parameters=dict.fromkeys(FREE, "x"))
    assert build.result == "SUCCESS"
    assert package.verbs == ["lint"]


@pytest.mark.parametrize(
    "variables",
    [{"BRANCH_NAME": "main"}, {"BRANCH_NAME": "v1", "TAG_NAME": "v1"}, {"CHANGE_ID": ""}],
    ids=",".join,
)
@pytest.mark.parametrize("branch", ["feature/x", "PR-7"])
def test_a_branch_delivers_for_what_its_job_is(
    deliver: Deliver, package: Package, variables: dict[str, str], branch: str
) -> None:
    build = deliver(branch=branch, env=variables | {"ML_HOME": "/srv/ml"})
    assert build.result == "SUCCESS"
    assert "register" not in package.verbs
    assert not build.calls("input")


def test_main_stays_main_whatever_the_environment_is(deliver: Deliver, package: Package) -> None:
    build = deliver(branch="main", env={"BRANCH_NAME": "feature/x", "CHANGE_ID": "7"})
    assert build.result == "SUCCESS"
    assert package.verbs[-2:] == ["promote", "watch"]


# --- the administrators' policy and home ----------------------------------------------------------

POLICY = {"ML_POLICY": "/etc/ml/policy.yaml", "ML_HOME": "/srv/ml"}
GATE = f"mlAgent {{ mlGate({PROJECT}) }}"
IN_NODE = f"node {{ checkout scm; {GATE} }}"


@pytest.mark.parametrize("name", sorted(POLICY))
@pytest.mark.parametrize(
    "script",
    [
        "withEnv(['NAME=/tmp/own']) { BODY }",
        "withEnv(['NAME+X=/tmp/own']) { BODY }",
        "env.NAME = '/tmp/own'\nBODY",
        "withCredentials([file(credentialsId: 'own', variable: 'NAME')]) { BODY }",
        (
            "pipeline { agent any; environment { NAME = '/tmp/own' }; stages { stage('a') { "
            "steps { script { BODY } } } } }"
        ),
        "mlAgent { withEnv(['NAME=/tmp/own']) { mlGate(PROJECT) } }",
    ],
    ids=["withEnv", "plus", "assigned", "credential", "environment", "inside"],
)
def test_a_jenkinsfile_does_not_replace_what_jenkins_sets(
    deliver: Deliver, package: Package, name: str, script: str
) -> None:
    body = GATE if "pipeline {" in script else IN_NODE
    script = script.replace("NAME", name).replace("BODY", body).replace("(PROJECT)", f"({PROJECT})")
    build = deliver(LIBRARY + script, env=POLICY, credentials={"own": {"file": "automatic: true"}})
    assert build.result == "FAILURE"
    assert f"{name} is set by the Jenkinsfile, the agent or the node, and " in build.text
    assert f"Jenkins' configuration has '{POLICY[name]}'; remove it there" in build.text
    assert package.verbs == []


def test_a_jenkinsfile_sets_no_policy_where_jenkins_sets_none(
    deliver: Deliver, package: Package
) -> None:
    build = deliver(f"{LIBRARY}withEnv(['ML_POLICY=/tmp/own']) {{ {IN_NODE} }}")
    assert build.result == "FAILURE"
    assert "ML_POLICY is set by the Jenkinsfile, the agent or the node" in build.text
    assert "Jenkins' configuration sets none" in build.text
    assert package.verbs == []


@pytest.mark.parametrize("name", sorted(POLICY))
def test_the_refusal_does_not_quote_what_may_be_a_secret(
    deliver: Deliver, package: Package, name: str
) -> None:
    """Jenkins masks the log and no description; a masked error fills the log with its trace."""
    script = f"withCredentials([string(credentialsId: 'own', variable: '{name}')]) {{ {IN_NODE} }}"
    build = deliver(LIBRARY + script, env=POLICY, credentials={"own": {"secret": "/s3cret"}})
    assert build.description == (
        f"mlAgent: {name} is set by the Jenkinsfile, the agent or the node, and Jenkins' "
        f"configuration has '{POLICY[name]}'; remove it there, and set it in Jenkins' "
        "configuration, globally or for the folder (docs/how-to/jenkins.md)"
    )
    assert "****" not in build.text
    assert package.verbs == []


@pytest.mark.parametrize("script", [f"mlGate({PROJECT})", GATE, IN_NODE, TEMPLATE])
def test_a_policy_of_the_node_alone_is_refused_and_not_dropped(
    deliver: Deliver,
    package: Package,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
) -> None:
    """A variable of the node is seen only once a build is on it."""
    monkeypatch.setattr(scenario, "AGENT_VARIABLES", (*scenario.AGENT_VARIABLES, "ML_POLICY"))
    monkeypatch.setenv("ML_POLICY", "/etc/ml/node.yaml")
    build = deliver(script if "@Library" in script else LIBRARY + script)
    assert build.result == "FAILURE"
    assert "ML_POLICY is set by the Jenkinsfile, the agent or the node" in build.text
    assert package.verbs == []


@pytest.mark.parametrize("script", ["withEnv(['{}=']) {{ {} }}", "env.{} = ''\n{}"])
@pytest.mark.parametrize("name", sorted(POLICY))
def test_a_variable_that_the_jenkinsfile_removes_is_restored(
    deliver: Deliver, package: Package, name: str, script: str
) -> None:
    build = deliver(LIBRARY + script.format(name, IN_NODE), env=POLICY)
    assert build.result == "SUCCESS", build.text
    [gate] = package.calls
    assert {key: gate.environment[key] for key in POLICY} == POLICY


def test_without_a_policy_of_jenkins_that_of_an_image_does_not_count(
    deliver: Deliver, package: Package
) -> None:
    """A container shows its own value of a variable that is not set for it: so it is set."""
    deliver(f"{LIBRARY}mlGate({PROJECT}, agent: [image: 'ml:1'])")
    assert package.calls[-1].environment["ML_POLICY"] == "-"


def test_a_home_beside_that_of_jenkins_is_refused(deliver: Deliver, package: Package) -> None:
    build = deliver(f"{LIBRARY}mlGate({PROJECT}, agent: [home: '/srv/own'])", env=POLICY)
    assert build.result == "FAILURE"
    assert "'home' is '/srv/own', and Jenkins' configuration sets ML_HOME to '/srv/ml'" in (
        build.text
    )
    same = deliver(f"{LIBRARY}mlGate({PROJECT}, agent: [home: '/srv/ml'])", env=POLICY)
    assert same.result == "SUCCESS"


@pytest.mark.parametrize("name", sorted(POLICY))
@pytest.mark.parametrize("path", ["policy.yaml", "$HOME/ml"])
def test_a_relative_path_in_jenkins_configuration_is_refused(
    deliver: Deliver, package: Package, name: str, path: str
) -> None:
    build = deliver(LIBRARY + IN_NODE, env={name: path})
    assert f"{name} of Jenkins' configuration is '{path}'; expected an absolute" in build.text
    assert package.verbs == []


def test_policies_of_the_node_are_mounted_over_those_of_an_image(
    deliver: Deliver, package: Package, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.yaml"
    script = f"{LIBRARY}mlGate({PROJECT}, agent: [image: 'ml:1'])"
    build = deliver(script, env={"ML_POLICY": str(policy)})
    assert str(policy) not in build.calls("withDockerContainer")[0].arguments["args"]
    policy.write_text("four_eyes: true\n")
    build = deliver(script, env={"ML_POLICY": str(policy)})
    args = build.calls("withDockerContainer")[0].arguments["args"]
    assert f"-v {policy}:{policy}:ro" in args


def test_a_pull_request_cannot_declare_itself_a_delivery(
    deliver: Deliver, package: Package
) -> None:
    script = (
        f"{LIBRARY}withEnv(['ML_DELIVERS=true']) {{ mlLint({PROJECT}, agent: [image: 'ml:1']) }}"
    )
    build = deliver(script, branch="PR-7", env={"ML_HOME": "/srv/ml"})
    assert build.result == "SUCCESS"
    assert "/srv/ml" not in build.calls("withDockerContainer")[0].arguments["args"]


# --- the state of a build -------------------------------------------------------------------------

PRINT_STATE = 'echo "state ${env.ML_STATE}"\n'


def state(lines: list[str]) -> str:
    return next(line.removeprefix("state ") for line in lines if line.startswith("state "))


def test_the_state_of_another_build_is_not_read(deliver: Deliver, package: Package) -> None:
    """A restart at a stage copies `env` into the new build, and with it what was approved there."""
    gate = f"{LIBRARY}mlGate({PROJECT})\n"
    older = state(deliver(gate + PRINT_STATE, job="older").echoes)
    result = "new org.mlpipeline.BuildState(this).result('gate')"
    asked = f'echo "due ${{mlApprove.due()}} ${{{result}}}"\n'
    build = deliver(f"{LIBRARY}env.ML_STATE = '{older}'\n{asked}")
    assert "due false null" in build.echoes
    build = deliver(f"{gate}{asked}")
    assert any(line.startswith("due true [") for line in build.echoes)


def test_the_state_stays_small(deliver: Deliver, package: Package) -> None:
    """Every `sh` gets it in its environment, where a value beyond 128 KiB ends them all."""
    checks = [
        {"name": f"check {i}", "verdict": "fail", "required": True, "why": "because " * 100}
        for i in range(20)
    ]
    package.outcomes["deploy"] = {"summary": "deployed " * 500, "checks": checks}
    package.outcomes["gate"] = {"summary": "may be promoted " * 500, "checks": checks}
    script = f"""{LIBRARY}
        node {{
            checkout scm
            mlAgent {{
                for (int i = 0; i < 50; i++) {{ mlDeploy({PROJECT}, environment: "place-${{i}}") }}
                mlGate({PROJECT})
            }}
        }}
        {PRINT_STATE}"""
    build = deliver(script)
    assert build.result == "SUCCESS"
    assert len(package.verbs) == 51
    assert len(state(build.echoes)) < 8_000


@pytest.mark.parametrize("stage", ["approve", "promote", "watch"])
def test_a_restart_past_the_gate_names_what_to_start_instead(
    deliver: Deliver, package: Package, stage: str
) -> None:
    build = deliver(EXPLICIT, cause="restart", restart_from=stage)
    assert package.verbs == []
    why = "not promoted: this build was restarted at a stage; start a new build of job/main"
    assert build.description == why
    assert len([line for line in build.echoes if why in line]) == 1


def test_a_stage_whose_files_the_older_build_made_is_refused_in_one_line(
    deliver: Deliver, package: Package
) -> None:
    build = deliver(f"{LIBRARY}mlEvaluate({PROJECT})", cause="restart")
    assert build.result == "FAILURE"
    assert build.description == (
        "evaluate: this build was restarted at a stage, and validate-data has not run in it; "
        "restart at the stage that runs validate-data, or start a new build of job/main"
    )
    assert package.verbs == []


@pytest.mark.parametrize("step", ["mlWatch", "mlPromote"])
def test_an_older_promotion_is_neither_repeated_nor_watched(
    deliver: Deliver, package: Package, step: str
) -> None:
    """A watch rolls production back, and the promotion it would watch is not this build's."""
    build = deliver(f"{LIBRARY}{step}({PROJECT})", cause="restart")
    assert build.result == "FAILURE"
    assert "start a new" in build.text
    assert package.verbs == []


def test_a_replay_keeps_the_gates_summary_and_adds_why_nothing_was_promoted(
    deliver: Deliver,
) -> None:
    build = deliver(TEMPLATE, cause="replay")
    assert build.result == "SUCCESS"
    assert build.description == (
        "version 7: may be promoted: +0.0641 [+0.0504, +0.0777]; "
        "not promoted: this build was replayed; start a new build of job/main"
    )


# --- agents ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("output", "used"), [("bin=\n", "-"), ("bin=/made/bin\n", "/made/bin")])
def test_an_image_cannot_replace_the_command(
    deliver: Deliver, package: Package, output: str, used: str
) -> None:
    """The command that was checked is used, whatever was set around it."""
    package.environment_output = output
    script = f"{LIBRARY}withEnv(['ML_PIPELINE_BIN=/planted']) {{ mlLint({PROJECT}) }}"
    deliver(script)
    assert package.calls[0].environment["ML_PIPELINE_BIN"] == used


def test_a_path_without_commands_is_refused_before_anything_runs(
    deliver: Deliver, package: Package
) -> None:
    script = f"{LIBRARY}withEnv(['path=/x']) {{ mlLint({PROJECT}) }}"
    build = deliver(script, env={"PATH": "/x"})
    assert build.result == "FAILURE"
    assert "mlAgent: PATH is '/x'" in build.text
    assert not build.calls("sh")


def test_a_build_that_does_not_deliver_only_reads_the_cache(deliver: Deliver) -> None:
    settings = "image: 'ml:1', cache: '/srv/cache'"
    script = f"{LIBRARY}mlAgent({settings}) {{ echo 'in' }}"
    main = deliver(script, branch="main").calls("withDockerContainer")[0].arguments["args"]
    assert main == "-v /srv/cache:/srv/cache"
    change = deliver(script, branch="PR-7").calls("withDockerContainer")[0].arguments["args"]
    assert change == "-v /srv/cache/checks:/srv/cache/checks -v /srv/cache:/srv/cache:ro"


@pytest.mark.parametrize(
    ("branch", "own", "shared"),
    [("main", "-/srv/cache", "-"), ("PR-7", "-/srv/cache/checks", "-/srv/cache")],
)
def test_on_a_node_a_build_that_does_not_deliver_has_its_own_cache(
    deliver: Deliver, branch: str, own: str, shared: str
) -> None:
    script = f"{LIBRARY}mlAgent(node: '', cache: '/srv/cache') {{ echo 'in' }}"
    build = deliver(script, branch=branch)
    given = [one for step in build.calls("withEnv") for one in step.arguments["overrides"]]
    assert {f"ML_CACHE={own}", f"ML_CACHE_SHARED={shared}"} <= set(given)


def test_no_variable_of_the_set_up_is_empty(deliver: Deliver) -> None:
    """Jenkins removes such a variable, and a container then shows its own."""
    build = deliver(f"{LIBRARY}mlAgent(node: '') {{ echo 'in' }}")
    given = [one for step in build.calls("withEnv") for one in step.arguments["overrides"]]
    assert given
    assert not [one for one in given if one.endswith("=")]
