"""The promotion to watch, and the result of the last watch.

The end of a watch is one small file of the home, so that a promotion is judged once, whoever runs
``watch`` again. A rollback that a watch began and did not end is in the journal, as any is.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ml_pipeline.core import clock, documents, workdir
from ml_pipeline.core.documents import DocumentError
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import Progress, Verdict
from ml_pipeline.promotion.environment import Production, production_lock
from ml_pipeline.promotion.journal import open_journals
from ml_pipeline.promotion.production_history import Entry, read_history
from ml_pipeline.promotion.recovery import recover
from ml_pipeline.registry.registry import Registry

if TYPE_CHECKING:
    from securesystemslib.signer import SSlibKey

Model = TypeVar("Model", bound=BaseModel)

FILE = "watch.json"
BEGAN = "watch-began.json"
"""When machines that did not make the promotion began to watch it."""
BY = "ml-pipeline watch"
"""The author of a rollback after a watch, in the history."""
JUDGEMENT_GRACE = timedelta(hours=1)
"""A promotion whose time ended longer ago is not judged any more: it has proved itself, or not."""


class WatchEnd(BaseModel):
    """The end of the watch of a promotion, which is named by its time and its bundle."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Literal["ml-pipeline/watch/1"] = Field("ml-pipeline/watch/1", alias="schema")
    promoted: datetime
    version: int
    bundle: str
    ended: datetime
    verdict: Verdict
    summary: str


class WatchStart(BaseModel):
    """Since when other boots than the promotion's watch it: ``ml_pipeline.core.clock``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    promoted: datetime
    bundle: str
    clock: dict[str, float]


def end(home: Home, promotion: Entry, verdict: Verdict, summary: str) -> None:
    """Note that the watch of a promotion has ended."""
    ended = WatchEnd(
        schema="ml-pipeline/watch/1",
        promoted=promotion.at,
        version=promotion.version,
        bundle=promotion.bundle,
        ended=datetime.now(UTC),
        verdict=verdict,
        summary=summary,
    )
    workdir.write_text(home / FILE, ended.model_dump_json(by_alias=True, indent=2) + "\n")


def give_up(home: Home, minutes: float, why: str) -> None:
    """End the watch of a promotion that is due, unjudged.

    Raises:
        EnvironmentFault: the history, or the file of the last watch, is broken.
    """
    promotion = due(home, minutes)
    if isinstance(promotion, Entry):
        end(home, promotion, Verdict.SKIPPED, why)


def due(home: Home, minutes: float, *, begun: bool = False) -> Entry | str:
    """Return the promotion to watch, or why there is none.

    A watch that has begun goes on.

    Raises:
        EnvironmentFault: the history, or the file of the last watch, is broken.
    """
    history = read_history(home)
    promotion = next((entry for entry in reversed(history) if entry.kind == "promotion"), None)
    if promotion is None:
        return "nothing was promoted yet"
    last = history[-1]
    if last.bundle != promotion.bundle:
        return (
            f"production went from version {last.former_version} to version {last.version} since "
            f"the last promotion: {last.kind} by {last.by}, {last.reason}"
        )
    ended = _last(home)
    if ended and (ended.promoted, ended.bundle) == (promotion.at, promotion.bundle):
        return f"the watch of version {promotion.version} has ended: {ended.summary}"
    whole = timedelta(minutes=minutes)
    if not begun and seconds_since(home, promotion) > (whole + JUDGEMENT_GRACE).total_seconds():
        over = promotion.at + whole
        return (
            f"the watch of version {promotion.version} was over at "
            f"{over.isoformat(timespec='minutes')}, and it was not judged in time"
        )
    return promotion


def seconds_since(home: Home, promotion: Entry) -> float:
    """Return for how long a promotion has been in production, whatever the wall clock is set to.

    Where it was made on another machine, or before a restart, that is not known: it counts from
    when this boot is asked first, so that it is watched for the whole time. Only of a promotion
    that an earlier version of this program made is the wall clock believed.

    Raises:
        EnvironmentFault: the file with the begin of a watch is broken.
    """
    if not promotion.clock or clock.reading() is None:
        return max(0.0, (datetime.now(UTC) - promotion.at).total_seconds())
    began = _began(home)
    marks = promotion.clock
    if began is not None and (began.promoted, began.bundle) == (promotion.at, promotion.bundle):
        marks = began.clock | marks
    age = clock.age(marks)
    if age is not None:
        return age
    noted = WatchStart(promoted=promotion.at, bundle=promotion.bundle, clock=clock.marks(marks))
    workdir.write_text(home / BEGAN, noted.model_dump_json(indent=2) + "\n")
    return 0.0


def rolled_back(home: Home, run_id: str) -> Entry | None:
    """Return the rollback that a watch made in this run, if it is the last change."""
    history = read_history(home)
    if history and history[-1].kind == "rollback":
        last = history[-1]
        return last if (last.by, last.run_id) == (BY, run_id) else None
    return None


def finish(
    registry: Registry, keys: Sequence[SSlibKey], production: Production, progress: Progress
) -> Entry | None:
    """Finish the rollback that a watch began and did not end; return it, or None.

    Raises:
        Refused: the earlier version does not verify any more.
        EnvironmentFault: registry, disk or port are unavailable; it stays open.
    """
    home = production.home
    if not any(_is_watch_rollback(one.record.kind, one.record.by) for one in open_journals(home)):
        return None
    with production_lock(home):
        recover(registry, keys, production, None, progress)
    last = read_history(home)[-1]
    return last if _is_watch_rollback(last.kind, last.by) else None


def _is_watch_rollback(kind: str, by: str) -> bool:
    return (kind, by) == ("rollback", BY)


def _last(home: Home) -> WatchEnd | None:
    return _read(home / FILE, WatchEnd)


def _began(home: Home) -> WatchStart | None:
    return _read(home / BEGAN, WatchStart)


def _read(path: Path, model: type[Model]) -> Model | None:
    try:
        return model.model_validate(documents.read_json(path, "it"))
    except FileNotFoundError:
        return None
    except (ValidationError, DocumentError) as error:
        raise EnvironmentFault(
            f"{path} is broken: {documents.reason(error)}",
            hint="remove it, and the promotion is watched again",
        ) from None
