"""mlAgent and the options of mlPipeline: containers, credentials, hooks, missing plugins."""

from __future__ import annotations

import pytest
from pytest_jenkinsfile import Build, Sh

from tests.jenkins.conftest import EXPLICIT, TEMPLATE, Deliver, Package

LIBRARY = "@Library('ml-pipeline') _\n"
PROJECT = "project: 'examples/nepse'"


def test_an_image_is_a_container_with_a_home_for_any_user(
    deliver: Deliver, package: Package
) -> None:
    build = deliver(f"{LIBRARY}mlAgent(image: 'ml:1') {{ mlLint({PROJECT}) }}")
    assert build.result == "SUCCESS"
    call = package.calls[0]
    assert call.container == "ml:1"
    assert call.environment["HOME"] == f"{call.workspace}@tmp/home"
    assert call.environment["USER"] == call.environment["LOGNAME"] == "ml"


def test_the_administrators_may_set_the_image(deliver: Deliver, package: Package) -> None:
    deliver(f"{LIBRARY}mlLint({PROJECT})", env={"ML_AGENT_IMAGE": "ml:2"})
    deliver(f"{LIBRARY}mlLint({PROJECT}, agent: [node: ''])", env={"ML_AGENT_IMAGE": "ml:2"})
    assert [call.container for call in package.calls] == ["ml:2", None]


def test_folders_of_the_node_are_mounted_at_the_same_path(deliver: Deliver) -> None:
    settings = (
        "image: 'ml:1', home: '/srv/ml', cache: '/srv/cache', ca: '/etc/ca.pem', "
        "gpus: 'all', options: '--shm-size 1g'"
    )
    build = deliver(f"{LIBRARY}mlAgent({settings}) {{ sh 'true' }}")
    [inside] = build.calls("withDockerContainer")
    assert inside.arguments["args"] == (
        "-v /srv/ml:/srv/ml -v /srv/cache:/srv/cache -e ML_HOME=/srv/ml "
        "-v /etc/ca.pem:/etc/ca.pem:ro --gpus all --shm-size 1g"
    )


ADMINISTRATORS = {
    "ML_AGENT_IMAGE": "ml:1",
    "ML_AGENT_LABEL": "docker",
    "ML_HOME": "/srv/ml",
    "ML_DEPLOY_OPTIONS": "-v /var/run/docker.sock:/var/run/docker.sock",
}
HOME = "-v /srv/ml:/srv/ml -e ML_HOME=/srv/ml"
ENGINE = f"{HOME} {ADMINISTRATORS['ML_DEPLOY_OPTIONS']}"


def containers(build: Build) -> list[str]:
    return [step.arguments["args"] for step in build.calls("withDockerContainer")]


@pytest.mark.parametrize("script", [EXPLICIT, TEMPLATE], ids=["explicit", "template"])
@pytest.mark.parametrize("branch", ["PR-7", "feature/x"])
def test_a_build_that_does_not_deliver_has_neither_home_nor_engine(
    deliver: Deliver, script: str, branch: str
) -> None:
    build = deliver(script, branch=branch, env=ADMINISTRATORS, agents={"one": ["docker"]})
    assert build.result == "SUCCESS"
    assert set(containers(build)) == {""}


@pytest.mark.parametrize("script", [EXPLICIT, TEMPLATE], ids=["explicit", "template"])
def test_the_engine_is_given_to_the_stages_that_need_it(
    deliver: Deliver, package: Package, script: str
) -> None:
    build = deliver(script, env=ADMINISTRATORS, agents={"one": ["docker"], "other": []})
    assert build.result == "SUCCESS"
    assert {call.node for call in package.calls} == {"one"}
    assert set(containers(build)) == {HOME, ENGINE}
    engines = [args for args in containers(build) if args == ENGINE]
    explicit = script == EXPLICIT
    message = "from deploy staging to the gate, approve, promote, watch"
    assert len(engines) == (8 if explicit else 4), message


def test_package_gets_the_engine_where_it_pushes_an_image_and_delivers(
    deliver: Deliver,
) -> None:
    steps = (
        f"mlAgent(image: 'ml:1') {{ mlLint({PROJECT}) }}\n"
        f"mlPackage({PROJECT})\nmlPackage({PROJECT}, push: false)\nmlPackage({PROJECT}, push: true)"
    )
    agents = {"one": ["docker"]}
    build = deliver(LIBRARY + steps, branch="main", env=ADMINISTRATORS, agents=agents)
    assert build.result == "SUCCESS"
    assert containers(build) == [HOME, HOME, HOME, ENGINE]
    build = deliver(LIBRARY + steps, branch="PR-7", env=ADMINISTRATORS, agents=agents)
    assert set(containers(build)) == {""}


def test_package_in_the_template_gets_the_engine_where_it_pushes_an_image(
    deliver: Deliver, package: Package
) -> None:
    script = TEMPLATE.replace("nepse'", "nepse', stages: [package: [push: true]]")
    build = deliver(script, env=ADMINISTRATORS, agents={"one": ["docker"]})
    assert build.result == "SUCCESS"
    engines = [args for args in containers(build) if args == ENGINE]
    assert len(engines) == 5, (
        "package, from deploy staging to the gate, approve, promote, and watch"
    )
    ran = zip(package.verbs, package.calls, strict=True)
    used = {call.workspace for verb, call in ran if verb in ("train", "package")}
    assert len(used) == 1


def test_a_home_that_cannot_be_created_is_named_with_the_node(deliver: Deliver) -> None:
    build = deliver(
        f"{LIBRARY}mlLint({PROJECT})",
        env=ADMINISTRATORS,
        sh=lambda call: Sh(status=1 if "mkdir" in call.script else 0),
        agents={"one": ["docker"]},
    )
    assert build.result == "FAILURE"
    message = "cannot create the folders to mount, /srv/ml: an administrator creates them on one"
    assert message in build.text


def test_a_home_with_spaces_is_refused_before_any_node(deliver: Deliver) -> None:
    build = deliver(f"{LIBRARY}mlLint({PROJECT})", env=ADMINISTRATORS | {"ML_HOME": "/srv/m l"})
    assert build.result == "FAILURE"
    assert "'home' is '/srv/m l'; expected an absolute path without spaces" in build.text
    assert not build.calls("node")


def test_variables_of_home_certificates_and_index(deliver: Deliver, package: Package) -> None:
    settings = (
        "node: '', home: '/srv/ml', ca: '/etc/ca.pem', index: 'https://index.example.org/simple'"
    )
    deliver(f"{LIBRARY}mlAgent({settings}) {{ mlLint({PROJECT}) }}")
    given = package.calls[0].environment
    assert given["ML_HOME"] == "/srv/ml"
    assert given["REQUESTS_CA_BUNDLE"] == given["SSL_CERT_FILE"] == "/etc/ca.pem"
    assert given["PIP_INDEX_URL"] == "https://index.example.org/simple"


def test_an_environment_on_a_node_comes_first_in_the_path(
    deliver: Deliver, package: Package
) -> None:
    package.environment_output = "bin=/cache/venv-1/bin\n"
    deliver(f"{LIBRARY}mlLint({PROJECT})")
    assert package.calls[0].environment["PATH"].startswith("/cache/venv-1/bin:")
    assert (
        package.calls[0].script
        == 'PATH="$ML_PIPELINE_BIN:$PATH" ml-pipeline lint --args build/ml/args/lint.json'
    )


def test_in_a_container_whose_path_jenkins_keeps_the_command_line_sets_it(
    deliver: Deliver, package: Package
) -> None:
    package.environment_output = "bin=/cache/venv-1/bin\n"
    deliver(f"{LIBRARY}mlLint({PROJECT}, agent: [image: 'python:3.12'])")
    assert package.calls[0].environment["ML_PIPELINE_BIN"] == "/cache/venv-1/bin"
    assert package.calls[0].script == (
        'PATH="$ML_PIPELINE_BIN:$PATH" ml-pipeline lint --args build/ml/args/lint.json'
    )


@pytest.mark.parametrize("output", ["error=no ml-pipeline here\n", "", "something else\n"])
def test_an_agent_without_the_package_is_an_error(
    deliver: Deliver, package: Package, output: str
) -> None:
    package.environment_output = output
    build = deliver(f"{LIBRARY}mlLint({PROJECT})")
    assert build.result == "FAILURE"
    assert "mlAgent: " in build.text
    assert not package.calls


def test_a_dockerfile_of_the_workspace_is_built_without_its_name_in_a_shell(
    deliver: Deliver, package: Package
) -> None:
    build = deliver(
        f"{LIBRARY}mlAgent(dockerfile: 'docker/a b$(id).Dockerfile') {{ mlLint({PROJECT}) }}"
    )
    [command] = [
        step.arguments["script"]
        for step in build.calls("sh")
        if "docker build" in step.arguments["script"]
    ]
    assert command.endswith('-f "$ML_DOCKERFILE" .')
    assert (package.calls[0].container or "").startswith("ml-pipeline-agent:")


def test_on_a_node_the_step_allocates_no_other(deliver: Deliver) -> None:
    build = deliver(f"{LIBRARY}node {{ checkout scm\n mlAgent {{ mlLint({PROJECT}) }} }}")
    assert len(build.calls("node")) == 1


def test_steps_inside_share_one_container(deliver: Deliver) -> None:
    build = deliver(f"{LIBRARY}mlAgent(image: 'ml:1') {{ mlLint({PROJECT}); mlTest({PROJECT}) }}")
    assert len(build.calls("withDockerContainer")) == 1


def test_a_stage_may_have_an_image_of_its_own_in_the_same_workspace(
    deliver: Deliver, package: Package
) -> None:
    stages = "[train: [image: 'gpu:1', maxEpochs: 9]]"
    deliver(f"{LIBRARY}mlPipeline({PROJECT}, image: 'ml:1', stages: {stages})")
    by_verb = {verb: call for (verb, _), call in zip(package.arguments, package.calls, strict=True)}
    assert by_verb["train"].container == "gpu:1"
    assert by_verb["validate-data"].container == by_verb["gate"].container == "ml:1"
    assert by_verb["train"].cwd == by_verb["gate"].cwd
    assert package.flags("train")["max_epochs"] == 9


def test_a_stage_is_switched_off(deliver: Deliver, package: Package) -> None:
    build = deliver(f"{LIBRARY}mlPipeline({PROJECT}, stages: [lint: false, verify: false])")
    assert build.result == "SUCCESS"
    assert "lint" not in package.verbs
    assert "verify staging" not in package.verbs
    assert package.verbs[-2:] == ["promote", "watch"]


def test_a_hook_may_replace_a_stage_that_is_switched_off(
    deliver: Deliver, package: Package
) -> None:
    own = f"before: [evaluate: {{ mlTrain({PROJECT}, maxEpochs: 3) }}]"
    build = deliver(f"{LIBRARY}mlPipeline({PROJECT}, stages: [train: false], {own})")
    assert build.result == "SUCCESS"
    assert package.flags("train")["max_epochs"] == 3


def test_without_approve_nothing_is_promoted(deliver: Deliver, package: Package) -> None:
    deliver(f"{LIBRARY}mlPipeline({PROJECT}, stages: [approve: false])")
    assert package.verbs[-1] == "gate"


def test_hooks_run_before_and_after_a_stage(deliver: Deliver) -> None:
    script = f"""{LIBRARY}
    mlPipeline({PROJECT},
        before: [
            register: ['sign off': {{ echo 'own 1' }}, 'scan': {{ sh 'scan' }}],
            approve: {{ echo 'own 2' }},
        ],
        after: [promote: {{ echo 'own 3' }}])
    """
    build = deliver(script, restart_everywhere=True)
    assert build.result == "SUCCESS"
    names = [stage.name for stage in build.stages]
    at = names.index("register")
    assert names[at - 2 : at] == ["sign off", "scan"]
    assert names[-5:] == ["before approve", "approve", "promote", "after promote", "watch"]
    assert [echo for echo in build.echoes if echo.startswith("own")] == ["own 1", "own 2", "own 3"]


def test_a_hook_that_fails_ends_the_delivery(deliver: Deliver, package: Package) -> None:
    build = deliver(
        f"{LIBRARY}mlPipeline({PROJECT}, before: [register: {{ error 'not signed off' }}])"
    )
    assert build.result == "FAILURE"
    assert "register" not in package.verbs


@pytest.mark.parametrize(
    ("verb", "code", "result"), [("gate", 0, "SUCCESS"), ("train", 1, "FAILURE")]
)
def test_people_are_notified_at_the_prompt_and_at_the_end(
    deliver: Deliver, package: Package, verb: str, code: int, result: str
) -> None:
    package.outcomes[verb] = code
    message = '{ news -> echo "news ${news.event} ${news.result} ${news.description}" }'
    build = deliver(f"{LIBRARY}mlPipeline({PROJECT}, notify: {message})")
    news = [echo for echo in build.echoes if echo.startswith("news")]
    assert news[-1].startswith(f"news finished {result} ")
    assert ("news waiting" in "".join(news)) == (code == 0)


def test_the_notification_of_a_rejection(deliver: Deliver) -> None:
    build = deliver(
        f'{LIBRARY}mlPipeline({PROJECT}, notify: {{ news -> echo "news ${{news.result}}" }})',
        answers=[{"input": "*", "do": "reject", "by": "alice"}],
    )
    assert build.echoes[-1] == "news ABORTED"


@pytest.mark.parametrize("plugins", [(), ("slack",)])
def test_slack_is_notified_where_it_is_installed(
    deliver: Deliver, plugins: tuple[str, ...]
) -> None:
    build = deliver(
        f"{LIBRARY}mlPipeline({PROJECT}, notify: [slack: '#models'])",
        branch="PR-7",
        plugins=plugins,
    )
    assert build.result == "SUCCESS"
    assert bool(build.calls("slackSend")) == bool(plugins)
    assert any("the plugin slack is not installed" in echo for echo in build.echoes) != bool(
        plugins
    )


def test_kubernetes_without_its_plugin_is_an_error(deliver: Deliver, package: Package) -> None:
    build = deliver(f"{LIBRARY}mlAgent(kubernetes: [image: 'ml:1']) {{ mlLint({PROJECT}) }}")
    assert build.result == "FAILURE"
    assert "mlAgent: kubernetes: needs the Kubernetes plugin" in build.text
    assert not package.calls


POD = "kubernetes: [image: 'ml:1', cloud: 'eu', serviceAccount: 'ml']"


def test_a_pod_is_made_for_the_block(deliver: Deliver, package: Package) -> None:
    build = deliver(
        f"{LIBRARY}mlAgent({POD}) {{ mlLint({PROJECT}) }}",
        plugins=["kubernetes"],
        restart_everywhere=True,
    )
    assert build.result == "SUCCESS"
    template = {"name": "ml", "image": "ml:1", "command": "sleep", "args": "99d"}
    assert build.calls("podTemplate")[0].arguments == {
        "cloud": "eu",
        "serviceAccount": "ml",
        "runAsUser": "1000",
        "runAsGroup": "1000",
        "containers": [{"containerTemplate": template}],
    }
    names = [step.name for step in build.steps if not step.library]
    assert [name for name in names if name not in ("libraryResource", "withEnv")][:5] == [
        "podTemplate",
        "node",
        "checkout",
        "container",
        "sh",
    ]
    [call] = package.calls
    assert call.container == "ml:1"
    assert call.node == build.calls("node")[0].arguments["label"]
    assert call.environment["HOME"] == f"{call.workspace}@tmp/home"


def test_a_whole_delivery_in_pods(deliver: Deliver, package: Package) -> None:
    """Two checks, the model, approval, promotion and watch: each has a pod, the prompt none."""
    build = deliver(f"{LIBRARY}mlPipeline({PROJECT}, {POD})", plugins=["kubernetes"])
    assert build.result == "SUCCESS"
    assert package.verbs[-3:] == ["approve", "promote", "watch"]
    assert {call.container for call in package.calls} == {"ml:1"}
    assert len(build.calls("podTemplate")) == len({call.node for call in package.calls}) == 6
    console = build.console[: build.console.index("[Pipeline] input")]
    assert console.count("[Pipeline] podTemplate") == console.count("[Pipeline] // podTemplate")


def test_label_and_containers_of_the_template_are_kept(deliver: Deliver, package: Package) -> None:
    beside = "[containerTemplate(name: 'db', image: 'db:1')]"
    own = f"kubernetes: [image: 'ml:1', label: 'models', containers: {beside}]"
    build = deliver(
        f"{LIBRARY}mlAgent({own}) {{ container('db') {{ sh 'id' }}; mlLint({PROJECT}) }}",
        plugins=["kubernetes"],
    )
    assert build.result == "SUCCESS"
    assert build.calls("node")[0].arguments == {"label": "models"}
    assert [step.container for step in build.calls("sh")][1:] == ["db:1", "ml:1"]


def test_on_an_agent_a_pod_is_refused(deliver: Deliver, package: Package) -> None:
    build = deliver(
        f"{LIBRARY}node {{ checkout scm\n mlAgent({POD}) {{ mlLint({PROJECT}) }} }}",
        plugins=["kubernetes"],
    )
    assert build.result == "FAILURE"
    assert "kubernetes: takes a pod of its own; call it outside node and agent" in build.text
    assert not package.calls


def test_a_missing_home_is_logged(deliver: Deliver) -> None:
    message = "register: ML_HOME is not set; registry and keys lie in this workspace"
    assert message in deliver(f"{LIBRARY}mlRegister({PROJECT})").text
    assert message not in deliver(f"{LIBRARY}mlRegister({PROJECT})", env={"ML_HOME": "/ml"}).text


CREDENTIALS = {
    "mlflow": {"username": "robot", "password": "hush-password"},
    "key": {"file": "PRIVATE"},
    "token": {"secret": "hush-token"},
    "policy": {"file": "four_eyes: true"},
}


def test_credentials_are_bound_around_the_stages_that_need_them(
    deliver: Deliver, package: Package
) -> None:
    given = (
        "[registry: 'mlflow', approvalKey: 'key', policy: 'policy', "
        "servingToken: [id: 'token', variable: 'NEPSE_TOKEN']]"
    )
    build = deliver(
        f"{LIBRARY}mlPipeline({PROJECT}, credentials: {given})", credentials=CREDENTIALS
    )
    assert build.result == "SUCCESS"
    bound = {
        f"{verb}": {
            name
            for name in (
                "MLFLOW_TRACKING_PASSWORD",
                "ML_APPROVAL_KEY",
                "NEPSE_TOKEN",
                "ML_JOB_POLICY",
            )
            if name in call.environment
        }
        for (verb, _), call in zip(package.arguments, package.calls, strict=True)
    }
    assert bound["train"] == bound["lint"] == bound["package"] == set()
    assert bound["register"] == {"MLFLOW_TRACKING_PASSWORD"}
    assert bound["deploy"] == {"MLFLOW_TRACKING_PASSWORD", "NEPSE_TOKEN"}
    assert bound["gate"] == {"MLFLOW_TRACKING_PASSWORD", "ML_JOB_POLICY"}
    assert bound["approve"] == {"MLFLOW_TRACKING_PASSWORD", "ML_JOB_POLICY", "ML_APPROVAL_KEY"}
    assert bound["promote"] == {"MLFLOW_TRACKING_PASSWORD", "ML_JOB_POLICY", "NEPSE_TOKEN"}
    assert "hush" not in build.text
    assert "insecure" not in build.text


def test_a_credential_that_is_missing_is_named(deliver: Deliver, package: Package) -> None:
    build = deliver(f"{LIBRARY}mlRegister({PROJECT}, credentials: [registry: 'gone'])")
    assert build.result == "FAILURE"
    assert "'gone'" in build.text
    assert not package.calls


def test_approve_and_promote_may_have_an_agent_of_their_own(
    deliver: Deliver, package: Package
) -> None:
    deliver(
        f"{LIBRARY}mlPipeline({PROJECT}, approveAgent: [node: 'trusted'])",
        agents={"one": [], "two": ["trusted"]},
    )
    nodes = {
        verb: call.node for (verb, _), call in zip(package.arguments, package.calls, strict=True)
    }
    assert nodes["approve"] == nodes["promote"] == "two"


@pytest.mark.parametrize(
    ("where", "label"),
    [
        ("approveAgent: [node: 'trusted']", "trusted"),
        ("stages: [approve: [agent: [node: 'trusted']]]", "trusted"),
        ("approveAgent: [label: 'trusted']", "trusted"),
        ("approveAgent: [cache: '/srv/other']", "plain"),
    ],
)
def test_an_agent_inherits_what_it_does_not_set(
    deliver: Deliver, package: Package, where: str, label: str
) -> None:
    script = f"{LIBRARY}mlPipeline({PROJECT}, node: 'plain', home: '/srv/ml', {where})"
    build = deliver(script, agents={"one": ["plain"], "two": ["trusted"]})
    assert build.result == "SUCCESS", build.text
    [call] = [one for one in package.calls if "ml-pipeline approve" in one.script]
    assert call.environment["ML_HOME"] == "/srv/ml"
    assert call.environment["ML_AGENT"] == f"node {label}"


def test_a_stage_on_another_machine_than_the_data_is_refused(
    deliver: Deliver, package: Package
) -> None:
    script = f"{LIBRARY}mlPipeline({PROJECT}, stages: [train: [agent: [node: 'gpu']]])"
    build = deliver(script)
    assert build.result == "FAILURE"
    assert "stages: train: its agent cannot set node, kubernetes, label" in build.text
    assert not package.calls
