"""The champion, if registry, history and production agree on it.

The registry's alias alone is not enough: it can be lost, moved by hand, or belong to another
registry. A comparison with the wrong champion could let a worse model pass, so a difference ends
the comparison or promotion with an error that names the three values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ml_pipeline.approval.subject import is_champion, require_challenger
from ml_pipeline.config import Project
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.home import Home
from ml_pipeline.promotion import production_history
from ml_pipeline.promotion.environment import PRODUCTION, Production, is_stopped
from ml_pipeline.promotion.journal import open_journals
from ml_pipeline.promotion.lease_history import last_done, present_champion, registry_is_behind
from ml_pipeline.promotion.production_history import Entry
from ml_pipeline.registry.leases import Lease
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import CHAMPION, RegistryState, Version
from ml_pipeline.targets.base import Deployment, Placement
from ml_pipeline.targets.loader import load_target

RECONCILE = f"'ml-pipeline reconcile {PRODUCTION}'"
ALIAS = f"the registry's alias '{CHAMPION}'"
HISTORY = "the history"
ANSWER = "production"
"""Names of the three sources."""


@dataclass(frozen=True)
class Sources:
    """What registry, history and production record as being in production."""

    state: RegistryState
    """Versions and aliases of the registry."""
    leases: tuple[Lease, ...]
    """Changes of production in the registry, of all homes."""
    last_entry: Entry | None
    """The last line of the history."""
    file: str | None
    """The bundle's digest in ``production-model.yaml``."""
    running: Deployment | None
    was_queried: bool
    """Whether the project has an environment ``production``, which was queried."""
    was_stopped: bool
    """Whether production was stopped on purpose."""
    registry_is_behind: bool = False
    """Whether the history continues after the registry's last change."""

    @property
    def alias(self) -> int | None:
        """The version number of the registry's alias; that version may have been deleted."""
        return self.state.aliases.get(CHAMPION)

    @property
    def version(self) -> Version | None:
        """The version of that number; None without an alias, or if the version was deleted."""
        return present_champion(self.state)

    @property
    def last(self) -> Lease | None:
        """The last completed change of production in the registry."""
        return last_done(self.leases)

    @property
    def records_agree(self) -> bool:
        """Whether registry and home agree; the running version is not considered."""
        if self.last_entry is None:
            return self.alias is None and self.file is None and self._follows(None)
        return (
            self._follows(self.version)
            and self.version is not None
            and (self.version.number, self.version.digest)
            == (
                self.last_entry.version,
                self.last_entry.bundle,
            )
        )

    def _follows(self, version: Version | None) -> bool:
        """Return whether the registry's last change was to this version, if it records one."""
        if self.last is None or self.last.subject is None:
            return True
        return version is not None and self.last.is_about(version.number, version.digest)

    @property
    def production_agrees(self) -> bool:
        if self.running is None:
            return self.last_entry is None or self.was_stopped
        return self.last_entry is not None and self.running.digest == self.last_entry.bundle

    @property
    def difference(self) -> str:
        """A short description of which of them differ."""
        digests = {
            ALIAS: None if self.alias is None else f"{self.alias} {self.version}",
            HISTORY: self.file,
        }
        if self.last_entry is not None and self.version is not None:
            digests[ALIAS] = self.version.digest
        if self.last_entry is not None:
            digests[HISTORY] = self.last_entry.bundle
        if self.was_queried and self.running is not None:
            digests[ANSWER] = self.running.digest
        if difference := describe_difference(digests):
            return difference
        if not self.records_agree:
            return "the registry's last change led to another version"
        return "production does not answer"

    def __str__(self) -> str:
        last = ""
        if self.last is not None and self.last.subject is not None:
            last = f" (its last change, {self.last.number}, to version {self.last.subject.version})"
        records = f"the registry's alias '{CHAMPION}' {self._describe_alias()}{last}"
        if not self.was_queried:
            return f"{records}, and the history says {self._describe_history()}"
        history, running = self._describe_history(), self._describe_running()
        return f"{records}, the history says {history}, and production {running}"

    def _describe_alias(self) -> str:
        if self.alias is None:
            return "is not set"
        if self.version is None:
            return f"names version {self.alias}, which is gone"
        return f"names version {self.alias} (bundle {self.version.digest[:12]})"

    def _describe_history(self) -> str:
        if self.last_entry is not None:
            return f"version {self.last_entry.version} (bundle {self.last_entry.bundle[:12]})"
        if self.file is None:
            return "nothing"
        return f"nothing, {production_history.PRODUCTION_MODEL} bundle {self.file[:12]}"

    def _describe_running(self) -> str:
        if self.running is None:
            return "was stopped" if self.was_stopped else "does not answer"
        version = self.running.version
        number = "an unregistered version" if version is None else f"version {version}"
        return f"answers {number} (bundle {self.running.digest[:12]}) at {self.running.url}"


def describe_difference(digests: Mapping[str, str | None]) -> str:
    """Return a short description of which places differ; empty if all are equal."""
    values = list(digests.values())
    if len(set(values)) <= 1:
        return ""
    odd = [place for place, value in digests.items() if values.count(value) == 1]
    if len(odd) == 1:
        others = " and ".join(place for place in digests if place != odd[0])
        return f"{odd[0]} differs from {others}"
    *first, last = digests
    return f"{', '.join(first)} and {last} differ"


def agreed_champion(
    registry: Registry, production: Production | None, home: Home, *, must_answer: bool = True
) -> Version | None:
    """Return the champion; None only if registry, history and production have none.

    Args:
        registry: Holds the alias.
        production: Asked for what it serves; None where the project has no such environment.
        home: Holds the history.
        must_answer: Whether production has to answer with the champion, or to have been stopped on
            purpose. Without it only what is written down is compared.

    Raises:
        EnvironmentFault: they differ, a change of production is open, or one of them does not
            answer.
    """
    found = sources(registry, production, home)
    _check_agreement(found, must_answer=must_answer)
    return found.version


@dataclass(frozen=True)
class Contenders:
    """Challenger and champion, and the registry snapshot that they were read from."""

    challenger: Version
    champion: Version | None
    state: RegistryState
    leases: tuple[Lease, ...]


def contenders(
    registry: Registry, production: Production | None, home: Home, expected: int | None = None
) -> Contenders:
    """Return challenger and champion, where registry, history and production agree on the latter.

    A champion that is to be promoted again need not answer: its promotion starts it.

    Args:
        registry: Where they are.
        production: See ``agreed_champion``.
        home: Likewise.
        expected: The version that was shown to whoever decides; None accepts any.

    Raises:
        Refused: a newer version is the challenger now.
        UsageError: nothing was registered yet.
        EnvironmentFault: they do not agree, or one of them does not answer.
    """
    found = sources(registry, production, home)
    _check_agreement(found, must_answer=False)
    champion = found.version
    challenger = require_challenger(found.state, expected)
    if not is_champion(challenger, champion):
        _check_agreement(found, must_answer=True)
    return Contenders(challenger, champion, found.state, found.leases)


def sources(registry: Registry, production: Production | None, home: Home) -> Sources:
    """Return what registry, home and production record. The registry is read once.

    Raises:
        EnvironmentFault: a change of production is open, one of them does not answer, or the
            history is broken.
    """
    for journal in open_journals(home):
        raise EnvironmentFault(
            f"a change of {PRODUCTION} is not finished: {journal.record}",
            hint=f"run 'ml-pipeline promote' or {RECONCILE}",
        )
    state = registry.read()
    leases = registry.leases.read(state)
    history = production_history.read_history(home)
    return Sources(
        state=state,
        leases=leases,
        last_entry=history[-1] if history else None,
        file=production_history.bundle_in_production(home),
        running=None if production is None else production.status(),
        was_queried=production is not None,
        was_stopped=is_stopped(home),
        registry_is_behind=registry_is_behind(home, last_done(leases)),
    )


def _check_agreement(found: Sources, *, must_answer: bool) -> None:
    """Raise EnvironmentFault if the sources differ on the champion, with the value of each."""
    if found.records_agree and (
        not must_answer or not found.was_queried or found.production_agrees
    ):
        return
    raise EnvironmentFault(
        f"the champion of '{found.state.name}' is unknown: {found.difference}",
        hint=_hint(found),
        details=str(found),
    )


def production_of(project: Project, home: Home) -> Production | None:
    """Return where the champion of a project serves; None where it has no such environment."""
    if PRODUCTION not in project.config.environments:
        return None
    placement = Placement.of(project, PRODUCTION, home)
    return Production(load_target(placement.section.target), placement, project.config.gitops)


def _hint(found: Sources) -> str:
    """Return the command that resolves the difference."""
    last, last_entry, version = found.last, found.last_entry, found.version
    if version is not None and last is not None and not found.registry_is_behind:
        pair = (version.number, version.digest)
        is_recorded = last_entry is not None and (last_entry.version, last_entry.bundle) == pair
        if last.is_about(*pair) and not is_recorded:
            return (
                f"change {last.number} by {last.holder} made it the champion, which this home's "
                f"history does not say: run {RECONCILE} to take it over, or restore the history"
            )
    if last_entry is None:
        return (
            "restore the home's history from a backup; if nothing was ever promoted, remove the "
            f"alias '{CHAMPION}' and run 'ml-pipeline stop {PRODUCTION}'"
        )
    if found.records_agree and found.running is None:
        return f"run {RECONCILE}; if it is to stay down, 'ml-pipeline stop {PRODUCTION}'"
    registered = found.state.find_number(last_entry.version)
    if registered is None or registered.digest != last_entry.bundle:
        return (
            f"the registry does not hold version {last_entry.version} of the history: restore it "
            "from a backup, go back to a version that it holds with 'ml-pipeline rollback --to V', "
            f"or register it again: 'ml-pipeline reconcile {PRODUCTION} --restore-registry'"
        )
    return f"run {RECONCILE}, which serves what the history says and sets the alias to it"
