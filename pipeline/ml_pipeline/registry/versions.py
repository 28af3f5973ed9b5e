"""What a registry holds of one model, read at once: its versions and the aliases that name them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ml_pipeline.core.errors import EnvironmentFault, UsageError
from ml_pipeline.core.report import ModelRef
from ml_pipeline.registry.mlflow_session import MlflowSession
from ml_pipeline.registry.registered_model import LEASES_RUN, find_model

CHALLENGER = "challenger"
"""The alias of the version that was registered last."""
CHAMPION = "champion"
"""The alias of the version in production."""

IDENTITY = "identity"
DIGEST = "bundle.digest"
CAUSE = "cause"
"""Tag: why the version was trained, where the caller of ``train`` stated it."""
DATA = "data."
"""Prefix of tags: clean ``rows`` of the data, and their ``first`` and ``last`` day."""
TRAIN_SECONDS = "train.seconds"
"""Tag: how long ``train`` took."""


@dataclass(frozen=True)
class Version:
    """A registered version: its number, what it is (identity) and what it holds (digest)."""

    name: str
    number: int
    identity: str
    digest: str
    tags: Mapping[str, str] = field(default_factory=dict, compare=False)
    run_id: str = field(default="", compare=False)
    created: datetime | None = field(default=None, compare=False)
    """When it was registered, by the registry's clock."""

    @property
    def ref(self) -> ModelRef:
        """The version as a report names it."""
        return ModelRef(
            name=self.name, version=self.number, identity=self.identity, digest=self.digest
        )


@dataclass(frozen=True)
class RegistryState:
    """The versions and aliases of a model at one moment; without a model it has neither."""

    name: str
    exists: bool = False
    """Whether the registry has the model."""
    versions: tuple[Version, ...] = ()
    """Oldest first."""
    aliases: Mapping[str, int] = field(default_factory=dict)
    """The number that each alias names, whether or not there is such a version."""
    leases_run: str | None = None
    """The run that keeps the model's leases; None for a model of an earlier ml-pipeline."""

    def find_number(self, number: int | None) -> Version | None:
        """Return the version of this number; None without one."""
        return next((one for one in self.versions if one.number == number), None)

    def version(self, number: int) -> Version:
        """Return the version of this number.

        Raises:
            UsageError: the model has no such version.
        """
        found = self.find_number(number)
        if found is None:
            numbers = ", ".join(str(version.number) for version in self.versions) or "none"
            raise UsageError(
                f"model '{self.name}' has no version {number}", expected=f"one of: {numbers}"
            )
        return found

    def find(self, identity: str) -> Version | None:
        """Return the version of this identity; None without one."""
        return next((one for one in self.versions if one.identity == identity), None)

    def version_with_alias(self, alias: str) -> Version | None:
        """Return the version that holds an alias; None where no version does.

        Raises:
            EnvironmentFault: the alias names a version that was deleted.
        """
        number = self.aliases.get(alias)
        if number is None:
            return None
        found = self.find_number(number)
        if found is None:
            raise EnvironmentFault(
                f"alias '{alias}' of model '{self.name}' names version {number}, which is gone",
                hint="set the alias to a version that exists",
            )
        return found

    @property
    def champion(self) -> Version | None:
        """The version in production; raises EnvironmentFault as :meth:`aliased`."""
        return self.version_with_alias(CHAMPION)

    @property
    def challenger(self) -> Version | None:
        """The version that was registered last; raises EnvironmentFault as :meth:`aliased`."""
        return self.version_with_alias(CHALLENGER)


def read_state(session: MlflowSession, name: str) -> RegistryState:
    """Read the versions and aliases of a model in two requests.

    Of one identity the first version alone counts: a second one is what a machine left that ended
    before it could withdraw it.

    Raises:
        EnvironmentFault: the registry does not answer.
    """
    with session.scope():
        model = find_model(session, name)
        if model is None:
            return RegistryState(name)
        found = sorted(
            (version_of(name, item) for item in list_versions(session, name)),
            key=lambda version: version.number,
        )
    first: dict[str, int] = {}
    for version in found:
        first.setdefault(version.identity, version.number)
    return RegistryState(
        name,
        exists=True,
        versions=tuple(v for v in found if not v.identity or first[v.identity] == v.number),
        aliases={alias: int(number) for alias, number in model.aliases.items()},
        leases_run=model.tags.get(LEASES_RUN),
    )


def list_versions(session: MlflowSession, name: str) -> list[Any]:
    """Return MLflow's entities of all versions of a model, in no order."""
    found, token = [], None
    while token != "":
        page = session.client.search_model_versions(f"name='{name}'", page_token=token)
        found += page
        token = page.token or ""
    return found


def version_of(name: str, item: Any) -> Version:
    """Return the version that MLflow's entity describes."""
    return Version(
        name=name,
        number=int(item.version),
        identity=item.tags.get(IDENTITY, ""),
        digest=item.tags.get(DIGEST, ""),
        tags=dict(item.tags),
        run_id=item.run_id or "",
        created=datetime.fromtimestamp(item.creation_timestamp / 1000, UTC)
        if item.creation_timestamp
        else None,
    )
