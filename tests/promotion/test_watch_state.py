"""Which promotion is watched, once, and that an interrupted rollback of a watch is finished."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ml_pipeline.core import clock
from ml_pipeline.core.errors import EnvironmentFault, Refused
from ml_pipeline.core.report import Verdict
from ml_pipeline.promotion import switch, watch_state
from ml_pipeline.promotion.environment import Production
from ml_pipeline.promotion.journal import Journal, Step, open_journals
from ml_pipeline.promotion.production_history import Entry, read_history
from ml_pipeline.promotion.production_watch import ProductionWatch
from ml_pipeline.promotion.rollback import rollback
from ml_pipeline.promotion.watch_state import BY, due, end, finish, give_up, rolled_back

from tests.clocks import Boot

Delivery = Any
HOUR = 60.0


@pytest.fixture
def delivery(three: Delivery) -> Delivery:
    return three


def back(delivery: Delivery, *, by: str = BY, **more: Any) -> Any:
    return rollback(
        delivery.registry,
        [delivery.signer.public_key],
        Production(delivery.target, delivery.placement),
        to=None,
        by=by,
        reason="errors: 12.00%",
        run_id="watched",
        **more,
    )


def finished(delivery: Delivery) -> Entry | None:
    return finish(
        delivery.registry,
        [delivery.signer.public_key],
        Production(delivery.target, delivery.placement),
        lambda what, share: None,
    )


class TestDue:
    def test_the_last_promotion(self, delivery: Delivery) -> None:
        found = due(delivery.home, HOUR)
        assert isinstance(found, Entry)
        assert found.version == 3

    def test_not_once_its_watch_has_ended(self, delivery: Delivery) -> None:
        promotion = read_history(delivery.home)[-1]
        end(delivery.home, promotion, Verdict.PASS, "version 3 stays")
        assert due(delivery.home, HOUR) == "the watch of version 3 has ended: version 3 stays"

    def test_not_where_production_was_stopped_on_purpose(self, delivery: Delivery) -> None:
        give_up(delivery.home, HOUR, "it was stopped")
        assert due(delivery.home, HOUR) == "the watch of version 3 has ended: it was stopped"

    def test_the_end_of_an_earlier_watch_is_none_of_a_later_promotion(
        self, delivery: Delivery
    ) -> None:
        history = read_history(delivery.home)
        end(delivery.home, history[-2], Verdict.PASS, "version 2 stays")
        assert due(delivery.home, HOUR) == history[-1]
        again = history[-1].model_copy(update={"at": history[-1].at - timedelta(days=9)})
        end(delivery.home, again, Verdict.PASS, "the same version, promoted before")
        assert due(delivery.home, HOUR) == history[-1]

    @pytest.mark.parametrize("by", ["Bina", BY])
    def test_not_after_a_rollback(self, delivery: Delivery, by: str) -> None:
        back(delivery, by=by)
        assert due(delivery.home, HOUR) == (
            "production went from version 3 to version 2 since the last promotion: "
            f"rollback by {by}, errors: 12.00%"
        )

    def test_not_long_after_its_time(
        self, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who switches the watch on does not put a version to the test that serves since weeks."""
        monkeypatch.setattr(
            watch_state, "JUDGEMENT_GRACE", datetime.now(UTC) - read_history(delivery.home)[-1].at
        )
        assert isinstance(due(delivery.home, HOUR), Entry)
        assert "and it was not judged in time" in str(due(delivery.home, 0))

    @pytest.mark.parametrize("content", ["{}", "", "no JSON"])
    def test_a_file_that_no_watch_wrote_is_told(self, delivery: Delivery, content: str) -> None:
        (delivery.home / watch_state.FILE).write_text(content)
        with pytest.raises(EnvironmentFault, match=r"watch\.json is broken"):
            due(delivery.home, HOUR)


class TestRolledBack:
    def test_by_a_watch_of_this_run_only(self, delivery: Delivery) -> None:
        assert rolled_back(delivery.home, "watched") is None
        back(delivery)
        found = rolled_back(delivery.home, "watched")
        assert found is not None
        assert (found.version, found.former_version) == (2, 3)
        assert rolled_back(delivery.home, "another") is None

    def test_not_by_a_person(self, delivery: Delivery) -> None:
        back(delivery, by="Bina")
        assert rolled_back(delivery.home, "watched") is None


class TestFinish:
    @pytest.mark.parametrize("step", ["deploy", "file", "alias", "end", "publish"])
    def test_a_rollback_that_was_killed_before_a_step(
        self, delivery: Delivery, monkeypatch: pytest.MonkeyPatch, step: str
    ) -> None:
        perform = switch.perform

        def until(steps: list[Step], journal: Journal, _reach: Any) -> None:
            def reached(point: str) -> None:
                if point == f"before {step}":
                    raise KeyboardInterrupt

            perform(steps, journal, reached)

        with monkeypatch.context() as patched:
            patched.setattr(switch, "perform", until)
            # the journal of a killed process stays open; an exception would have closed it
            patched.setattr(Journal, "close", lambda *_: None)
            with pytest.raises(KeyboardInterrupt):
                back(delivery)
        assert len(open_journals(delivery.home)) == 1
        found = finished(delivery)
        assert found is not None
        assert (found.kind, found.version, found.by) == ("rollback", 2, BY)
        assert [entry.version for entry in read_history(delivery.home)] == [1, 2, 3, 2]
        assert open_journals(delivery.home) == []
        champion = delivery.registry.read().champion
        assert (champion.number, delivery.target.running.digest) == (2, champion.digest)

    def test_nothing_where_nothing_is_open(self, delivery: Delivery) -> None:
        back(delivery)
        assert finished(delivery) is None


def test_what_took_the_place_of_the_watched_version_meanwhile_stays(delivery: Delivery) -> None:
    second = read_history(delivery.home)[1]
    with pytest.raises(Refused, match="production is at version 3 by now; expected version 2"):
        back(delivery, present=(second.version, second.bundle))
    third = read_history(delivery.home)[2]
    assert back(delivery, present=(third.version, third.bundle)).version.number == 2


class TestClockChanges:
    @pytest.mark.parametrize("hours", [-30, 30], ids=["backward", "forward"])
    def test_a_watch_lasts_as_long_as_it_is_to_last(
        self, three: Any, make_project: Any, make_context: Any, hours: int
    ) -> None:
        promotion = read_history(three.home)[-1]
        now = datetime.now(UTC)
        promotion = promotion.model_copy(update={"at": now - timedelta(hours=hours)})
        context = make_context(make_project(watch={"minutes": 30}), "watch")
        nothing: Any = None
        watched = ProductionWatch(
            context.home, context.config.watch, nothing, promotion, nothing, None
        )
        since_three = watch_state.seconds_since(three.home, promotion)
        assert watched.left == pytest.approx(1800 - since_three, abs=60)

    def test_one_that_has_begun_goes_on(self, three: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        boot, seconds = clock.reading() or ("", 0.0)
        Boot(monkeypatch, boot, seconds + 86_400)
        assert isinstance(watch_state.due(three.home, 30), str)
        assert isinstance(watch_state.due(three.home, 30, begun=True), Entry)
