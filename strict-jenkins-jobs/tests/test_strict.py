"""Keys that jenkins-job-builder would ignore without a word."""

from __future__ import annotations

import pytest
from strict_jenkins_jobs.builder import render
from strict_jenkins_jobs.errors import UsageError

from .conftest import Write


def findings(folder) -> list[str]:
    return [str(finding) for finding in render(folder).findings]


def test_correct_yaml_has_no_findings(write: Write) -> None:
    assert findings(write()) == []


def test_a_misspelt_key_names_file_line_job_and_the_nearest_key(write: Write) -> None:
    folder = write("""
        - job:
            name: team
            project-type: folder
            descripton: Of the team.
    """)
    assert findings(folder) == [
        (
            "jobs/jobs.yaml:5: job 'team': unknown key 'descripton': nothing reads it; "
            "did you mean 'description'?"
        )
    ]


@pytest.mark.parametrize(
    ("line", "key", "nearest"),
    [
        ("script-pth: Jenkinsfile", "script-pth", "script-path"),
        ("prune-dead-branch: true", "prune-dead-branch", "prune-dead-branches"),
        ("abort_builds: true", "abort_builds", "abort-builds"),
    ],
)
def test_the_nearest_key_of_a_multibranch_job(write: Write, line, key, nearest) -> None:
    folder = write(f"""
        - job:
            name: ci
            project-type: multibranch
            {line}
            scm: [git: {{url: "https://git.example.org/a.git"}}]
    """)
    (found,) = findings(folder)
    assert f"'{key}'" in found
    assert f"did you mean '{nearest}'?" in found


def test_keys_are_checked_at_every_depth(write: Write) -> None:
    folder = write("""
        - job:
            name: ci
            project-type: multibranch
            scm:
              - github:
                  repo-owner: a
                  repo: b
                  discover-pr-forks-trust: nobody
                  discover-tag: true
                  filter-by-name-wildcard: {include: '*'}
    """)
    first, second = findings(folder)
    assert "'scm.github.discover-tag'" in first
    assert "'discover-tags'" in first
    assert "'scm.github.filter-by-name-wildcard.include'" in second
    assert "'includes'" in second


def test_a_key_of_another_kind_of_job_is_reported(write: Write) -> None:
    folder = write("""
        - job: {name: team, project-type: folder, script-path: Jenkinsfile}
    """)
    assert ["'script-path': nothing reads it" in found for found in findings(folder)] == [True]


def test_a_forgotten_dash_loses_the_second_component(write: Write) -> None:
    folder = write("""
        - job:
            name: nightly
            project-type: pipeline
            dsl: echo 'a'
            properties:
              - build-discarder: {num-to-keep: 3}
                throttle: {max-total: 1}
    """)
    (found,) = findings(folder)
    assert "unknown key 'properties.throttle'" in found


def test_a_repeated_key(write: Write) -> None:
    folder = write("""
        - job:
            name: team
            project-type: folder
            description: first
            description: second
    """)
    assert findings(folder) == [
        "jobs/jobs.yaml:6: YAML: key 'description' is repeated; only one is used"
    ]


TEMPLATE = """
    - defaults: {name: ours, branch: main, weekly: '@weekly'}
    - job-template:
        name: '{name}-retrain'
        defaults: ours
        project-type: pipeline
        dsl: "build '{branch}'"
        triggers: [timed: '{weekly}']
    - job-group: {name: all, jobs: ['{name}-retrain']}
"""


def test_a_parameter_that_no_template_uses_names_the_project(write: Write) -> None:
    folder = write(TEMPLATE, projects="- project: {name: a, brunch: trunk, jobs: [all]}")
    assert findings(folder) == [
        (
            "jobs/projects.yaml:1: project 'a': unknown key 'brunch': nothing reads it; "
            "did you mean 'branch'?"
        )
    ]


def test_a_parameter_used_by_another_parameter_is_used(write: Write) -> None:
    project = "- project: {name: a, branch: 'release-{year}', year: 2026, jobs: [all]}"
    assert findings(write(TEMPLATE, projects=project)) == []


@pytest.mark.parametrize(
    "use",
    [
        "- builder: {name: b, builders: [shell: 'echo {level}']}",
        "- defaults: {name: global, node: '{level}'}",
    ],
    ids=["by a macro", "by defaults"],
)
def test_a_parameter_that_no_template_but_something_else_uses_is_used(
    write: Write, use: str
) -> None:
    project = "- project: {name: a, level: 3, jobs: [all]}"
    assert len(findings(write(TEMPLATE, projects=project))) == 1
    assert findings(write(TEMPLATE, projects=project, more=use)) == []


def test_parameters_of_templates_with_included_files_are_not_checked(write: Write) -> None:
    template = TEMPLATE.replace(
        """dsl: "build '{branch}'\"""", "dsl: !include-raw-expand: a.groovy"
    )
    folder = write(template, projects="- project: {name: a, level: 3, jobs: [all]}")
    (folder / "a.groovy").write_text("echo '{level}'")
    assert findings(folder) == []


def test_a_finding_in_a_template_is_reported_once(write: Write) -> None:
    template = TEMPLATE.replace("dsl:", "sandboks: true\n        dsl:")
    projects = "- project: {name: a, jobs: [all]}\n- project: {name: b, jobs: [all]}"
    (found,) = findings(write(template, projects=projects))
    assert "job template '{name}-retrain': unknown key 'sandboks'" in found
    assert "'sandbox'" in found


GITHUB = """
    - job:
        name: ci
        project-type: multibranch
        scm: [{kind}: {{repo-owner: a, repo: b, credentials-id: c{more}}}]
"""


def test_fork_trust_has_to_be_set(write: Write) -> None:
    (found,) = findings(write(GITHUB.format(kind="github", more="")))
    assert "does not say 'discover-pr-forks-trust'" in found


@pytest.mark.parametrize("trust", ["contributors", "permission"])
def test_a_trust_that_the_bitbucket_plugin_does_not_have(write: Write, trust: str) -> None:
    more = f", discover-pr-forks-strategy: current, discover-pr-forks-trust: {trust}"
    (found,) = findings(write(GITHUB.format(kind="bitbucket", more=more)))
    assert f"'discover-pr-forks-trust: {trust}' names a class that the bitbucket plugin" in found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- job: {name: a, project-type: foldr}", "Unrecognized project-type: foldr"),
        ("- job: {project-type: folder}", "Missing required element: 'name'"),
        ("- jobs: {name: a}", "Unknown topmost element type : 'jobs'"),
        ("- job: {name: a, project-type: pipeline, dsl: '{x}'}", "Missing parameter: 'x'"),
        ("- job: {name: a, triggers: [timd: x]}", "Unknown entry point or macro 'timd'"),
        ("- job: {name: a, project-type: pipeline, dsl: 3}", "another type than its key takes"),
        ("- job: [", "is not YAML"),
        ("- job: {name: ../a, project-type: folder}", "cannot be the name of a job"),
        ("- job: {name: 'a?b', project-type: folder}", "cannot be the name of a job"),
        ("- job: {name: !!python/name:os.system '', project-type: folder}", "makes Python objects"),
    ],
)
def test_an_error_of_jenkins_job_builder_is_one_line(write: Write, text, said) -> None:
    with pytest.raises(UsageError) as raised:
        render(write(text))
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_included_file_cannot_run_python_either(write: Write, tmp_path) -> None:
    marker = tmp_path / "ran"
    folder = write("- job: {name: a, project-type: folder, description: !include: other.txt}")
    (folder / "other.txt").write_text(f"!!python/object/apply:os.mkdir ['{marker}']")
    with pytest.raises(UsageError):
        render(folder)
    assert not marker.exists()


PROJECT = """
    - job-template:
        name: '{name}'
        project-type: multibranch
        scm: [github: {repo-owner: '{owner}', repo: '{repo}'}]
    - project:
        name: nepse
        repo: models
        OWNER
        jobs: ['{name}']
"""


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "ownr: team",
            "project 'nepse': unknown key 'ownr': nothing reads it; did you mean 'owner'?",
        ),
        ("disabled: true", "Missing parameter: 'owner' (jobs/jobs.yaml:5)"),
        ("owner: [a, b]", "job 'nepse': 'scm.github.repo'"),
    ],
)
def test_a_missing_parameter_is_reported_at_the_project(write: Write, line, said) -> None:
    with pytest.raises(UsageError) as raised:
        render(write(PROJECT.replace("OWNER", line)))
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "- job: {name: a, project-type: multibranch, scm: [git: {ulr: x}]}",
            "jobs/jobs.yaml:1: job 'a': unknown key 'scm.git.ulr': nothing reads it",
        ),
        (
            "- job: {name: a, project-type: pipeline, dsl: x, parameters: [string: {nam: X}]}",
            "unknown key 'parameters.string.nam': nothing reads it; did you mean 'name'?",
        ),
        (
            "- job: {name: a, project-type: pipeline, dsl: x, properties: [build-discarder: 5]}",
            "jobs/jobs.yaml:1: job 'a': 'properties.build-discarder': a value has another type",
        ),
    ],
)
def test_a_wrong_key_of_a_job_is_named_with_the_nearest(write: Write, text, said) -> None:
    with pytest.raises(UsageError) as raised:
        render(write(text))
    assert said in str(raised.value)


def refusal(folder) -> str:
    with pytest.raises(UsageError) as raised:
        render(folder)
    return str(raised.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no", "the name of a job is no, which YAML reads as a boolean"),
        ("On", "reads as a boolean"),
        ("2024-01-01", "reads as a date"),
        ("2026", "reads as a number"),
        ("1.10", "reads as a number"),
        ("~", "reads as a null"),
        ("", "the name of a job is empty"),
        ("{p}", "the name of a job is a mapping; expected a text; put it in quotes"),
        ("[a]", "the name of a job is a sequence"),
    ],
)
def test_a_name_that_yaml_reads_as_something_else(write: Write, name: str, said: str) -> None:
    message = refusal(write(f"- job:\n    project-type: folder\n    name: {name}\n"))
    assert message.startswith("jobs/jobs.yaml:3: ")
    assert said in message


@pytest.mark.parametrize("name", ["'no'", '"2024-01-01"', "'2026'", "yes-men", "v1.10"])
def test_a_name_in_quotes_is_a_name(write: Write, name: str) -> None:
    assert findings(write(f"- job: {{name: {name}, project-type: folder}}")) == []


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("off", "off is read as the boolean False; write 'off' in quotes, or false if"),
        ("Yes", "Yes is read as the boolean True; write 'Yes' in quotes, or true if"),
        ("1.10", "1.10 is read as the number 1.1"),
        ("0755", "0755 is read as the number 493"),
        ("12:30", "12:30 is read as the number 750"),
        ("1_000", "1_000 is read as the number 1000"),
        ("2024-01-01", "2024-01-01 is read as the date 2024-01-01; write '2024-01-01' in quotes"),
    ],
)
def test_a_value_that_yaml_reads_as_something_else(write: Write, written: str, said: str) -> None:
    parameter = f"string: {{name: A, default: {written}}}"
    head = "- job:\n    name: a\n    project-type: pipeline\n    dsl: x\n"
    folder = write(f"{head}    parameters: [{parameter}]")
    try:
        (message,) = findings(folder)
    except UsageError as error:
        message = str(error)
    assert message.startswith(f"jobs/jobs.yaml:5: YAML: {said}")


@pytest.mark.parametrize("value", ["true", "False", "3", "-1", "0.5", "'off'", "'1.10'"])
def test_a_value_that_yaml_reads_as_written(write: Write, value: str) -> None:
    parameter = f"string: {{name: A, default: {value}}}"
    text = f"- job: {{name: a, project-type: pipeline, dsl: x, parameters: [{parameter}]}}"
    assert findings(write(text)) == []


@pytest.mark.parametrize(
    ("dsl", "line", "said"),
    [
        ('node { echo "hi" }', 4, "'{ echo \"hi\" }' is no parameter"),
        ('awk "{print $1}" f', 4, "'{print $1}' is no parameter"),
        ('curl -d \'{"a": {"b": 1}}\' x', 4, "is no parameter"),
        ("first\nnode {\n}", 5, "'{' without a '}' behind it in 'node {'"),
        ("one\ntwo\n}", 6, "'}' without a '{' before it in '}'"),
        ("if (a) { b } else {{ c }}", 4, "'{ b }' is no parameter"),
    ],
)
@pytest.mark.parametrize("kind", ["job", "job-template"])
def test_braces_that_are_not_parameters(write: Write, kind, dsl: str, line: int, said: str) -> None:
    text = f"- {kind}:\n    name: a\n    dsl: |\n" + "".join(
        f"      {one}\n" for one in dsl.splitlines()
    )
    message = refusal(write(text + "    project-type: pipeline\n"))
    assert message.startswith(f"jobs/jobs.yaml:{line}: {kind} 'a': ")
    assert said in message
    assert "write '{{' and '}}'" in message


@pytest.mark.parametrize(
    ("dsl", "script"),
    [
        ("node {{ echo '{p}' }}", "node { echo 'z' }"),
        ("${{HOME}} {q|none}", "${HOME} none"),
        ("no braces", "no braces"),
    ],
)
def test_braces_that_are_parameters_or_doubled(write: Write, dsl: str, script: str) -> None:
    folder = write(f"""
        - job-template: {{name: '{{p}}-x', project-type: pipeline, dsl: "{dsl}"}}
        - project: {{name: q, p: z, jobs: ['{{p}}-x']}}
    """)
    rendered = render(folder)
    assert rendered.findings == ()
    assert f"<script>{script}</script>" in rendered.jobs["z-x"]


def test_an_undefined_parameter_is_reported_with_a_hint(write: Write) -> None:
    folder = write("""
        - job-template: {name: '{p}-x', project-type: pipeline, dsl: 'echo ${HOME}'}
        - project: {name: q, p: z, jobs: ['{p}-x']}
    """)
    message = refusal(folder)
    assert message.startswith("jobs/jobs.yaml:3: In project 'q'")
    assert "Missing parameter: 'HOME'" in message
    assert message.endswith("or write '{{HOME}}' for a text")


SECOND = "- job: {name: a, project-type: folder}\n"


@pytest.mark.parametrize(
    ("first", "second", "place"),
    [
        (
            SECOND + SECOND,
            "",
            "jobs/jobs.yaml:2: job 'a' is defined twice, first at jobs/jobs.yaml:1",
        ),
        (SECOND, SECOND, "jobs/more.yaml:1: job 'a' is defined twice, first at jobs/jobs.yaml:1"),
        (SECOND, SECOND.replace("a,", "A,"), "jobs/more.yaml:1: job 'A' is defined twice"),
        (
            "- job-template: {name: '{p}', project-type: folder}\n",
            "- project: {name: q, p: [x, X], jobs: ['{p}']}",
            "jobs/more.yaml:1: job 'X' is defined twice, first at jobs/more.yaml:1",
        ),
        (
            "- view: {name: v, view-type: list}\n" * 2,
            "",
            "jobs/jobs.yaml:2: view 'v' is defined twice",
        ),
        (
            "- builder: {name: b, builders: [shell: 'true']}\n" * 2,
            "",
            "jobs/jobs.yaml:2: builder 'b' is defined twice",
        ),
    ],
)
def test_a_repeated_name_is_reported_with_both_places(write: Write, first, second, place) -> None:
    message = refusal(write(first, more=second) if second else write(first))
    assert place in message
    assert "rename or remove one" in message


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("properties: build-discarder", "'properties' is 'build-discarder'; expected a list"),
        ("parameters: {string: {name: A}}", "'parameters' is a "),
        ("triggers: '@daily'", "'triggers' is '@daily'; expected a list"),
        ("triggers: 5", "'triggers' is a int; expected a list"),
    ],
)
def test_a_value_that_has_to_be_a_list(write: Write, line: str, said: str) -> None:
    message = refusal(
        write(f"- job:\n    name: a\n    project-type: pipeline\n    dsl: x\n    {line}\n")
    )
    assert message.startswith("jobs/jobs.yaml:5: job 'a': ")
    assert said in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- project: {name: q, jobs: all}", "jobs/jobs.yaml:1: 'jobs' of a project is no list"),
        ("- project: {name: q, jobs: [no]}", "names no, which YAML reads as a boolean"),
        ("- job:\n\tname: a", "jobs/jobs.yaml:2: the file is not YAML: "),
        ("- job:\n    name: @a", "put a value that begins with '@', '%' or '`' in quotes"),
        ("- job:\n    name: *a", "put a value that begins with '*' in quotes"),
        ("- job:\n    a: [timed: * * * * *]", "put a value that begins with '*', such as a timer"),
        ("- job:\n    name: {p}-x", "put a value that begins with '{', '[' or a quote"),
        ("- job:\n    description: a: b", "put a text with ': ' in it in quotes"),
        ("- &a\n  job: *a", "is inside itself"),
    ],
)
def test_a_yaml_error_has_its_place_and_a_hint(write: Write, text, said) -> None:
    message = refusal(write(text))
    assert message.startswith("jobs/jobs.yaml")
    assert said in message


def test_a_timer_needs_no_quotes(write: Write) -> None:
    folder = write("""
        - job: {name: a, project-type: pipeline, dsl: x, triggers: [timed: H/5 * * * *]}
    """)
    assert findings(folder) == []
    assert "<spec>H/5 * * * *</spec>" in render(folder).jobs["a"]
