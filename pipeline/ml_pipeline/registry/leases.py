"""Leases: of several that want to make change number N of production, exactly one may.

A lease is a group of parameters ``lease.N.*`` of one run, which the registered model's tag
``leases.run`` names. MLflow never changes a parameter of a run once it is logged.

What guarantees what:

- *One wins.* Key and run are the primary key of a parameter in MLflow's database, and its store
  inserts the parameters of one request in one transaction, so of any number of attempts one is
  committed and the others fail. With SQLite that holds for the processes that open the same file
  on one machine (its lock is the file system's; a network file system may not keep it). Through a
  server on PostgreSQL or MySQL it holds for all machines and all workers of the server.
- *All use one run.* The tag is set in the transaction that creates the registered model. For a
  model of an earlier ml-pipeline, whoever logs the parameter ``leases.run`` of its first version's
  run decides which run it is.
- *The others can say who.* Whoever sees the lease sees its holder.
- *A lost answer is no lost lease.* The lease carries the token of its attempt. Whoever writes the
  token down before it acquires can ask again after a broken connection, or after being killed, and
  learns that the lease is its own.
- *The numbers follow each other.* A holder ends its lease with a tag of the run that says how; the
  next number may be acquired from then on. So changes of production of one model come one after
  the other, on whatever machines they run. Whoever reads the leases and then acquires the next
  number knows that no change was made in between.

What is not guaranteed: that the holder still lives (a lease that its holder did not end stays open
until the holder's home ends it, or a person sets the tag), and that the run is not deleted. A
server on MLflow's file store looks before it creates, so there two may win; ``file:`` addresses are
refused.

An earlier ml-pipeline kept each lease as a registered model ``_promotion.NAME.N`` without versions.
Those are read as they are, and copied into the run before the first lease that is acquired there.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from ml_pipeline.core.errors import EnvironmentFault, UsageError
from ml_pipeline.core.home import Home
from ml_pipeline.registry.mlflow_session import MlflowSession
from ml_pipeline.registry.registered_model import (
    LEASES_RUN,
    create_leases_run,
    ensure_model,
    find_model,
)
from ml_pipeline.registry.versions import RegistryState, list_versions

TOKEN = re.compile(r"[0-9a-f]{16,64}")
KEY = re.compile(r"lease\.([1-9][0-9]*)\.([a-z_]+)")
ENDED = "ended"
"""Field of a lease that its holder has ended: how. A tag, since parameters never change."""
FIELDS = ("by", "host", "run_id", "at", "token", "kind", "version", "bundle", "approval")
"""Fields of a lease, each a parameter."""
MAX_VALUE = 500
"""Characters of a parameter's value that every version of MLflow keeps."""
BATCH = 100 // len(FIELDS)
"""Leases whose parameters one request of MLflow may log."""
RETRY_SECONDS = (0.0, 0.1, 0.3, 1.0)
"""Pauses before each attempt: a database may refuse one of two writers for a moment."""
LEGACY_PREFIX = "claim."


@dataclass(frozen=True)
class Holder:
    """Who holds a lease, where and since when, and the token of the attempt."""

    by: str
    host: str
    run_id: str
    at: datetime
    token: str

    def __str__(self) -> str:
        when = self.at.isoformat(timespec="seconds")
        return f"{self.by} on {self.host}, run {self.run_id}, since {when}"

    def to_fields(self) -> dict[str, str]:
        return {
            "by": self.by,
            "host": self.host,
            "run_id": self.run_id,
            "at": self.at.isoformat(),
            "token": self.token,
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

    def to_fields(self) -> dict[str, str]:
        return {
            "kind": self.kind,
            "version": str(self.version),
            "bundle": self.bundle,
            "approval": self.approval,
        }


@dataclass(frozen=True)
class Lease:
    """A lease, what it is about, and how it ended; None while it is open."""

    number: int
    holder: Holder
    ended: str | None
    subject: Subject | None = None
    """None for a lease of an early ml-pipeline, which did not say."""

    def is_about(self, version: int, bundle: str) -> bool:
        subject = self.subject
        return subject is not None and (subject.version, subject.bundle) == (version, bundle)


@dataclass(frozen=True)
class LeaseAttempt:
    """The result of an attempt to acquire a lease; true where the lease is the caller's own."""

    number: int
    is_own: bool
    holder: Holder

    def __bool__(self) -> bool:
        return self.is_own


class Leases:
    """The leases of one model's changes of production."""

    def __init__(self, session: MlflowSession, name: str, home: Home) -> None:
        self._session, self._name, self._home = session, name, home
        self._run_id: str | None = None
        self._acquired: set[tuple[int, str]] = set()

    def read(self, state: RegistryState | None = None) -> tuple[Lease, ...]:
        """Return every lease by its number; none only if the registry says there is none.

        Args:
            state: What was read of the model before; None reads which run keeps the leases.

        Raises:
            EnvironmentFault: the registry does not answer, or what it keeps is no lease.
        """
        with self._session.scope():
            if self._run_id is None and state is not None and state.leases_run is not None:
                self._run_id = state.leases_run
            if self._run_id is None:
                if state is not None:
                    return self._read_legacy() if state.exists else ()
                model = find_model(self._session, self._name)
                self._run_id = None if model is None else model.tags.get(LEASES_RUN)
                if self._run_id is None:
                    return () if model is None else self._read_legacy()
            return self._read_run(self._run_id)

    def acquire(
        self, number: int, token: str, *, by: str, run_id: str, subject: Subject | None = None
    ) -> LeaseAttempt:
        """Acquire lease ``number`` of this model: exactly one attempt ever gets it.

        Args:
            number: Of the change of production, from 1.
            token: 16 to 64 hexadecimal digits, chosen at random for this attempt and written down
                before: by it the lease is recognised as one's own after a lost answer or a kill.
            by: Who acquires it, for the others to read.
            run_id: Of the run that changes production.
            subject: What the change is about; it stays with the lease.

        Returns:
            What is true for the winner and names the holder for all.

        Raises:
            UsageError: the registry is a folder, where two could win.
            EnvironmentFault: the registry does not answer. Whether the lease was acquired is then
                not known: ask again with the same token.
        """
        if number < 1 or not TOKEN.fullmatch(token):
            raise ValueError(f"lease {number} with a token of {len(token)} characters")
        if urlsplit(self._session.uri).scheme in ("", "file"):
            raise UsageError(
                f"registry.uri {self._session.uri} is a folder, which keeps no lease",
                expected="a server or a database",
            )
        holder = Holder(by, socket.gethostname(), run_id, datetime.now(UTC), token)
        with self._session.scope():
            leases_run = self._ensure_run()
            attempt = self._log(leases_run, number, holder, subject)
        if attempt:
            self._acquired.add((number, token))
        return attempt

    def release(self, number: int, token: str, outcome: str) -> None:
        """End a lease of one's own; the lease of another token, or none, is left as it is.

        Raises:
            EnvironmentFault: the registry does not answer.
        """
        with self._session.scope():
            leases_run = self._ensure_run()
            if (number, token) not in self._acquired:
                holder = self._holder_of(leases_run, number)
                if holder is None or holder.token != token:
                    return
            self._session.client.set_tag(leases_run, _key(number, ENDED), outcome)

    def tag_to_end(self, number: int) -> str:
        """Return in words the tag by which a person ends a lease whose home is gone."""
        return f"the tag {_key(number, ENDED)} of run {self._run_id} of the registry"

    def _log(
        self, leases_run: str, number: int, holder: Holder, subject: Subject | None
    ) -> LeaseAttempt:
        from mlflow.exceptions import MlflowException

        fields = holder.to_fields() | ({} if subject is None else subject.to_fields())
        for seconds in RETRY_SECONDS:
            time.sleep(seconds)
            try:
                self._session.client.log_batch(leases_run, params=_parameters(number, fields))
            except MlflowException as error:
                found = self._holder_of(leases_run, number)
                if found is not None:
                    return LeaseAttempt(number, found.token == holder.token, found)
                failed = error
            else:
                return LeaseAttempt(number, is_own=True, holder=holder)
        raise failed

    def _holder_of(self, leases_run: str, number: int) -> Holder | None:
        return next(
            (one.holder for one in self._read_run(leases_run) if one.number == number), None
        )

    def _read_run(self, leases_run: str) -> tuple[Lease, ...]:
        from mlflow.exceptions import MlflowException

        try:
            data = self._session.client.get_run(leases_run).data
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise EnvironmentFault(
                f"run {leases_run}, which keeps the leases of '{self._name}', was deleted",
                hint="restore it from a backup of the registry; without one remove the tag "
                f"{LEASES_RUN} of the registered model, and only the home's history knows which "
                "approvals were used",
            ) from None
        found: dict[int, dict[str, str]] = {}
        for key, value in [*data.params.items(), *data.tags.items()]:
            if named := KEY.fullmatch(key):
                found.setdefault(int(named[1]), {})[named[2]] = value
        return tuple(
            _lease(number, fields, f"lease {number} of run {leases_run}")
            for number, fields in sorted(found.items())
        )

    def _ensure_run(self) -> str:
        """Return the run of the leases; a model of an earlier ml-pipeline gets one."""
        if self._run_id is None:
            ensure_model(self._session, self._name, self._home)
            model = find_model(self._session, self._name)
            known = None if model is None else model.tags.get(LEASES_RUN)
            self._run_id = self._migrated() if known is None else known
        return self._run_id

    def _migrated(self) -> str:
        """Choose a run for the leases of an earlier ml-pipeline, and copy them into it.

        Every step may be done twice, or by two machines at once.
        """
        from mlflow.exceptions import MlflowException

        client = self._session.client
        versions = list_versions(self._session, self._name)
        if not versions:
            raise EnvironmentFault(
                f"model '{self._name}' has no version, so nothing of it can be in production",
                hint="run 'ml-pipeline register'",
            )
        first = min(versions, key=lambda item: int(item.version)).run_id
        chosen = client.get_run(first).data.params.get(LEASES_RUN)
        if chosen is None:
            made = create_leases_run(self._session, self._name, self._home)
            try:
                client.log_param(first, LEASES_RUN, made)
            except MlflowException:
                chosen = client.get_run(first).data.params.get(LEASES_RUN)
                if chosen is None:
                    raise
                client.delete_run(made)
            else:
                chosen = made
        self._copy_legacy(chosen)
        client.set_registered_model_tag(self._name, LEASES_RUN, chosen)
        return str(chosen)

    def _copy_legacy(self, leases_run: str) -> None:
        legacy = self._read_legacy()
        for start in range(0, len(legacy), BATCH):
            parameters = []
            for one in legacy[start : start + BATCH]:
                subject = {} if one.subject is None else one.subject.to_fields()
                parameters += _parameters(one.number, one.holder.to_fields() | subject)
            self._session.client.log_batch(leases_run, params=parameters)
        for one in legacy:
            if one.ended is not None:
                self._session.client.set_tag(leases_run, _key(one.number, ENDED), one.ended)

    def _read_legacy(self) -> tuple[Lease, ...]:
        """Return the leases that an earlier ml-pipeline kept as registered models."""
        name = re.compile(re.escape(f"_promotion.{self._name}.") + "([1-9][0-9]*)")
        found: dict[int, Any] = {}
        token = None
        while token != "":
            page = self._session.client.search_registered_models(
                filter_string=f"name LIKE '_promotion.{self._name}.%'",
                max_results=1000,
                page_token=token,
            )
            for one in page:
                if numbered := name.fullmatch(one.name):
                    found[int(numbered[1])] = one
            token = page.token or ""
        return tuple(
            _lease(number, _legacy_fields(one.tags), f"registered model '{one.name}'")
            for number, one in sorted(found.items())
        )


def _key(number: int, field: str) -> str:
    return f"lease.{number}.{field}"


def _parameters(number: int, fields: Mapping[str, str]) -> list[Any]:
    from mlflow.entities import Param

    return [
        Param(_key(number, field), value[:MAX_VALUE]) for field, value in fields.items() if value
    ]


def _legacy_fields(tags: Mapping[str, str]) -> dict[str, str]:
    return {
        key.removeprefix(LEGACY_PREFIX): value
        for key, value in tags.items()
        if key.startswith(LEGACY_PREFIX)
    }


def _lease(number: int, fields: Mapping[str, str], where: str) -> Lease:
    try:
        holder = Holder(
            by=fields["by"],
            host=fields["host"],
            run_id=fields["run_id"],
            at=datetime.fromisoformat(fields["at"]),
            token=fields["token"],
        )
    except (KeyError, ValueError) as error:
        raise EnvironmentFault(
            f"{where} is no lease: {error} is missing or not readable",
            expected=", ".join(FIELDS),
            hint="restore it from a backup of the registry",
        ) from None
    return Lease(number, holder, fields.get(ENDED), _subject(fields))


def _subject(fields: Mapping[str, str]) -> Subject | None:
    try:
        return Subject(
            kind=fields["kind"],
            version=int(fields["version"]),
            bundle=fields["bundle"],
            approval=fields.get("approval", ""),
        )
    except (KeyError, ValueError):
        return None
