"""The watch after a promotion, with real servers: what lets a version stay, and what rolls back."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import psutil
import pytest
import yaml
from filelock import FileLock
from ml_pipeline import cli, config
from ml_pipeline.config import Project
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.report import Verdict
from ml_pipeline.promotion import production_history, production_watch, switch
from ml_pipeline.promotion.journal import Journal, Step, open_journals
from ml_pipeline.registry.aliases import Aliases
from ml_pipeline.stages.runner import Result, execute

from tests.stages.test_promote import Case, case

__all__ = ["case"]

REFUSED = {"features": ["text", 7]}
SHIFTED = {"features": [4.0, "north"]}
"""A row whose answer lies far from those to rows of training."""


def reference() -> bytes:
    """Return the answers of the small model of weight 1 to rows like ``usual``."""
    x = np.random.default_rng(3).normal(size=2000)
    content = io.BytesIO()
    pd.DataFrame({"x": x, "__probability": 1 / (1 + np.exp(-x))}).to_parquet(content)
    return content.getvalue()


REFERENCE = reference()


def usual(count: int) -> list[dict[str, Any]]:
    return [{"features": [x, None]} for x in np.random.default_rng(4).normal(size=count)]


def send(case: Case, bodies: list[dict[str, Any]], request_id: str = "client") -> None:
    url = yaml.safe_load((case.home / "production-model.yaml").read_text())["serving_endpoint"]
    with httpx.Client(base_url=url, headers={"x-request-id": request_id}, trust_env=False) as api:
        for body in bodies:
            api.post("/predict", json=body)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(production_watch, "PAUSE_SECONDS", 0.05)


@pytest.fixture
def one(case: Case, registry_database: Path) -> Case:
    """One version in production, with a watch of two seconds."""
    values = yaml.safe_load((case.project.root / "ml.yaml").read_text())
    values["watch"] = {"minutes": 2 / 60, "min_requests": 100, "p99_ms": 5000}
    (case.project.root / "ml.yaml").write_text(yaml.safe_dump(values))
    case.project = config.load(case.project.root, environment={})
    case.approved("one", reference=REFERENCE)
    assert case.promote().exit_code == 0
    return case


@pytest.fixture
def two(one: Case) -> Case:
    """A second version on top of it."""
    one.approved("two", identity="b", reference=REFERENCE, source=b"two")
    assert one.promote().exit_code == 0
    return one


def lasting(case: Case, minutes: float = 60) -> Case:
    """Let the watch take so long that no test sees its end."""
    watch = case.project.config.watch.model_copy(update={"minutes": minutes})
    case.project = Project(
        case.project.root, case.project.config.model_copy(update={"watch": watch})
    )
    return case


def watch(case: Case, **flags: Any) -> Result:
    return execute(case.make_context(case.project, "watch", **flags))


def kinds(case: Case) -> list[tuple[str, int]]:
    return [(entry.kind, entry.version) for entry in production_history.read_history(case.home)]


def agree(case: Case, version: int) -> bool:
    """Whether server, registry and file all say that this version is in production."""
    champion = case.registry.read().champion
    values = yaml.safe_load((case.home / "production-model.yaml").read_text())
    found = (case.answer()["model_version"], values["model_version"])
    return champion is not None and (champion.number, *found) == (version,) * 3


def named(result: Result, name: str) -> Any:
    return next(check for check in result.report.checks if check.name == name)


def test_good_answers_to_live_requests_let_it_stay_and_it_is_judged_once(two: Case) -> None:
    send(two, usual(150))
    send(two, [SHIFTED] * 500, request_id="ml-pipeline-probe")
    result = watch(two)
    assert (result.exit_code, result.report.verdict) == (0, Verdict.PASS), result.report.summary
    assert result.report.summary.startswith("version 2 stays: 150 live requests, errors 0.00%")
    assert result.report.metrics["seconds_left"] == 0
    assert kinds(two) == [("promotion", 1), ("promotion", 2)]
    again = watch(two)
    assert (again.exit_code, again.report.verdict) == (0, Verdict.SKIPPED)
    assert again.report.summary.startswith("the watch of version 2 has ended: version 2 stays")


def test_outside_a_limit_it_is_rolled_back_at_once_and_the_records_say_why(two: Case) -> None:
    reason = "prediction distribution: distance "
    send(two, [SHIFTED] * 120)
    result = watch(lasting(two))
    assert (result.exit_code, result.report.verdict) == (1, Verdict.FAIL)
    told = f"version 2 was rolled back to version 1: {reason}"
    assert result.report.summary.startswith(told)
    assert (result.report.metrics["to"], result.report.metrics["url"][:17]) == (
        1,
        "http://127.0.0.1:",
    )
    last = production_history.read_history(two.home)[-1]
    assert (last.kind, last.by, last.version, last.former_version) == (
        "rollback",
        "ml-pipeline watch",
        1,
        2,
    )
    assert last.reason.startswith(reason)
    assert agree(two, 1)
    assert open_journals(two.home) == []


def test_refused_requests_of_a_client_are_shown_and_roll_nothing_back(two: Case) -> None:
    send(two, [*usual(110), *[REFUSED] * 120])
    result = watch(two)
    assert (result.exit_code, result.report.verdict) == (0, Verdict.PASS), result.report.summary
    assert result.report.summary.startswith("version 2 stays: 110 live requests, errors 0.00%")
    refused = named(result, "refused requests")
    assert (refused.verdict, refused.required, refused.observed) == (Verdict.FAIL, False, "52.17%")
    assert agree(two, 2)


def test_a_server_that_does_not_answer_any_more_is_rolled_back(two: Case) -> None:
    running = two.running()
    assert running is not None
    psutil.Process(running.pid).kill()
    result = watch(lasting(two))
    assert result.exit_code == 1
    assert result.report.summary.startswith("version 2 was rolled back to version 1: answers: none")
    assert agree(two, 1)


def test_a_limit_that_is_broken_meanwhile_ends_the_watch(two: Case) -> None:
    clients = threading.Timer(0.5, send, (two, [SHIFTED] * 120))
    clients.start()
    result = watch(lasting(two))
    clients.join()
    assert result.exit_code == 1
    assert result.report.metrics["distance"] > 0.3
    assert agree(two, 1)


def test_too_few_requests_judge_nothing_and_are_no_pass(two: Case) -> None:
    send(two, [SHIFTED] * 3)
    result = watch(two)
    assert (result.exit_code, result.report.verdict) == (0, Verdict.SKIPPED)
    assert result.report.summary.startswith("too few live requests to judge: 3 of at least 100 in ")
    assert result.report.summary.endswith("version 2 stays")
    assert named(result, "live requests").verdict is Verdict.INCONCLUSIVE
    ended = json.loads((two.home / "watch.json").read_text())
    assert (ended["version"], ended["verdict"]) == (2, "skipped")
    assert datetime.fromisoformat(ended["ended"]) > datetime.now(UTC) - timedelta(minutes=1)
    assert watch(two).report.summary.startswith("the watch of version 2 has ended: too few")


def test_without_an_earlier_version_it_stays_and_that_is_said(one: Case) -> None:
    send(one, [SHIFTED] * 120)
    result = watch(lasting(one))
    assert (result.exit_code, result.report.verdict) == (1, Verdict.FAIL)
    assert result.report.summary.startswith(
        "version 1 is outside its limits and stays, since there is no earlier version: "
        "prediction distribution: distance "
    )
    assert kinds(one) == [("promotion", 1)]
    assert agree(one, 1)


class TestJudge:
    """One look: 4 as long as the time is not over."""

    def test_within_the_limits_it_goes_on(
        self, two: Case, capsys: pytest.CaptureFixture[str]
    ) -> None:
        given = ["watch", "--judge", "--project", str(two.project.root), "--set"]
        assert cli.main([*given, "watch.minutes=60"]) == 4
        assert "waiting: version 2 is watched: 0 live requests" in capsys.readouterr().out
        send(two, usual(120))
        result = watch(lasting(two), judge=True)
        assert (result.exit_code, result.report.verdict) == (4, Verdict.INCONCLUSIVE)
        assert result.report.summary.startswith("version 2 is watched: 120 live requests")
        assert 3500 < result.report.metrics["seconds_left"] < 3600
        over = watch(lasting(two, minutes=0.001), judge=True)
        assert (over.exit_code, over.report.verdict) == (0, Verdict.PASS)

    def test_nobody_has_to_wait_for_a_watch_nor_it_for_another_stage(self, two: Case) -> None:
        given = ["--project", str(two.project.root)]
        with FileLock(two.project.root / "build/ml/.lock"):
            assert cli.main(["watch", "--judge", *given, "--set", "watch.minutes=60"]) == 4
        command = [
            sys.executable,
            "-P",
            "-m",
            "ml_pipeline",
            "rollback",
            "--reason",
            "hunch",
            *given,
        ]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as back:
            assert cli.main(["watch", *given, "--set", "watch.minutes=60"]) == 0
        assert back.returncode == 0
        assert kinds(two)[-1] == ("rollback", 1)
        assert agree(two, 1)

    def test_outside_it_goes_back(self, two: Case) -> None:
        send(two, [SHIFTED] * 120)
        assert watch(lasting(two), judge=True).exit_code == 1
        assert agree(two, 1)


class TestIsSkipped:
    def skipped(self, case: Case) -> str:
        result = watch(case)
        assert (result.exit_code, result.report.verdict) == (0, Verdict.SKIPPED)
        return result.report.summary

    def test_without_minutes(self, case: Case) -> None:
        assert self.skipped(case).startswith("watch.minutes is 0 in ml.yaml")

    def test_without_a_promotion(self, case: Case) -> None:
        assert self.skipped(lasting(case)) == "nothing was promoted yet"

    def test_while_something_else_serves(self, two: Case, make_bundle: Callable[..., Path]) -> None:
        from ml_pipeline.targets.base import deploy
        from ml_pipeline.targets.loader import load_target

        port = int(production_history.read_history(two.home)[-1].endpoint.rpartition(":")[2])
        two.stop()
        section = two.placement.section.model_copy(update={"port": port})
        two.placement = type(two.placement)("production", section, two.placement.serving, two.home)
        deploy(load_target("process"), two.placement, make_bundle("x", identity="e"), 9)
        assert "which was not promoted" in self.skipped(lasting(two))


class TestInterrupted:
    def test_killed_before_it_ended_it_judges_again(
        self, two: Case, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        send(two, [SHIFTED] * 120)
        with monkeypatch.context() as patched:
            patched.setattr(production_watch.watch, "judge", interrupted)
            with pytest.raises(KeyboardInterrupt):
                watch(lasting(two))
        assert agree(two, 2)
        first = watch(lasting(two))
        assert first.exit_code == 1
        assert agree(two, 1)
        again = watch(lasting(two))
        assert (again.exit_code, again.report.summary) == (1, first.report.summary), "the same run"
        later = two.make_context(two.project, "watch")
        later.run_id = "another"
        assert execute(later).report.verdict is Verdict.SKIPPED

    def test_killed_within_the_rollback_it_is_finished(
        self, two: Case, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        send(two, [SHIFTED] * 120)
        with monkeypatch.context() as patched:
            patched.setattr(switch, "perform", killed_before("alias"))
            # the journal of a killed process stays open; an exception would have closed it
            patched.setattr(Journal, "close", lambda *_: None)
            with pytest.raises(KeyboardInterrupt):
                watch(lasting(two))
        assert len(open_journals(two.home)) == 1
        result = watch(lasting(two))
        assert result.exit_code == 1
        assert result.report.summary.startswith(
            "version 2 was rolled back to version 1: prediction"
        )
        assert agree(two, 1)
        assert kinds(two) == [("promotion", 1), ("promotion", 2), ("rollback", 1)]
        assert open_journals(two.home) == []

    def test_a_rollback_that_fails_is_told_and_tried_again(
        self, two: Case, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        send(two, [SHIFTED] * 120)

        def full(*_: Any, **__: Any) -> None:
            raise EnvironmentFault("the disk is full", hint="free space")

        with monkeypatch.context() as patched:
            patched.setattr("ml_pipeline.stages.watch.rollback", full)
            result = watch(lasting(two))
        assert result.exit_code == 3
        assert result.report.summary.startswith(
            "version 2 is outside its limits (prediction distribution: distance "
        )
        assert result.report.summary.endswith(
            ") and could not be rolled back: the disk is full; free space"
        )
        assert watch(lasting(two)).exit_code == 1
        assert agree(two, 1)

    def test_a_registry_that_is_away_is_told_later(
        self, two: Case, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        send(two, [SHIFTED] * 120)

        def away(*_: Any) -> None:
            raise EnvironmentFault("the registry does not answer")

        with monkeypatch.context() as patched:
            patched.setattr(Aliases, "set", away)
            result = watch(lasting(two))
        assert result.exit_code == 1
        assert "the registry does not know yet" in result.report.summary
        assert two.answer()["model_version"] == 1
        assert watch(lasting(two)).exit_code == 1
        assert agree(two, 1)


def interrupted(*_: Any) -> Any:
    raise KeyboardInterrupt


def killed_before(step: str) -> Callable[..., None]:
    """Return a sequence that is ended before a step, as by SIGKILL."""
    perform = switch.perform

    def until(steps: list[Step], journal: Journal, fault_point: Any) -> None:
        def reached(point: str) -> None:
            if point == f"before {step}":
                raise KeyboardInterrupt

        perform(steps, journal, reached)

    return until
