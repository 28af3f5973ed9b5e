"""The wall clock is set a day forward or backward, or the machine restarts in the middle."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import ModelRef
from ml_pipeline.online import live_shadow
from ml_pipeline.promotion import watch_state
from ml_pipeline.promotion.journal import open_journals
from ml_pipeline.promotion.production_history import Entry, read_history
from ml_pipeline.targets.released_bundles import MIN_AGE_SECONDS, release, remove_unused

from tests.clocks import Boot, set_wall_clock

Delivery = Any
DAY = timedelta(days=1)
HOUR = 60.0
AFTER_EXPIRY_SECONDS = 3600.0 + 60 * HOUR
"""Seconds after a promotion, beyond which a watch of an hour is over."""


@pytest.fixture(params=[DAY, -DAY], ids=["forward", "backward"])
def jump(request: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: set_wall_clock(monkeypatch, request.param)


@pytest.fixture
def delivery(three: Delivery) -> Delivery:
    return three


def make_live(home: Home) -> live_shadow.LiveShadow:
    made = live_shadow.LiveShadow(
        started=0.0,
        environment="production",
        target="process",
        champion_version=1,
        champion_digest="c" * 64,
        challenger=ModelRef(name="three", version=2, identity="b" * 64, digest="d" * 64),
        shadow={},
        clock=live_shadow.clock.marks(),
    )
    (home / "shadow").mkdir(parents=True)
    live_shadow._write(home, "staging", made)
    return made


class TestJump:
    def test_a_promotion_is_watched_all_the_same(
        self, delivery: Delivery, jump: Callable[[], None]
    ) -> None:
        promotion = read_history(delivery.home)[-1]
        before = watch_state.seconds_since(delivery.home, promotion)
        jump()
        assert watch_state.due(delivery.home, HOUR) == promotion
        assert 0 <= watch_state.seconds_since(delivery.home, promotion) - before < 3600

    def test_a_lease_is_taken_and_ended(self, delivery: Delivery, jump: Callable[[], None]) -> None:
        version = delivery.register("four", identity="d", weight=4.0)
        delivery.gate(version)
        delivery.approve(version)
        jump()
        assert delivery.promote().version == version
        claims = delivery.registry.leases.read()
        assert (len(claims), claims[-1].ended) == (4, claims[-2].ended)

    def test_a_rollback_goes_where_it_would(
        self, delivery: Delivery, jump: Callable[[], None]
    ) -> None:
        jump()
        delivery.rollback(reason="errors")
        history = read_history(delivery.home)
        assert (history[-1].kind, history[-1].version) == ("rollback", 2)
        assert open_journals(delivery.home) == []

    def test_a_bundle_in_use_stays(
        self, delivery: Delivery, jump: Callable[[], None], make_bundle: Any
    ) -> None:
        taken = release(make_bundle("four", identity="d"), delivery.home)
        jump()
        assert remove_unused(delivery.home, list) == []
        assert taken.path.is_dir()

    def test_a_shadow_is_as_old_as_it_is(self, tmp_path: Any, jump: Callable[[], None]) -> None:
        home = Home(tmp_path)
        make_live(home)
        jump()
        found = live_shadow.read(home, "staging")
        assert found is not None
        assert 0 <= found.minutes < HOUR


class TestRestart:
    """What another boot began counts from the first look of this one."""

    def test_a_promotion_is_watched_for_the_whole_time(
        self, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        promotion = read_history(delivery.home)[-1]
        boot = Boot(monkeypatch, "next", 10.0)
        assert watch_state.due(delivery.home, HOUR) == promotion
        assert watch_state.seconds_since(delivery.home, promotion) == 0
        boot.seconds += 60
        assert watch_state.seconds_since(delivery.home, promotion) == 60
        boot.seconds += AFTER_EXPIRY_SECONDS
        assert "was not judged in time" in str(watch_state.due(delivery.home, HOUR))

    def test_the_begin_of_another_promotions_watch_does_not_count(
        self, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        history = read_history(delivery.home)
        boot = Boot(monkeypatch, "next", 10.0)
        watch_state.seconds_since(delivery.home, history[-2])
        boot.seconds += 60
        assert watch_state.seconds_since(delivery.home, history[-1]) == 0

    def test_a_bundle_stays_for_an_hour(
        self, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        boot = Boot(monkeypatch, "next", 10.0)
        assert remove_unused(delivery.home, list) == []
        boot.seconds += MIN_AGE_SECONDS
        assert remove_unused(delivery.home, list) == []
        boot.seconds += 1
        assert len(remove_unused(delivery.home, list)) == 3
        assert list((delivery.home / "released-used").iterdir()) == []

    def test_a_shadow_counts_from_its_first_look(
        self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        home = Home(tmp_path)
        make_live(home)
        boot = Boot(monkeypatch, "next", 10.0)
        assert live_shadow.read(home, "staging").minutes == 0  # type: ignore[union-attr]
        boot.seconds += 120
        assert live_shadow.read(home, "staging").minutes == 2  # type: ignore[union-attr]


def test_of_an_earlier_versions_promotion_the_wall_clock_is_believed(
    delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    promotion: Entry = read_history(delivery.home)[-1].model_copy(update={"clock": {}})
    set_wall_clock(monkeypatch, DAY)
    assert watch_state.seconds_since(delivery.home, promotion) >= 86_400
    monkeypatch.undo()
    set_wall_clock(monkeypatch, -DAY)
    assert watch_state.seconds_since(delivery.home, promotion) == 0
