"""An approval counts once, from whichever home: the registry remembers what it was used for."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from ml_pipeline.core.errors import Refused
from ml_pipeline.core.home import Home
from ml_pipeline.promotion import promote as promote_room
from ml_pipeline.promotion.environment import Production
from ml_pipeline.promotion.journal import open_journals
from ml_pipeline.promotion.promote import Promotion, promote
from ml_pipeline.registry.versions import Version

Delivery = Any
USED = r"the approval was used by promotion \d+ of 'three', by Asha on .*, run .*approve' again"


@pytest.fixture
def fourth(three: Delivery) -> Version:
    """The approved challenger."""
    version: Version = three.register("four", identity="d", weight=4.0)
    three.gate(version)
    three.approve(version)
    return version


@pytest.fixture
def other(three: Delivery, fourth: Version) -> Delivery:
    """Another home on the same registry, which knows of three promotions, as the first does."""
    root = three.home.root.with_name("other")
    shutil.copytree(three.home.root, root)
    return replace(three, home=Home(root), target=replace(three.target))


def promoted(
    delivery: Delivery, fault_point: Callable[[str], None] = lambda point: None
) -> Promotion:
    return promote(
        delivery.registry,
        delivery.policy,
        [delivery.signer.public_key],
        Production(delivery.target, delivery.placement),
        profile=None,
        run_id="run-2",
        progress=lambda what, share: None,
        fault_point=fault_point,
    )


def back(delivery: Delivery) -> None:
    done = delivery.rollback()
    assert done.open == ""


def test_the_registry_says_what_each_change_was_about(three: Delivery) -> None:
    back(three)
    changes = [one.subject for one in three.registry.leases.read()]
    assert [(one.kind, one.version) for one in changes] == [
        ("promotion", 1),
        ("promotion", 2),
        ("promotion", 3),
        ("rollback", 2),
    ]
    assert changes[3].approval == changes[1].approval


def test_a_used_approval_does_not_count_in_another_home(
    three: Delivery, other: Delivery, fourth: Version
) -> None:
    assert promoted(three).version == fourth
    back(three)
    before = other.state()
    with pytest.raises(Refused, match=USED):
        promoted(other)
    assert other.state() == before


def test_nor_where_the_other_home_was_faster_by_a_moment(
    three: Delivery, other: Delivery, fourth: Version
) -> None:
    """The other home promotes and rolls back between this one's checks and its claim."""

    def meanwhile(point: str) -> None:
        if point == "before lease":
            promoted(other)
            back(other)

    before = three.state()
    with pytest.raises(Refused, match=USED):
        promoted(three, meanwhile)
    assert three.state() == before
    assert not open_journals(three.home)


class Killed(BaseException):
    """Ends a promotion where SIGKILL would."""


@pytest.mark.parametrize("where", ["before check", "before file", "before end"])
def test_nor_after_a_rollback_of_a_promotion_that_was_killed(
    three: Delivery, fourth: Version, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def die(point: str) -> None:
        if point == where:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(promote_room._Sequence, "take_back", lambda self: self.undo.pop_all())
        with pytest.raises(Killed):
            promoted(three, die)
    assert open_journals(three.home)
    back(three)
    before = three.state()
    with pytest.raises(Refused, match=r"the approval (by Asha )?was used "):
        promoted(three)
    assert three.state() == before


def test_an_approval_whose_promotion_was_taken_back_still_counts(
    three: Delivery, fourth: Version
) -> None:
    three.target.healthy = False
    with pytest.raises(Refused, match="not ready"):
        promoted(three)
    three.target.healthy = True
    assert promoted(three).version == fourth
