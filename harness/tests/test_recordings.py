"""Replays the recorded consoles of real Jenkins controllers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pytest_jenkinsfile import Answer, Build, Jenkins, Prompt, scenario

from . import replay
from .conftest import CREDENTIALS, HERE

FORM = {"REASON": "because", "LEVEL": "two"}


def form(prompt: Prompt) -> Answer:
    """What alice sends: the fields of FORM that the prompt asks for."""
    asked = {about["name"] for parameter in prompt.parameters for about in parameter.values()}
    return Answer(by="alice", values={name: FORM[name] for name in FORM if name in asked})


def odd_form(prompt: Prompt) -> Answer:
    """Nothing but the reason for Five; Six and Seven first get what they do not take."""
    odd = {"Five": {"REASON": "because"}, "Six": {"LEVEL": "three"}, "Seven": {"NOT_ASKED": "x"}}
    return Answer(by="alice", values={} if prompt.attempt else odd.get(prompt.id or "", {}))


def user(name: str) -> dict[str, str]:
    return scenario.causes("user", name, None)[0]


CAUSES = {
    "replay": scenario.causes("replay", "admin", None)[1],
    "restart": scenario.causes("restart", "alice", None, stage="two")[1],
}
OPTIONS: dict[str, dict[str, Any]] = {
    "agents-and-workspaces": {"builds": 2},
    "background-process": {"builds": 2},
    "input-aborted": {
        "answers": [
            {"input": "One", "by": "carol", "after": 1},
            {"input": "One", "by": "alice", "do": "reject", "after": 1},
            {"input": "Two", "by": "carol", "do": "abort", "after": 1},
        ]
    },
    "input-declarative": {"answers": form},
    "input-in-lock-and-timeout": {"answers": [{"do": "ignore"}]},
    "input-names": {"answers": form},
    "input-proceed-empty": {"answers": odd_form},
    "input-rejected": {"answers": [{"by": "alice", "do": "reject"}]},
    "input-returns": {"answers": form},
    "input-texts": {"answers": form},
    "input-timeout": {"answers": [{"do": "ignore"}]},
    "input-two-parallel": {
        "answers": [
            {"input": "B", "by": "bob", "after": 5},
            {"input": "A", "by": "alice", "do": "reject", "after": 6},
            {"input": "A", "by": "alice", "do": "reject", "after": 7},
        ]
    },
    "killed-in-sh": {"restart_everywhere": True},
    "library-causes-in-sandbox": {"sandbox": True},
    "milestone-overtaken": {"starts": [0, 2, 100]},
    "options-and-concurrency": {"starts": [0, 5]},
    "parameters-second-build": {"builds": 2},
    "params-and-env": {"builds": 2},
    "post-order-success": {"builds": 2},
    "retrain-cause": {"sandbox": False},
    "replayed": {
        "builds": 2,
        "started_by": "carol",
        "cause": [user("admin"), CAUSES["replay"]],
        "replay_with": replay.script("replayed").read_text().replace("'original'", "'replayed'"),
    },
    "restart-at-stage": {
        "builds": 2,
        "started_by": "carol",
        "restart_from": "two",
        "cause": [user("alice"), CAUSES["restart"]],
    },
    "sandbox": {"sandbox": True},
    "sh-ended": {"clock": "real"},
    "values-over-restart": {"answers": form, "restart_everywhere": True},
}
SECOND_ROUND: dict[str, Any] = {
    "agents": {"plain1": ["linux"]},
    "executors": 8,
    "library": {"probe-lib": replay.RECORDINGS / "library-at-run-time.library"},
    "implicit": False,
    "plugins": ["pipeline-utility-steps", "htmlpublisher", "checks-api"],
    "restart_everywhere": False,
}
SHORTER = (
    ("time: %s", "time: 30"),
    ("sleep 12; echo ended", "sleep 1; echo ended"),
    ("sleep 20; echo done", "sleep 1; echo done"),
    ('echo "$X $i" | cat', 'echo "$X $i"'),  # two processes write their traces at once
    (
        "timeout(time: 3, unit: 'SECONDS') { waitUntil",
        "timeout(time: 1800, unit: 'MILLISECONDS') { waitUntil",
    ),
)
BESIDE = {
    "junit-and-archive": (
        r"No test report files were found",
        "the agent sent this line late, into the output of another step",
    ),
    "killed-in-sh": (
        r"Timeout set to expire in 9 min 2 sec",
        "printed again after the restart, which takes no time here",
    ),
    "sh-ended": (r"got TERM", "the controller read the output no more when the trap printed it"),
    "sh-more": (
        r"^(true|false)$",
        "both processes of a pipe trace their command at once, so that the two lines may mix",
    ),
    "timeout-more": (
        r"Cancelling nested steps due to timeout",
        "printed by another thread: among three tries of a second each it came early",
    ),
    "wait-until": (
        r"Cancelling nested steps|Timeout set to expire in (3|1\.8) sec",
        "a round takes no time here, so the limit is shorter for as many rounds",
    ),
    "values-over-restart": (
        r"Timeout set to expire in 18 min",
        "printed again after the restart, which takes no time here",
    ),
}
NAMES = sorted(path.stem for path in replay.RECORDINGS.glob("*.jenkinsfile"))


def replay_builds(name: str, jenkins: Jenkins) -> list[Build]:
    """Run a script in the circumstances of its recording."""
    options: dict[str, Any] = {"approve_as": "alice", "restart_everywhere": True, "clock": "jump"}
    if replay.recording(name)["jenkins"] != "2.568.2":
        options |= SECOND_ROUND | {"job": f"probe-{name}"}
    options |= OPTIONS.get(name, {})
    text = replay.script(name).read_text(encoding="utf-8")
    for text_part, shorter in SHORTER:
        text = text.replace(text_part, shorter)
    build = jenkins.run(
        text + "\n",
        mode="live",
        cps_mismatches="warn",
        credentials=CREDENTIALS,
        **options,
    )
    builds = list(build.builds)
    if name == "agents-and-workspaces":  # the recorded one found files of earlier builds
        builds = builds[1:]
    return builds


@pytest.mark.parametrize("name", NAMES)
def test_replays(name: str, jenkins: Jenkins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{HERE / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("USER", "jenkins")
    builds = replay_builds(name, jenkins)
    recorded = replay.recorded(name)
    assert len(builds) == len(recorded)
    for own, real in zip(builds, recorded, strict=True):
        assert replay.difference(own, real, BESIDE.get(name, ("", ""))[0]) == ""


def test_polls_as_recorded(jenkins: Jenkins) -> None:
    build = jenkins.run(replay.script("wait-until").read_text(encoding="utf-8") + "\n")
    (real,) = replay.recorded("wait-until")
    assert build.result == real["result"]
    ours, theirs = (
        [replay.normal(lines[at]) for at in replay.compared_lines(lines)]
        for lines in (build.console, real["console"])
    )
    polled, ended = "Will try again after 0.43 sec", "Cancelling nested steps due to timeout"
    for lines in (ours, theirs):
        del lines[lines.index(polled) : lines.index("[Pipeline] …/ waitUntil", lines.index(ended))]
    assert ours == theirs


def test_a_difference_is_detected(jenkins: Jenkins) -> None:
    build = jenkins.run("node { echo 'one'; echo 'two' }")
    same = {"result": build.result, "console": list(build.console)}
    swapped = {"result": build.result, "console": list(build.console)}
    one, two = swapped["console"].index("one"), swapped["console"].index("two")
    swapped["console"][one], swapped["console"][two] = "two", "one"
    assert replay.difference(build, same) == ""
    assert "'one'" in replay.difference(build, swapped)
    assert "result" in replay.difference(build, {**same, "result": "FAILURE"})


def test_lines_of_parallel_branches_can_interleave_in_order() -> None:
    block = [("a1", "a"), ("a2", "a"), ("b1", "b")]
    assert replay.interleaved(("a1", "b1", "a2"), block)
    assert not replay.interleaved(("a2", "a1", "b1"), block)
    assert not replay.interleaved(("a1", "a2"), block)


@pytest.mark.parametrize("name", ["docker-agent", "docker-inside"])
def test_docker_gets_the_arguments_that_jenkins_passes(
    name: str, jenkins: Jenkins, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    monkeypatch.setenv("PATH", f"{HERE / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_CALLS", str(calls))
    jenkins.run(replay.script(name), mode="live", restart_everywhere=True)
    recorded = replay.docker_calls(name)
    ours = calls.read_text(encoding="utf-8").splitlines()
    assert [replay.verb(call) for call in ours] == [
        replay.verb(call) for call in recorded if not call.startswith("docker -v")
    ]
