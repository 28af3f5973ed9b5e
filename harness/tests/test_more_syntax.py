"""Matrix, tools, libraries, the conditions of `when`, `waitUntil`, and steps on YAML."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pytest_jenkinsfile import Jenkins, Sh, UnsupportedError


def pipeline(stage: str, rest: str = "", agent: str = "any") -> str:
    return f"pipeline {{\nagent {agent}\n{rest}\nstages {{ stage('s') {{\n{stage}\n}} }}\n}}\n"


def axis(name: str, *values: str, names: str = "values") -> str:
    listed = ", ".join(f"'{value}'" for value in values)
    return f"axis {{ name '{name}'\n {names} {listed} }}\n"


def matrix(inner: str, *axes: str, rest: str = "") -> str:
    return (
        f"matrix {{\naxes {{ {''.join(axes)} }}\n{rest}\nstages {{ stage('c') {{ {inner} }} }}\n}}"
    )


SAYS = 'steps { echo "${A}${B} ${env.A}${env.B}" }'
TWO_BY_TWO = (axis("A", "1", "2"), axis("B", "x", "y"))


def test_a_matrix_has_a_cell_for_each_combination(jenkins: Jenkins) -> None:
    build = jenkins.run(pipeline(matrix(SAYS, *TWO_BY_TWO)))
    assert build.echoes == ["1x 1x", "2x 2x", "1y 1y", "2y 2y"]
    assert [stage.name for stage in build.stages][:3] == [
        "s",
        "Matrix - A = '1', B = 'x'",
        "Matrix - A = '2', B = 'x'",
    ]
    assert build.stage("c").parents == ("s", "Matrix - A = '2', B = 'y'")


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        (axis("A", "1") + axis("B", "x"), ["2x", "1y", "2y"]),
        (axis("A", "1", "2") + axis("B", "x"), ["1y", "2y"]),
        (axis("A", "1", names="notValues"), ["1x", "1y"]),
        (axis("A", "none"), ["1x", "2x", "1y", "2y"]),
    ],
)
def test_cells_are_excluded(exclude: str, left: list[str], jenkins: Jenkins) -> None:
    excludes = f"excludes {{ exclude {{ {exclude} }} }}"
    build = jenkins.run(pipeline(matrix(SAYS, *TWO_BY_TWO, rest=excludes)))
    assert [echo.split()[0] for echo in build.echoes] == left


def test_each_cell_has_agent_when_environment_input_tools_and_post(jenkins: Jenkins) -> None:
    rest = (
        'agent { label "for-${A}" }\nwhen { beforeAgent true\n'
        "not { environment name: 'A', value: '3' } }\n"
        'environment { OWN = "own-${A}" }\ninput { message "go on with ${A}?" }\n'
        'tools { maven "M${A}" }\npost { always { echo "post ${OWN}" } }'
    )
    build = jenkins.run(
        pipeline(
            matrix(
                'steps { echo "${OWN} ${NODE_NAME} ${M2_HOME}" }',
                axis("A", "1", "2", "3"),
                rest=rest,
            ),
            agent="none",
        ),
        agents={"one": ["for-1"], "two": ["for-2"]},
        approve_as="alice",
        tools={"maven": {"M1": "/m1", "M2": "/m2"}},
    )
    assert sorted(build.echoes) == ["own-1 one /m1", "own-2 two /m2", "post own-1", "post own-2"]
    assert len(build.calls("input")) == 3  # by default a person is asked before `when`
    assert build.stage("Matrix - A = '3'").status == "SKIPPED"


def test_cells_share_no_values_while_a_step_runs(jenkins: Jenkins) -> None:
    waits = "${sh(script: 'wait', returnStdout: true)}"
    rest = f'environment {{ OWN = "${{A}}"\n BOTH = "${{OWN}}{waits}${{OWN}}" }}'
    cells = matrix("steps { echo BOTH }", axis("A", "1", "2"), rest=rest)
    build = jenkins.run(pipeline(cells), sh={"wait": Sh(stdout="-", seconds=5)})
    assert sorted(build.echoes) == ["1-1", "2-2"]


def test_a_cell_that_fails_stops_the_others_only_with_fail_fast(jenkins: Jenkins) -> None:
    inner = "steps { script { if (A == '1') { error 'no' } else { sleep 60; echo 'to the end' } } }"
    cells = matrix(inner, axis("A", "1", "2"))
    slow = jenkins.run(pipeline(cells))
    assert (slow.result, slow.echoes) == ("FAILURE", ["to the end"])
    fast = jenkins.run(pipeline(f"failFast true\n{cells}\npost {{ always {{ echo 'post' }} }}"))
    assert (fast.result, fast.echoes) == ("FAILURE", ["post"])


def test_a_matrix_can_have_more_than_250_cells(jenkins: Jenkins) -> None:
    values = [str(number) for number in range(17)]
    rest = f"excludes {{ exclude {{ {axis('A', *values[1:])} }} }}"
    cells = matrix(SAYS, axis("A", *values), axis("B", *values), rest=rest)
    build = jenkins.run(pipeline(cells, agent="none"), restart_everywhere=False)
    assert [echo.split()[0] for echo in build.echoes] == [f"0{value}" for value in values]


RETRIED = """
    script {
        env.N = (env.N ?: '0').toInteger() + 1
        if (env.N == '1') { unstable 'early'; error 'first' }
        echo "attempt ${env.N}"
    }
"""


@pytest.mark.parametrize("where", ["pipeline", "stage"])
def test_the_option_retry_discards_errors_but_not_warnings(where: str, jenkins: Jenkins) -> None:
    options = "options { retry(2) }"
    stage = f"{options if where == 'stage' else ''}\nsteps {{ {RETRIED} }}"
    post = "post { always { echo currentBuild.currentResult } }"
    rest = f"{options if where == 'pipeline' else ''}\n{post}"
    build = jenkins.run(pipeline(stage, rest=rest))
    assert build.echoes[-2:] == ["attempt 2", "UNSTABLE"]
    assert build.result == "UNSTABLE"


TOOLS: dict[str, Any] = {"maven": ["M3"], "jdk": {"17": "/opt/jdk17", "21": "/opt/jdk21"}}


def test_tools_are_on_the_path_of_their_stages(jenkins: Jenkins) -> None:
    script = pipeline(
        "tools { jdk '21' }\nsteps { echo \"${JAVA_HOME} ${tool 'M3'} ${M2_HOME}\"; sh 'mvn' }",
        rest="tools { maven 'M3'; jdk '17' }",
    )
    paths: list[str] = []
    build = jenkins.run(script, tools=TOOLS, sh=lambda call: paths.append(call.environment["PATH"]))
    assert build.result == "SUCCESS", build.text
    java, maven, home = build.echoes[0].split()
    assert (java, maven) == ("/opt/jdk21", home)
    assert maven.endswith("/tools/maven/M3")
    assert {"/opt/jdk21/bin", f"{maven}/bin"} <= set(paths[0].split(":"))
    assert "Declarative: Tool Install" in [stage.name for stage in build.stages]


def test_a_tool_that_is_not_installed_is_an_error_as_in_jenkins(jenkins: Jenkins) -> None:
    build = jenkins.run(pipeline("steps { sh 'x' }", rest="tools { jdk '18' }"), tools=TOOLS, sh={})
    assert build.result == "FAILURE"
    message = 'Tool type "jdk" does not have an install of "18" configured - did you mean "17"?'
    assert f"WorkflowScript: 3: {message}" in build.text
    missing = jenkins.run("node { tool 'M4' }\n", tools=TOOLS)
    assert "ERROR: No tool named M4 found" in missing.console
    with pytest.raises(UnsupportedError, match="'M4' is not configured in this scenario"):
        jenkins.run("node { tool 'M4' }\n")


def test_libraries_are_loaded_before_anything_else(jenkins: Jenkins, tmp_path: Path) -> None:
    (tmp_path / "vars").mkdir()
    (tmp_path / "vars/greet.groovy").write_text("def call() { echo 'hello' }\n")
    script = pipeline("steps { greet() }", rest="libraries { lib('ours@v2') }")
    build = jenkins.run(script, library={"ours": tmp_path})
    assert build.echoes == ["hello"]
    assert "Loading library ours@v2" in build.console


COMMIT = {"message": "Fix the door\n\nCloses #7 [deploy]", "paths": ["src/Door.java", "README.md"]}


@pytest.mark.parametrize(
    ("condition", "met"),
    [
        ("changeset 'src/*.java'", True),
        ("changeset 'SRC/**'", True),
        ("changeset pattern: 'SRC/**', caseSensitive: true", False),
        ("changeset pattern: 'src/D.*', comparator: 'REGEXP'", True),
        ("changeset '*.java'", False),
        ("changelog 'Fix.*'", True),
        ("changelog '.*#7.*'", True),
        ("changelog 'nothing'", False),
        ("not { changeset '**/*.py' }", True),
        ("anyOf { changelog 'nothing'; changeset 'README.md' }", True),
        ("branch 'MAIN'", True),
        ("branch pattern: 'MAIN', comparator: 'EQUALS'", False),
        ("branch pattern: 'ma.n', comparator: 'regexp'", True),
        ("environment name: 'X', value: 'Y', ignoreCase: true", True),
        ("environment name: 'NONE', value: ''", True),
        ("environment name: 'X', value: 'Y'", False),
        ("triggeredBy 'UserIdCause'", True),
        ("triggeredBy cause: 'UserIdCause', detail: 'admin'", True),
        ("triggeredBy cause: 'UserIdCause', detail: 'bob'", False),
        ("triggeredBy 'SCMTrigger'", False),
        ("buildingTag()", False),
        ("isRestartedRun()", False),
        ("equals expected: 1, actual: currentBuild.number", True),
        ("expression { 'false' }", True),
        ("allOf { branch 'main'; not { tag 'v*' } }", True),
    ],
)
def test_conditions_are_those_of_jenkins(condition: str, met: bool, jenkins: Jenkins) -> None:
    script = pipeline(f"when {{ {condition} }}\nsteps {{ echo 'met' }}", agent="none")
    build = jenkins.run(script, branch="main", env={"X": "y"}, changes=[COMMIT])
    assert (build.result, build.echoes) == ("SUCCESS", ["met"] if met else [])


def test_a_build_without_changes_logs_a_warning(jenkins: Jenkins) -> None:
    script = pipeline("when { changeset '**' }\nsteps { echo 'never' }", agent="none")
    build = jenkins.run(script, builds=2)
    assert [one.echoes for one in build.builds] == [
        ["Warning, empty changelog. Probably because this is the first build."],
        ["Warning, empty changelog. Have you run checkout?"],
    ]


def test_a_timer_and_a_restart_are_conditions(jenkins: Jenkins) -> None:
    timer = pipeline("when { triggeredBy 'TimerTrigger' }\nsteps { echo 'met' }")
    assert jenkins.run(timer, cause="timer").echoes == ["met"]
    restarted = pipeline("when { isRestartedRun() }\nsteps { echo 'met' }")
    builds = jenkins.run(restarted, builds=2, restart_from="s").builds
    assert [one.echoes for one in builds] == [[], ["met"]]


def test_the_script_sees_the_changes_of_the_scenario(jenkins: Jenkins) -> None:
    script = 'def c = currentBuild.changeSets[0].items[0]\necho "${c.msg} ${c.affectedPaths}"\n'
    assert jenkins.run(script, changes=[COMMIT]).echoes == [
        "Fix the door [src/Door.java, README.md]"
    ]


@pytest.mark.parametrize(
    ("options", "seconds"),
    [("", [0.25, 0.3, 0.36]), ("initialRecurrencePeriod: 60000", [15, 15, 15])],
)
def test_wait_until_polls_ever_more_slowly(
    options: str, seconds: list[float], jenkins: Jenkins
) -> None:
    script = f'int n = 0\nwaitUntil({options}) {{ n++; n == 4 }}\necho "${{n}}"\n'
    build = jenkins.run(script)
    assert build.echoes == ["4"]
    waits = re.findall(r"Will try again after ([\d.]+) sec", build.text)
    assert [float(wait) for wait in waits] == seconds
    assert (
        "again"
        not in jenkins.run(script.replace("(", "(quiet: true" + ("," if options else ""), 1)).text
    )


def test_wait_until_ends_with_its_timeout_and_needs_a_boolean(jenkins: Jenkins) -> None:
    late = jenkins.run("timeout(time: 3, unit: 'SECONDS') { waitUntil { false } }\n")
    assert (late.result, "Timeout has been exceeded" in late.text) == ("ABORTED", True)
    odd = jenkins.run("waitUntil { 'text' }\n")
    assert "java.lang.ClassCastException: body return value text is not boolean" in odd.text


def test_a_wait_until_that_stays_false_is_unsupported(jenkins: Jenkins) -> None:
    with pytest.raises(
        UnsupportedError, match=r"^WorkflowScript:1: waitUntil is still false after 1 min"
    ):
        jenkins.run("waitUntil { false }\n", poll_limit=60)


def test_yaml_is_read_and_written(jenkins: Jenkins) -> None:
    script = (
        "node { writeYaml(file: 'a.yaml', data: [a: [1, 'x']])\n"
        "echo \"${readYaml(file: 'a.yaml').a[1]} ${readYaml(text: 'a: 1\\n---\\nb: 2')[1].b}\"\n"
        "echo readProperties(text: 'k = v').k }\n"
    )
    build = jenkins.run(script, plugins=["pipeline-utility-steps"])
    assert build.echoes == ["x 2", "v"]
    wrong = jenkins.run("readYaml(text: '[1')\n", plugins=["pipeline-utility-steps"])
    assert "ERROR: this is not YAML: " in wrong.text


def test_a_checkout_goes_to_its_folder_and_trusted_files_come_from_the_source(
    jenkins: Jenkins,
) -> None:
    script = pipeline(
        "steps { echo \"${fileExists('sub/a')} ${fileExists('a')} ${readTrusted('a')}\" }",
        rest="options { checkoutToSubdirectory('sub') }",
    )
    assert jenkins.run(script, branch="main", scm={"a": "text"}).echoes == ["true false text"]


@pytest.mark.parametrize(
    ("rest", "plugin"),
    [
        ("options { gitLabConnection('x') }", "gitlab-plugin"),
        ("triggers { gitlab(triggerOnPush: true) }", "gitlab-plugin"),
        (
            "parameters { gitParameter(name: 'P', defaultValue: 'main', type: 'PT_BRANCH') }",
            "git-parameter",
        ),
    ],
)
def test_options_and_triggers_of_plugins_are_properties_of_the_job(
    rest: str, plugin: str, jenkins: Jenkins
) -> None:
    build = jenkins.run(pipeline("steps { echo 'ran' }", rest=rest), plugins=[plugin])
    assert (build.result, build.echoes) == ("SUCCESS", ["ran"])
    assert build.properties
