"""What a real Jenkins printed for small scripts, printed again by the harness."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.jenkinsfile import Jenkins
from tests.jenkinsfile import replay
from tests.jenkinsfile.conftest import CREDENTIALS, HERE

# The agent of the second round of recordings.
ROUND_TWO: dict[str, Any] = {"agents": {"plain1": ["linux"]}, "executors": 8}
FORM = {"REASON": "because", "LEVEL": "two"}
OPTIONS: dict[str, dict[str, Any]] = {
    "agent-labels": {**ROUND_TWO, "job": "probe-agent-labels"},
    "agents-and-workspaces": {"builds": 2},
    # An iterator is held over `echo`, a static over `sleep 0`: nothing waits, neither is saved.
    "groovy-more": {"restart_everywhere": False},
    "input-declarative": {"answers": [{"by": "alice", "values": FORM}]},
    "input-rejected": {"answers": [{"by": "alice", "do": "reject"}]},
    "input-returns": {"answers": [{"by": "alice", "values": FORM}]},
    "input-timeout": {"answers": [{"do": "ignore"}]},
    "library-causes-in-sandbox": {"sandbox": True},
    "matrix-small": ROUND_TWO,
    "milestone-overtaken": {"starts": [0, 2, 100]},
    "parameters-second-build": {"builds": 2},
    "post-order-success": {"builds": 2},
    "sandbox": {"sandbox": True},
    "when-and-agents": ROUND_TWO,
}
LEFT_OUT = {
    "wait-until": "how often Jenkins polled within 3 s depends on how long each poll took; what "
    "comes before and after is compared (test_polls_as_recorded)",
    "object-method-in-steps": "Jenkins finds a second error, in the type of an argument, which the "
    "harness does not check; the first one is compared (test_declarative_syntax)",
}
NAMES = sorted(path.stem for path in replay.RECORDINGS.glob("*.jenkinsfile"))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in LEFT_OUT])
def test_replays(name: str, jenkins: Jenkins, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{HERE / 'bin'}{os.pathsep}{os.environ['PATH']}")
    options = {"approve_as": "alice", "restart_everywhere": True, **OPTIONS.get(name, {})}
    text = replay.script(name).read_text(encoding="utf-8")
    build = jenkins.run(
        text.replace("time: %s", "time: 30").replace("sleep 12; echo ended", "sleep 1; echo ended")
        + "\n",
        mode="live",
        clock="jump",
        mismatches="warn",
        credentials=CREDENTIALS,
        **options,
    )
    builds = list(build.builds)
    if name == "agents-and-workspaces":  # the recorded one found files of earlier builds
        builds = builds[1:]
    recorded = replay.recorded(name)
    assert len(builds) == len(recorded)
    for own, real in zip(builds, recorded, strict=True):
        assert replay.difference(own, real) == ""


def test_polls_as_recorded(jenkins: Jenkins) -> None:
    build = jenkins.run(replay.script("wait-until").read_text(encoding="utf-8") + "\n")
    (real,) = replay.recorded("wait-until")
    assert build.result == real["result"]
    ours, theirs = (
        [replay.normal(lines[at]) for at in replay.meant(lines)]
        for lines in (build.console, real["console"])
    )
    polled, ended = "Will try again after 0.43 sec", "Cancelling nested steps due to timeout"
    for lines in (ours, theirs):
        del lines[lines.index(polled) : lines.index("[Pipeline] …/ waitUntil", lines.index(ended))]
    assert ours == theirs


def test_what_is_left_out_is_there() -> None:
    assert set(LEFT_OUT) <= set(NAMES)


def test_a_difference_is_found(jenkins: Jenkins) -> None:
    build = jenkins.run("node { echo 'one'; echo 'two' }")
    same = {"result": build.result, "console": list(build.console)}
    swapped = {"result": build.result, "console": list(build.console)}
    one, two = swapped["console"].index("one"), swapped["console"].index("two")
    swapped["console"][one], swapped["console"][two] = "two", "one"
    assert replay.difference(build, same) == ""
    assert "'one'" in replay.difference(build, swapped)
    assert "result" in replay.difference(build, {**same, "result": "FAILURE"})


def test_branches_keep_their_order_but_may_interleave() -> None:
    block = [("a1", "a"), ("a2", "a"), ("b1", "b")]
    assert replay.interleaved(("a1", "b1", "a2"), block)
    assert not replay.interleaved(("a2", "a1", "b1"), block)
    assert not replay.interleaved(("a1", "a2"), block)


@pytest.mark.parametrize("name", ["docker-agent", "docker-inside"])
def test_docker_is_called_as_by_jenkins(
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
