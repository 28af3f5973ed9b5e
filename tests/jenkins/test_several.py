"""Several models in one build, one after the other and in parallel."""

from __future__ import annotations

from typing import Any

import pytest

from tests.jenkins.conftest import Deliver, Package

LIBRARY = "@Library('ml-pipeline') _\n"
SCM = {f"{name}/ml.yaml": f"project: {name}\n" for name in ("churn", "loans")}
CALLS = {
    "sequence": "mlPipeline(project: 'churn')\nmlPipeline(project: 'loans')",
    "parallel": "parallel(churn: { mlPipeline(project: 'churn') }, "
    "loans: { mlPipeline(project: 'loans') })",
}
ANSWERS = [
    {"input": name, "by": "alice", "values": {"REASON": "better"}}
    for name in ("Promote", "Promote-churn", "Promote-loans")
]
HOW = pytest.mark.parametrize("how", CALLS)


class Models(Package):
    """The name of the model in its reports is that of the folder it runs in."""

    def __call__(self, call: Any) -> Any:
        self.model = call.cwd.name
        return super().__call__(call)

    def report(self, *answer: Any) -> dict[str, Any]:
        return super().report(*answer) | {"model": {"name": self.model, "version": 7}}


@pytest.fixture
def package() -> Models:
    return Models()


def deliver_both(deliver: Deliver, how: str, **options: Any) -> Any:
    answers = [{"input": "*", "by": "alice", "values": {"REASON": "better"}}]
    return deliver(LIBRARY + CALLS[how], scm=SCM, **({"answers": answers} | options))


@HOW
def test_both_models_go_to_production(deliver: Deliver, package: Models, how: str) -> None:
    build = deliver_both(deliver, how)
    assert build.result == "SUCCESS", build.text
    assert package.verbs.count("promote") == 2
    line = "version 7 is in production: http://127.0.0.1:8000"
    assert build.description == f"churn: {line}; loans: {line}"
    assert {name.split("/")[0] for name in build.artifacts} == {"churn", "loans"}
    locks = {str(step.arguments.get("resource") or step.arguments) for step in build.calls("lock")}
    for name in ("ml-churn-production", "ml-loans-production", "ml-churn-staging"):
        assert any(name in lock for lock in locks)


def test_prompts_of_two_models_have_names_of_their_own(deliver: Deliver) -> None:
    build = deliver_both(deliver, "parallel")
    assert sorted(step.arguments["id"] for step in build.calls("input")) == [
        "Promote-churn",
        "Promote-loans",
    ]


@HOW
def test_a_branch_with_two_models(deliver: Deliver, package: Models, how: str) -> None:
    build = deliver_both(deliver, how, branch="PR-7", restart_everywhere=how == "parallel")
    assert build.result == "SUCCESS", build.text
    assert package.verbs.count("evaluate") == 2
    assert build.description == "churn: evaluate ended with 0; loans: evaluate ended with 0"


def test_the_files_of_two_models_are_kept_apart(deliver: Deliver, package: Models) -> None:
    build = deliver_both(deliver, "parallel")
    names = [step.arguments["name"] for step in build.calls("stash")]
    assert len({name for name in names if name.endswith("-train")}) == 2
    assert build.result == "SUCCESS"


@HOW
def test_a_failure_names_its_model_first(deliver: Deliver, package: Models, how: str) -> None:
    package.outcomes["gate"] = [
        {"code": 0},
        {"code": 1, "verdict": "error", "summary": "it crashed"},
    ]
    build = deliver_both(deliver, how)
    assert build.result == "FAILURE"
    assert (build.description or "").split(": ")[1:3] == [
        "gate",
        "it crashed; " + ("churn" if (build.description or "").startswith("loans") else "loans"),
    ]


def test_an_older_delivery_of_two_models_is_ended(deliver: Deliver, package: Models) -> None:
    answers = [
        {"input": "*", "do": "ignore", "build": 1},
        {"input": "*", "by": "alice", "values": {"REASON": "newer"}, "build": 2},
    ]
    build = deliver_both(deliver, "sequence", starts=[0, 1], answers=answers)
    assert [one.result for one in build.builds] == ["NOT_BUILT", "SUCCESS"]
    assert package.verbs.count("promote") == 2


def test_one_model_twice_at_a_time_is_refused_before_anything_runs(
    deliver: Deliver, package: Models
) -> None:
    call = "mlPipeline(project: 'churn')"
    build = deliver(f"{LIBRARY}parallel(a: {{ {call} }}, b: {{ {call} }})", scm=SCM)
    assert build.result == "FAILURE"
    message = "mlPipeline: this build delivers the project 'churn' at this moment; give each model"
    assert message in build.text


def test_one_model_twice_one_after_the_other(deliver: Deliver, package: Models) -> None:
    call = "mlPipeline(project: 'churn')"
    build = deliver(f"{LIBRARY}{call}\n{call}", scm=SCM)
    assert build.result == "SUCCESS", build.text
    assert package.verbs.count("promote") == 2


def test_a_model_that_does_not_deliver_beside_one_that_does(
    deliver: Deliver, package: Models
) -> None:
    calls = "mlPipeline(project: 'churn', branches: 'prod')\nmlPipeline(project: 'loans')"
    for script in (calls, "\n".join(reversed(calls.splitlines()))):
        package.arguments.clear()
        build = deliver(LIBRARY + script, scm=SCM, builds=2)
        assert build.result == "SUCCESS", build.text
        assert package.verbs.count("promote") == 2
