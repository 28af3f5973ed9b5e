"""mlPipeline runs the stages of plug-ins in the places that their records name."""

from __future__ import annotations

from typing import Any

import pytest
from ml_pipeline.stages.facts import facts_of
from ml_pipeline.stages.record import NoFlags, Stage, flag_set, switch_flag

from tests.jenkins.conftest import TEMPLATE, Deliver, Package
from tests.jenkins.test_agent import ADMINISTRATORS, ENGINE, HOME, containers
from tests.jenkins.test_delivery import AFTER_GATE, CHECKS, QUICK, TO_GATE


@flag_set
class AuditFlags:
    sample: bool = switch_flag("audit a sample of the rows")


def plug_in(name: str, **record: Any) -> Stage:
    summary = {"summary": "audit", "fails_when": "the audit finds a fault"}
    return Stage(name=name, **(summary | record))


LICENCES = plug_in("licences", phase="check", after="lint", ci=NoFlags())
AUDIT = plug_in(
    "bias-audit",
    phase="delivery",
    after="evaluate",
    flags=AuditFlags,
    ci=AuditFlags(sample=True),
    stashes=("bias-audit/*",),
    credentials=("dataPassword",),
)
PROBE = plug_in("probe", phase="delivery", after="deploy", environment=True, engine=True, ci=None)
ANNOUNCE = plug_in("announce", phase="promotion", after="promote", home=True)
DRIFT = plug_in("drift", phase="on demand")


@pytest.fixture
def installed(package: Package) -> Package:
    """A package with plug-ins of every phase."""
    stages = (LICENCES, AUDIT, PROBE, ANNOUNCE, DRIFT)
    package.stages = {stage.name: facts_of(stage) for stage in stages}
    return package


def behind(stages: list[str], earlier: str, added: str) -> list[str]:
    place = stages.index(earlier) + 1
    return [*stages[:place], added, *stages[place:]]


def with_arguments(arguments: str) -> str:
    return TEMPLATE.replace(")\n", f", {arguments})\n")


def listings(build: Any) -> int:
    return sum("stages --json" in str(step.arguments) for step in build.calls("sh"))


def test_a_delivery_runs_each_behind_the_stage_that_it_follows(
    deliver: Deliver, installed: Package
) -> None:
    build = deliver(restart_everywhere=True)
    assert build.result == "SUCCESS", build.text
    assert sorted(installed.verbs[:2]) == CHECKS
    delivered = behind(behind(TO_GATE, "evaluate", "bias-audit"), "deploy staging", "probe staging")
    promoted = behind(list(AFTER_GATE), "promote", "announce")
    assert installed.verbs[2:] == ["licences", *delivered, *promoted]
    assert "sample" not in installed.flags("bias-audit")
    names = "licences, bias-audit, probe staging, announce"
    assert build.text.count(f"mlPipeline: stages of plug-ins in this build: {names}\n") == 1
    assert listings(build) == 1


def test_a_pull_request_runs_those_of_ci_with_their_flags(
    deliver: Deliver, installed: Package
) -> None:
    build = deliver(branch="PR-7", answers=[])
    assert build.result == "SUCCESS", build.text
    model = [verb for verb in installed.verbs if verb not in CHECKS]
    assert model == ["licences", *behind(QUICK, "evaluate", "bias-audit")]
    assert installed.flags("bias-audit")["sample"] is True
    assert listings(build) == 1


def test_a_failed_one_ends_the_delivery(deliver: Deliver, installed: Package) -> None:
    installed.outcomes["bias-audit"] = {"code": 1, "summary": "5 findings"}
    build = deliver()
    assert build.result == "FAILURE"
    assert build.description == "bias-audit: 5 findings"
    assert installed.verbs[-1] == "bias-audit"


def test_its_credentials_are_bound_around_it_and_its_files_are_stashed(
    deliver: Deliver, installed: Package
) -> None:
    build = deliver(
        with_arguments("credentials: [dataPassword: 'db']"), credentials={"db": {"secret": "hush"}}
    )
    assert build.result == "SUCCESS", build.text
    environments = dict(zip(installed.verbs, (c.environment for c in installed.calls), strict=True))
    assert environments["bias-audit"]["ML_DATA_PASSWORD"] == "hush"
    assert "ML_DATA_PASSWORD" not in environments["announce"]
    stash = next(s for s in build.calls("stash") if s.arguments["name"].endswith("-bias-audit"))
    assert "build/ml/bias-audit/*" in stash.arguments["includes"]


def test_one_that_reaches_servers_has_a_container_with_the_engine(
    deliver: Deliver, package: Package
) -> None:
    first = plug_in("preflight", phase="delivery", after="test", engine=True)
    package.stages = {"preflight": facts_of(first)}
    build = deliver(env=ADMINISTRATORS, agents={"one": ["docker"]})
    assert build.result == "SUCCESS", build.text
    assert package.verbs[2:] == ["preflight", *TO_GATE, *AFTER_GATE]
    assert containers(build)[2:5] == [HOME, ENGINE, HOME]
    assert listings(build) == 1


def test_nothing_of_the_promotion_runs_where_the_gate_refuses(
    deliver: Deliver, installed: Package
) -> None:
    installed.outcomes["gate"] = 1
    build = deliver()
    assert build.result == "SUCCESS"
    assert installed.verbs[-1] == "gate"


def test_a_rejected_version_runs_nothing_behind_promote(
    deliver: Deliver, installed: Package
) -> None:
    build = deliver(answers=[{"input": "*", "by": "alice", "do": "reject"}])
    assert build.result == "ABORTED"
    assert "announce" not in installed.verbs


def test_a_dry_run_runs_none_of_the_promotion(deliver: Deliver, installed: Package) -> None:
    build = deliver(with_arguments("dryRun: true"))
    assert build.result == "SUCCESS", build.text
    assert "announce" not in installed.verbs


def test_a_stage_may_be_switched_off_or_given_arguments(
    deliver: Deliver, installed: Package
) -> None:
    stages = "stages: ['bias-audit': [sample: true, image: 'audit:2'], licences: false]"
    hooks = "before: ['bias-audit': [notes: { echo 'our own' }]]"
    build = deliver(with_arguments(f"{stages}, {hooks}"))
    assert build.result == "SUCCESS", build.text
    assert installed.flags("bias-audit")["sample"] is True
    assert "licences" not in installed.verbs
    assert "our own" in build.console
    assert any("audit:2" in str(s.arguments) for s in build.calls("withDockerContainer"))
    assert listings(build) == 1


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ("'bias-adit': false", "stages: no stage 'bias-adit'; did you mean 'bias-audit'?"),
        ("'bias-audit': [sampel: true]", "unknown argument 'sampel'; did you mean 'sample'?"),
        ("drift: [environment: 'production']", "stages: no stage 'drift'"),
    ],
)
def test_wrong_arguments_are_refused_before_any_stage_runs(
    deliver: Deliver, installed: Package, stages: str, message: str
) -> None:
    build = deliver(with_arguments(f"stages: [{stages}]"))
    assert build.result == "FAILURE"
    assert message in (build.description or "")
    assert installed.verbs == []


def test_a_package_that_lists_no_stages_ends_the_build(deliver: Deliver, package: Package) -> None:
    package.stages = None
    build = deliver()
    assert build.result == "FAILURE"
    assert "mlPipeline: ml-pipeline stages --json failed on this agent" in (build.description or "")
    assert not {"train", "register"} & set(package.verbs)


def test_a_name_that_is_not_one_word_reaches_no_shell(deliver: Deliver, package: Package) -> None:
    facts = facts_of(AUDIT) | {"stage": "audit; id"}
    package.stages = {"audit; id": facts}
    build = deliver()
    assert build.result == "FAILURE"
    assert "'audit; id' is no name of a stage" in (build.description or "")
    assert not [step for step in build.calls("sh") if "audit" in step.arguments["script"]]
