"""The whole delivery, by the explicit Jenkinsfile and by the template."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from ml_pipeline.stages.table import RUNS

from tests.jenkins.conftest import EXPLICIT, ROOT, TEMPLATE, Deliver, Package, trace

BOTH = pytest.mark.parametrize("script", [EXPLICIT, TEMPLATE], ids=["explicit", "template"])
CHECKS = ["lint", "test"]
AFTER_GATE = ("approve", "promote", "watch")
TO_GATE = [
    f"{stage} {env or ''}".strip() for stage, env, _ in RUNS["cd"] if stage not in AFTER_GATE
]
QUICK = [stage for stage, _, _ in RUNS["ci"] if stage not in CHECKS]


@BOTH
def test_main_approved_ends_in_production_with_a_restart_at_every_step(
    deliver: Deliver, package: Package, script: str
) -> None:
    build = deliver(script, restart_everywhere=True)
    assert build.result == "SUCCESS"
    assert sorted(package.verbs[:2]) == CHECKS
    assert package.verbs[2:] == [*TO_GATE, *AFTER_GATE]
    assert build.description == "version 7 is in production: http://127.0.0.1:8000"
    assert package.flags("approve") | {"run_id": ""} == {
        "run_id": "",
        "project": ".",
        "by": "alice",
        "reason": "it is better",
        "expect_version": 7,
    }
    assert package.flags("promote")["expect_version"] == 7


def test_all_stages_of_a_build_are_one_run(deliver: Deliver, package: Package) -> None:
    deliver()
    assert len({given["run_id"] for _, given in package.arguments}) == 1


@pytest.mark.parametrize("branch", ["main", "PR-7", "feature/x", "release/1.0"])
def test_both_call_the_same_steps(deliver: Deliver, branch: str) -> None:
    traces = []
    for script in (EXPLICIT, TEMPLATE):
        build = deliver(script, branch=branch)
        assert build.result == "SUCCESS"
        calls = trace(build)
        # lint, test and the quick model run beside each other: their order is chance
        traces.append(calls if branch in ("main", "release/1.0") else sorted(map(str, calls)))
    assert traces[0] == traces[1]


@BOTH
def test_a_pull_request_is_green_and_touches_nothing(
    deliver: Deliver, package: Package, script: str
) -> None:
    build = deliver(script, branch="PR-7", answers=[], restart_everywhere=True)
    assert build.result == "SUCCESS"
    assert build.description == "evaluate ended with 0"
    assert sorted(package.verbs) == sorted([*CHECKS, *QUICK])
    assert package.flags("validate-data")["ci_data"] is True
    assert package.flags("train")["quick"] is True
    assert not build.calls("input")
    assert not build.calls("lock")


def test_a_fork_needs_no_credential(deliver: Deliver, package: Package) -> None:
    build = deliver(branch="PR-7", fork="stranger", credentials={})
    assert build.result == "SUCCESS"
    assert not build.calls("withCredentials")


def test_a_pull_request_is_given_no_credential_of_the_delivery(deliver: Deliver) -> None:
    script = TEMPLATE.replace(")\n", ", credentials: [dataPassword: 'db'])\n")
    build = deliver(script, branch="PR-7", credentials={"db": {"secret": "hush"}})
    assert build.result == "SUCCESS"
    assert not build.calls("withCredentials")


def test_a_version_tag_is_delivered(deliver: Deliver, package: Package) -> None:
    assert deliver(branch=None, tag="v1.2").result == "SUCCESS"
    assert package.verbs[-1] == "watch"


@pytest.mark.parametrize("name", ["mainly", "feature/main", "release"])
def test_only_whole_names_deliver(deliver: Deliver, package: Package, name: str) -> None:
    assert deliver(branch=name).result == "SUCCESS"
    assert "register" not in package.verbs


def test_a_job_without_a_branch_delivers_nothing(deliver: Deliver, package: Package) -> None:
    assert deliver(branch=None).result == "SUCCESS"
    assert "register" not in package.verbs


def test_branches_and_tags_are_chosen_by_pattern(deliver: Deliver, package: Package) -> None:
    script = "@Library('ml-pipeline') _\nmlPipeline(project: 'examples/nepse', branches: 'prod-*')"
    deliver(script, branch="main")
    assert "register" not in package.verbs
    deliver(script, branch="prod-1")
    assert package.verbs[-1] == "watch"


@BOTH
def test_the_prompt_holds_no_executor_and_no_lock(deliver: Deliver, script: str) -> None:
    build = deliver(script)
    console = build.console[: build.console.index("[Pipeline] input")]
    for step in ("node", "lock"):
        assert console.count(f"[Pipeline] {step}") == console.count(f"[Pipeline] // {step}") > 0


@BOTH
def test_the_promotion_is_locked_and_the_milestone_lies_inside(
    deliver: Deliver, script: str
) -> None:
    names = [step.name for step in deliver(script).steps]
    assert names.index("input") < len(names) - 1 - names[::-1].index("lock")
    last = names[len(names) - 1 - names[::-1].index("lock") :]
    assert last[:2] == ["lock", "milestone"]
    assert "mlPromote" in last
    locks = [str(step.arguments) for step in deliver(script).calls("lock")]
    assert [
        "ml-nepse-direction-staging" in locks[0],
        "ml-nepse-direction-production" in locks[1],
    ] == [True, True]


@BOTH
@pytest.mark.parametrize("stage", ["lint", "test", *[s.split()[0] for s in TO_GATE if s != "gate"]])
def test_a_failed_stage_is_red_and_ends_the_delivery(
    deliver: Deliver, package: Package, script: str, stage: str
) -> None:
    package.outcomes[stage] = 1
    build = deliver(script)
    assert build.result == "FAILURE"
    assert f"{stage} ended with 1" in (build.description or "")
    assert not {"approve", "promote", "watch"} & set(package.verbs)
    assert "input" not in {step.name for step in build.steps}
    name = f"{stage}-staging" if f"{stage} staging" in TO_GATE else stage
    assert f"examples/nepse/build/ml/reports/{name}.json" in build.artifacts


@BOTH
def test_a_pull_request_is_red_where_a_stage_fails(
    deliver: Deliver, package: Package, script: str
) -> None:
    package.outcomes["evaluate"] = 1
    build = deliver(script, branch="PR-7")
    assert build.result == "FAILURE"
    assert "package" not in package.verbs


def test_a_promotion_that_was_reverted_is_red(deliver: Deliver, package: Package) -> None:
    package.outcomes["promote"] = {
        "code": 1,
        "summary": "production is unhealthy; version 6 serves again",
    }
    build = deliver()
    assert build.result == "FAILURE"
    assert build.description == "promote: production is unhealthy; version 6 serves again"


def test_a_champion_that_moved_during_the_wait_is_not_overwritten(
    deliver: Deliver, package: Package
) -> None:
    package.outcomes["promote"] = {"code": 1, "summary": "the champion moved since the comparison"}
    build = deliver()
    assert build.result == "FAILURE"
    assert "the champion moved" in (build.description or "")


@BOTH
def test_the_gate_fails_and_the_champion_stays(
    deliver: Deliver, package: Package, script: str
) -> None:
    package.outcomes["gate"] = {"code": 1, "summary": "not proved: +0.001 [-0.01, +0.02]"}
    build = deliver(script)
    assert build.result == "SUCCESS"
    assert build.description == "champion kept: not proved: +0.001 [-0.01, +0.02]"
    assert package.verbs[-1] == "gate"


@pytest.mark.parametrize(
    ("kept", "result"), [("success", "SUCCESS"), ("unstable", "UNSTABLE"), ("failure", "FAILURE")]
)
@pytest.mark.parametrize("verdict", ["fail", "inconclusive"])
def test_the_user_chooses_how_a_build_ends_that_kept_the_champion(
    deliver: Deliver, package: Package, kept: str, result: str, verdict: str
) -> None:
    package.outcomes["gate"] = {"code": 1, "verdict": verdict}
    build = deliver(
        f"@Library('ml-pipeline') _\nmlPipeline(project: 'examples/nepse', whenKept: '{kept}')"
    )
    assert build.result == result
    assert (build.description or "").startswith("champion kept: ")


@pytest.mark.parametrize(
    "answer", [5, {"code": 1, "verdict": "error"}, {"code": 1, "writes": False}, 3, 2]
)
def test_a_gate_that_crashed_fails_the_build(
    deliver: Deliver, package: Package, answer: object
) -> None:
    package.outcomes["gate"] = answer  # type: ignore[assignment]
    build = deliver()
    assert build.result == "FAILURE"
    assert "champion kept" not in build.text
    assert not build.calls("input")


@BOTH
def test_an_unchanged_model_needs_no_approval_and_the_champion_is_checked(
    deliver: Deliver, package: Package, script: str
) -> None:
    package.outcomes["gate"] = {
        "metrics": {"nothing_to_promote": True},
        "summary": "nothing to promote: version 7 is the champion already",
    }
    package.outcomes["promote"] = "nothing to promote: version 7 is the champion; its server is up"
    build = deliver(script)
    assert build.result == "SUCCESS"
    assert build.description == "nothing to promote: version 7 is the champion; its server is up"
    assert package.verbs[-3:] == ["gate", "promote", "watch"]
    assert "expect_version" not in package.flags("promote")
    assert not build.calls("input")


def test_a_dry_run_goes_through_everything_and_changes_nothing(
    deliver: Deliver, package: Package
) -> None:
    for build in (
        deliver("@Library('ml-pipeline') _\nmlPipeline(project: 'examples/nepse', dryRun: true)"),
        deliver(EXPLICIT, parameters={"DRY_RUN": True}),
    ):
        assert build.result == "SUCCESS"
        assert [step for step, _ in trace(build)][2:] == [
            "mlValidateData",
            "mlTrain",
            "mlEvaluate",
            "mlPackage",
            "mlRegister",
            "mlDeploy",
            "mlVerify",
            "mlLoadTest",
            "mlShadow",
            "mlGate",
        ]
        assert "mlRegister: dry run: nothing outside the build was changed" in build.echoes
    outside = {
        "register",
        "deploy",
        "verify",
        "load-test",
        "shadow",
        "gate",
        "approve",
        "promote",
        "watch",
    }
    assert not outside & {verb for verb, _ in package.arguments}


@BOTH
@pytest.mark.parametrize("cause", ["replay", "restart"])
def test_a_replayed_or_restarted_build_never_promotes(
    deliver: Deliver, package: Package, script: str, cause: str
) -> None:
    build = deliver(script, cause=cause)
    assert build.result == "SUCCESS"
    assert package.verbs[-1] == "gate"
    assert not build.calls("input")


@pytest.mark.parametrize(
    ("cause", "message"), [("replay", "replayed"), ("restart", "restarted at a stage")]
)
def test_promote_fails_in_a_replayed_or_restarted_build(
    deliver: Deliver, package: Package, cause: str, message: str
) -> None:
    build = deliver("@Library('ml-pipeline') _\nmlPromote(project: 'examples/nepse')", cause=cause)
    assert build.result == "FAILURE"
    assert f"this build was {message}, and such a build never promotes" in build.text
    assert not package.calls


def test_a_restart_at_the_stage_promote_promotes_nothing(
    deliver: Deliver, package: Package
) -> None:
    build = deliver(EXPLICIT, cause="restart", restart_from="promote")
    assert build.result == "SUCCESS"
    assert not package.calls


def test_the_retrain_that_a_timer_starts_is_a_delivery(deliver: Deliver, package: Package) -> None:
    assert deliver(cause="timer").result == "SUCCESS"
    assert package.verbs[-1] == "watch"


def test_data_that_only_makes_a_build_unstable_is_delivered_nowhere(
    deliver: Deliver, package: Package
) -> None:
    """A Jenkinsfile in which bad data makes the build unstable."""
    package.outcomes["validate-data"] = 1
    script = """@Library('ml-pipeline') _
    pipeline {
        agent any
        options { skipStagesAfterUnstable() }
        environment { ML_PROJECT = 'examples/nepse' }
        stages {
            stage('data') {
                steps {
                    catchError(buildResult: 'UNSTABLE', stageResult: 'UNSTABLE') {
                        mlValidateData()
                    }
                }
            }
            stage('train') {
                steps { mlTrain() }
            }
        }
    }
    """
    build = deliver(script)
    assert build.result == "UNSTABLE"
    assert build.description == "validate-data: validate-data ended with 1"
    assert package.verbs == ["validate-data"]


@BOTH
def test_an_older_build_of_a_pull_request_is_ended(
    deliver: Deliver, package: Package, script: str
) -> None:
    build = deliver(script, branch="PR-7", starts=[0, 2])
    assert [one.result for one in build.builds] == ["NOT_BUILT", "SUCCESS"]


def test_the_first_build_of_a_branch_has_no_parameters(deliver: Deliver, package: Package) -> None:
    build = deliver(branch="feature/new", parameters={})
    assert build.result == "SUCCESS"
    assert not [line for line in build.echoes if "null" in line]


@BOTH
def test_reports_and_tests_of_every_stage_are_published(deliver: Deliver, script: str) -> None:
    build = deliver(script)
    assert {
        f"examples/nepse/build/ml/reports/{name.replace(' ', '-')}.json"
        for name in [*CHECKS, *TO_GATE, *AFTER_GATE]
    } == set(build.artifacts)
    assert len(build.calls("junit")) == len(build.artifacts)


def test_builds_are_kept_for_a_while(deliver: Deliver) -> None:
    assert "30" in str(deliver().properties)
    assert "7" in str(
        deliver(
            "@Library('ml-pipeline') _\nmlPipeline(project: 'examples/nepse', keep: 7)"
        ).properties
    )


def test_the_worked_example_is_a_repository_of_its_own(
    deliver: Deliver, package: Package, tmp_path: Path
) -> None:
    left = shutil.ignore_patterns("build", ".*cache", ".ml", "__pycache__")
    copied = shutil.copytree(ROOT / "examples/nepse", tmp_path / "nepse", ignore=left)
    files = [path for path in copied.rglob("*") if path.is_file() and path.suffix != ".csv"]
    assert not [path for path in files if "examples/nepse" in path.read_text(errors="replace")]
    build = deliver((copied / "Jenkinsfile").read_text(), scm=copied)
    assert build.result == "SUCCESS"
    assert {given["project"] for _, given in package.arguments} == {"."}
    assert {(call.cwd / "ml.yaml").is_file() for call in package.calls} == {True}
