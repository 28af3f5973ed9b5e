from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from ml_pipeline.config import Config, Project
from ml_pipeline.core import clock
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.promotion import cleanup
from ml_pipeline.promotion.journal import Journal
from ml_pipeline.targets import server_records
from ml_pipeline.targets.base import Deployment
from ml_pipeline.targets.released_bundles import MIN_AGE_SECONDS, release
from ml_pipeline.targets.server_records import EnvironmentRecord, ServerRecord

Delivery = Any


@pytest.fixture
def delivery(three: Delivery, monkeypatch: pytest.MonkeyPatch) -> Delivery:
    """Versions 1, 2 and 3 were in production, which serves 3; all of it long ago."""
    monkeypatch.setattr(cleanup, "load_target", lambda name: three.target)
    (three.home / "servers").mkdir()
    age(three.home)
    return three


def age(home: Home) -> None:
    boot, now = clock.reading() or ("", 0.0)
    (home / "released-used").mkdir(exist_ok=True)
    for path in (home / "released").iterdir():
        marks = {boot: now - MIN_AGE_SECONDS - 60}
        (home / "released-used" / path.name).write_text(json.dumps(marks))


def digests(delivery: Delivery) -> dict[str, int]:
    return {version.digest: version.number for version in delivery.registry.read().versions}


def kept(delivery: Delivery) -> list[int]:
    known = digests(delivery)
    return sorted(known[path.name] for path in (delivery.home / "released").iterdir())


def clean(delivery: Delivery, *, keep: int = 2, **environments: Any) -> list[Check]:
    config = Config.model_validate(
        {
            "project": "three",
            "serving": {"keep_released": keep},
            "environments": {"production": {"port": 0}, **environments},
        }
    )
    return cleanup.clean(
        Project(delivery.home.root, config), delivery.home, "production", delivery.target.running
    )


def server(digest: str) -> ServerRecord:
    return ServerRecord(
        pid=1,
        started="boot b ticks 1",
        version=1,
        digest=digest,
        bundle="",
        host="127.0.0.1",
        asked_port=0,
        port=1,
        control="",
        token_env=None,
        settings="",
    )


def test_the_newest_versions_of_production_stay(delivery: Delivery) -> None:
    told = clean(delivery)
    assert kept(delivery) == [2, 3]
    assert [(check.verdict, check.observed) for check in told] == [(Verdict.PASS, "1 removed")]


def test_nothing_is_told_where_nothing_goes(delivery: Delivery) -> None:
    assert clean(delivery, keep=3) == []
    assert kept(delivery) == [1, 2, 3]


def test_a_version_that_was_gone_back_from_is_none_to_go_back_to(delivery: Delivery) -> None:
    delivery.rollback()
    age(delivery.home)
    clean(delivery)
    assert kept(delivery) == [1, 2]


@pytest.mark.parametrize("which", ["serving", "former"])
def test_what_a_server_of_this_machine_reads_stays(delivery: Delivery, which: str) -> None:
    first = delivery.registry.read().version(1).digest
    known = EnvironmentRecord(**(asdict(EnvironmentRecord()) | {which: server(first)}))
    server_records.write(delivery.home / "servers/old-environment.json", known)
    clean(delivery)
    assert kept(delivery) == [1, 2, 3]


def test_what_an_environment_answers_with_stays(
    delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = delivery.registry.read().version(1).digest
    running = delivery.target.running

    def status(placement: Any) -> Deployment | None:
        if placement.name == "production":
            return running  # type: ignore[no-any-return]
        return Deployment("http://there", 1, first, 1, delivery.home / "released" / first)

    monkeypatch.setattr(delivery.target, "status", status, raising=False)
    clean(delivery, staging={"port": 0, "target": "docker"})
    assert kept(delivery) == [1, 2, 3]


def test_what_an_environment_was_last_given_stays_though_nothing_answers(
    delivery: Delivery,
) -> None:
    first = delivery.registry.read().version(1).digest
    (delivery.home / "servers/staging.released").write_text(first)
    clean(delivery)
    assert kept(delivery) == [1, 2, 3]


def test_what_an_open_change_is_about_stays_until_it_is_recovered(delivery: Delivery) -> None:
    first, third = delivery.registry.read().version(1), delivery.registry.read().version(3)
    journal = Journal.start(
        delivery.home,
        "rollback",
        model="three",
        version=1,
        bundle=first.digest,
        former_version=3,
        former_bundle=third.digest,
        by="Bina",
        reason="alarms",
        run_id="back",
    )
    clean(delivery)
    assert kept(delivery) == [1, 2, 3]
    journal.close("done")
    clean(delivery)
    assert kept(delivery) == [2, 3]


def test_what_another_deployment_has_just_taken_stays(
    delivery: Delivery, make_bundle: Callable[..., Path]
) -> None:
    new = release(make_bundle("new", identity="f", weight=9.0), delivery.home)
    release(delivery.home / "released" / delivery.registry.read().version(1).digest, delivery.home)
    clean(delivery)
    assert kept_names(delivery) == {*digests(delivery), new.digest}


def kept_names(delivery: Delivery) -> set[str]:
    return {path.name for path in (delivery.home / "released").iterdir()}


def test_what_a_killed_copy_left_goes_and_a_stranger_stays(delivery: Delivery) -> None:
    digest = delivery.registry.read().version(3).digest
    for name in (f".{digest}.x1", "notes"):
        (delivery.home / "released" / name).mkdir()
    age(delivery.home)
    clean(delivery, keep=3)
    assert kept_names(delivery) == {*digests(delivery), "notes"}


def test_where_an_environment_cannot_be_asked_nothing_goes_and_it_is_told(
    delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    def status(placement: Any) -> None:
        raise EnvironmentFault("the cluster does not answer")

    monkeypatch.setattr(delivery.target, "status", status, raising=False)
    (told,) = clean(delivery)
    assert (told.verdict, told.required) == (Verdict.FAIL, False)
    assert "the cluster does not answer" in told.observed
    assert kept(delivery) == [1, 2, 3]


def test_what_cannot_be_removed_fails_nothing(
    delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("shutil.rmtree", refuse)
    (told,) = clean(delivery)
    assert (told.verdict, told.required) == (Verdict.FAIL, False)
    assert "Permission denied" in told.observed


def test_a_version_whose_copy_is_gone_comes_back_from_the_registry(delivery: Delivery) -> None:
    clean(delivery)
    done = delivery.rollback(to=1)
    assert (done.version.number, kept(delivery)) == (1, [1, 2, 3])
