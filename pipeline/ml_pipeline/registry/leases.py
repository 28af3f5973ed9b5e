"""Claims: of several that want to make promotion number N, exactly one may.

A claim is a registered model without versions, named after the number, which is created or not.

What guarantees what:

- *One wins.* ``registered_models.name`` is part of the primary key of MLflow's database, and its
  store inserts the model and its tags in one transaction, so of any number of attempts one is
  committed and the others get ``RESOURCE_ALREADY_EXISTS``. With SQLite that holds for the
  processes that open the same file on one machine (its lock is the file system's; a network file
  system may not keep it). Through a server on PostgreSQL or MySQL it holds for all machines and
  all workers of the server.
- *The others can say who.* The tags are part of the same transaction: whoever sees the claim sees
  its holder.
- *A lost answer is no lost claim.* The claim carries the token of its attempt. Whoever writes the
  token down before it claims can ask again after a broken connection, or after being killed, and
  is told that the claim is its own.

- *The numbers follow each other.* A holder ends its claim with a tag that says how; the next number
  may be claimed from then on. So promotions of one model come one after the other, on whatever
  machines they run, and each checks what it is about after its claim.

What is not guaranteed: that the holder still lives (a claim that its holder did not end stays open
until the holder's home ends it, or a person sets the tag), and that nobody deletes or renames the
model in the registry, which frees the number. A server on
MLflow's file store looks before it creates, so there two may win; ``file:`` addresses are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ml_pipeline.core.errors import EnvironmentFault

TOKEN = re.compile(r"[0-9a-f]{16,64}")
PREFIX = "claim."
"""Tag prefix."""
ENDED = f"{PREFIX}ended"
"""Tag of a claim whose holder is done: how it ended."""


@dataclass(frozen=True)
class Holder:
    """Who made a claim, where and when, and the token of the attempt."""

    by: str
    host: str
    run_id: str
    at: datetime
    token: str

    def __str__(self) -> str:
        when = self.at.isoformat(timespec="seconds")
        return f"{self.by} on {self.host}, run {self.run_id}, since {when}"

    def to_tags(self) -> dict[str, str]:
        return {
            f"{PREFIX}by": self.by,
            f"{PREFIX}host": self.host,
            f"{PREFIX}run_id": self.run_id,
            f"{PREFIX}at": self.at.isoformat(),
            f"{PREFIX}token": self.token,
        }


@dataclass(frozen=True)
class Subject:
    """What a change of production is about."""

    kind: str
    """``promotion``, ``rollback`` or ``reconcile``."""
    version: int
    bundle: str
    approval: str
    """SHA-256 of the approval by which the version serves."""

    def to_tags(self) -> dict[str, str]:
        return {
            f"{PREFIX}kind": self.kind,
            f"{PREFIX}version": str(self.version),
            f"{PREFIX}bundle": self.bundle,
            f"{PREFIX}approval": self.approval,
        }


@dataclass(frozen=True)
class Standing:
    """A claim, what it is about, and how it ended; None while it is open."""

    number: int
    holder: Holder
    ended: str | None
    subject: Subject | None = None
    """None for a claim of an earlier ml-pipeline, which did not say."""

    def is_about(self, version: int, bundle: str) -> bool:
        subject = self.subject
        return subject is not None and (subject.version, subject.bundle) == (version, bundle)


@dataclass(frozen=True)
class Claim:
    """The answer to an attempt; true where the claim is the caller's own."""

    number: int
    mine: bool
    holder: Holder

    def __bool__(self) -> bool:
        return self.mine


def claim_name(model: str, number: int) -> str:
    """Return the registered model that stands for a claim; no project can have such a name."""
    return f"_promotion.{model}.{number}"


def take(
    client: Any, model: str, number: int, holder: Holder, subject: Subject | None = None
) -> Claim:
    """Create the claim, or find out who did.

    Raises:
        EnvironmentFault: what has the claim's name is none.
    """
    from mlflow.exceptions import MlflowException

    name = claim_name(model, number)
    try:
        client.create_registered_model(
            name,
            tags=holder.to_tags() | ({} if subject is None else subject.to_tags()),
            description=f"Promotion {number} of {model} belongs to {holder}. Not a model: keep it.",
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        found = holder_of(client, model, number)
        if found is None:
            raise EnvironmentFault(
                f"'{name}' was there and is gone", hint="see who deletes from the registry"
            ) from None
        return Claim(number, mine=found.token == holder.token, holder=found)
    return Claim(number, mine=True, holder=holder)


def holder_of(client: Any, model: str, number: int) -> Holder | None:
    """Return who holds a claim; None where nobody does.

    Raises:
        EnvironmentFault: what has the claim's name is none.
    """
    name = claim_name(model, number)
    found = client.search_registered_models(filter_string=f"name='{name}'")
    return _holder(name, found[0].tags) if found else None


def standing(client: Any, model: str) -> list[Standing]:
    """Return every claim by its number.

    Raises:
        EnvironmentFault: what has the claim's name is none.
    """
    name = re.compile(re.escape(f"_promotion.{model}.") + "([1-9][0-9]*)")
    found: dict[int, Any] = {}
    token = None
    while token != "":
        page = client.search_registered_models(
            filter_string=f"name LIKE '_promotion.{model}.%'", max_results=1000, page_token=token
        )
        for one in page:
            numbered = name.fullmatch(one.name)
            if numbered:
                found[int(numbered[1])] = one
        token = page.token or ""
    return [
        Standing(number, _holder(one.name, one.tags), one.tags.get(ENDED), _subject(one.tags))
        for number, one in sorted(found.items())
    ]


def end(client: Any, model: str, number: int, outcome: str) -> None:
    """Write down how a claim ended, which lets the next number be claimed."""
    client.set_registered_model_tag(claim_name(model, number), ENDED, outcome)


def _subject(tags: Mapping[str, str]) -> Subject | None:
    try:
        return Subject(
            kind=tags[f"{PREFIX}kind"],
            version=int(tags[f"{PREFIX}version"]),
            bundle=tags[f"{PREFIX}bundle"],
            approval=tags[f"{PREFIX}approval"],
        )
    except (KeyError, ValueError):
        return None


def _holder(name: str, tags: Mapping[str, str]) -> Holder:
    try:
        return Holder(
            by=tags[f"{PREFIX}by"],
            host=tags[f"{PREFIX}host"],
            run_id=tags[f"{PREFIX}run_id"],
            at=datetime.fromisoformat(tags[f"{PREFIX}at"]),
            token=tags[f"{PREFIX}token"],
        )
    except (KeyError, ValueError):
        raise EnvironmentFault(
            f"registered model '{name}' is no claim",
            expected="the tags of one",
            hint="restore its tags from a backup of the registry; if no promotion made it, remove "
            "this registered model",
        ) from None
