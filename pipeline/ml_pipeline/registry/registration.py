"""How a bundle becomes a version: uploaded, registered once for its identity, and numbered."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ml_pipeline.bundle.differences import differences
from ml_pipeline.core.errors import EnvironmentFault, Refused
from ml_pipeline.core.home import Home
from ml_pipeline.registry import mlflow_model, version_numbers
from ml_pipeline.registry.bundles import Bundles
from ml_pipeline.registry.experiments import create_finished_run, experiment_id
from ml_pipeline.registry.mlflow_session import MlflowSession, mask_password
from ml_pipeline.registry.registered_model import ensure_model
from ml_pipeline.registry.search_history import log_search
from ml_pipeline.registry.versions import (
    DIGEST,
    IDENTITY,
    RegistryState,
    Version,
    read_state,
    version_of,
)

if TYPE_CHECKING:
    from ml_pipeline.bundle.reader import Bundle
    from ml_pipeline.core.report import Progress

MAX_PARAMETER = 500
"""Characters of a parameter's value that every version of MLflow keeps."""


@dataclass(frozen=True)
class Registered:
    """A registered version.

    Attributes:
        version: It; the one of before where its identity was registered before.
        is_new: Whether this call registered it.
        count: How many versions the model has now.
    """

    version: Version
    is_new: bool
    count: int


class Registration:
    """Registers bundles as versions of one model; the caller holds the home's lock."""

    def __init__(
        self, session: MlflowSession, name: str, home: Home, bundles: Bundles, progress: Progress
    ) -> None:
        self._session, self._name, self._home = session, name, home
        self._bundles, self._progress = bundles, progress

    def register(
        self, bundle: Bundle, tags: Mapping[str, str], metrics: Mapping[str, float]
    ) -> Registered:
        """Register the bundle where no version has its identity.

        Raises:
            Refused: the registry holds other content under this identity.
            EnvironmentFault: the registry does not answer.
        """
        state = read_state(self._session, self._name)
        registered = state.find(bundle.identity)
        if registered is None:
            if not state.exists:
                with self._session.scope():
                    ensure_model(self._session, self._name, self._home)
            self._skip_lost_numbers(state)
            created, after = self._create(bundle, tags, metrics)
            self.record_number(created.number)
            is_new = state.find_number(created.number) is None
            return Registered(created, is_new=is_new, count=len(after.versions))
        if registered.digest != bundle.digest:
            raise self._other_content(registered, bundle)
        self._complete(registered, bundle)
        return Registered(registered, is_new=False, count=len(state.versions))

    def restore(self, bundle: Bundle, number: int) -> Version:
        """Register a bundle under a number that the registry has not come to yet.

        MLflow numbers versions one after the other, those that were deleted included. So the
        numbers before are used up by versions that are deleted at once.

        Raises:
            Refused: the registry's next number is a later one.
            EnvironmentFault: the registry does not answer.
        """
        self._use_up_numbers_before(number)
        created, _ = self._create(bundle, lineage_tags(bundle), {})
        if created.number != number:
            with self._session.scope():
                self._session.client.delete_model_version(self._name, str(created.number))
            raise Refused(
                f"the registry numbered the bundle of version {number} as {created.number}",
                expected=f"version {number}: was another one registered meanwhile?",
            )
        return created

    def record_number(self, number: int) -> None:
        """Reserve this number and all lower ones: no later version gets one of them.

        Raises:
            EnvironmentFault: the home's record of numbers cannot be read.
        """
        self._home.make()
        version_numbers.record_number(self._home, self._name, number)

    def _skip_lost_numbers(self, state: RegistryState) -> None:
        """Use up the numbers of versions that the home saw and the registry lost."""
        seen = version_numbers.highest_number(self._home, self._name)
        if seen <= max((version.number for version in state.versions), default=0):
            return
        with self._session.scope():
            used, run_id = 0, self._create_unused_run()
            while used < seen:
                used = self._use_up_next_number(run_id)

    def _use_up_numbers_before(self, number: int) -> None:
        """Use up the numbers before this one, so that the next version gets it."""
        state = read_state(self._session, self._name)
        used = max((version.number for version in state.versions), default=0)
        with self._session.scope():
            ensure_model(self._session, self._name, self._home)
            if used >= number - 1:
                return
            run_id = self._create_unused_run()
            while used < number - 1:
                used = self._use_up_next_number(run_id)
                if used >= number:
                    raise Refused(
                        f"the registry gave number {used} to the next version of '{self._name}'",
                        expected=f"at most {number}, which history and approval name",
                        hint="a number is given once: restore the registry from a backup, or "
                        "begin with a new home (ML_HOME)",
                    )

    def _create_unused_run(self) -> str:
        experiment = experiment_id(self._session, self._name, self._home)
        return create_finished_run(
            self._session, experiment, "unused", "Uses up numbers of versions that were lost."
        )

    def _use_up_next_number(self, run_id: str) -> int:
        """Use up the next number of the model and return it."""
        unused = self._session.client.create_model_version(
            self._name, source=f"runs:/{run_id}/unused", run_id=run_id
        )
        self._session.client.delete_model_version(self._name, unused.version)
        return int(unused.version)

    def _other_content(self, registered: Version, bundle: Bundle) -> Refused:
        """Return the refusal of other content under a registered identity, with what differs."""
        try:
            found, hint = differences(self._bundles.manifest(registered), bundle.manifest)
        except (Refused, EnvironmentFault) as error:
            found, hint = f"what differs is not known, since {error.fault}", ""
        return Refused(
            f"version {registered.number} of '{self._name}' has this identity with other content: "
            f"{found}",
            expected=f"bundle {registered.digest[:12]}, not {bundle.digest[:12]}: same data, code, "
            "configuration, contract, lock and seed give the same bytes",
            hint=hint,
        )

    def _create(
        self, bundle: Bundle, tags: Mapping[str, str], metrics: Mapping[str, float]
    ) -> tuple[Version, RegistryState]:
        """Upload, then create the version with all of its tags at once: it is whole or not there.

        An interruption before that leaves a run that no version names.

        Returns:
            The version, and the registry's state with it.
        """
        self._progress("uploading the bundle to the registry", 0.2)
        with self._session.scope():
            from mlflow.exceptions import MlflowException

            client = self._session.client
            experiment = experiment_id(self._session, self._name, self._home)
            run = client.create_run(experiment, run_name=tags[IDENTITY][:12])
            run_id: str = run.info.run_id
            try:
                self._describe(run_id, bundle, tags, metrics)
                log_search(client, run_id, bundle)
                self._bundles.upload(run_id, bundle)
            except BaseException:
                with suppress(MlflowException):  # what went wrong before says more
                    client.set_terminated(run_id, status="FAILED")
                raise
            client.set_terminated(run_id)
            self._progress("registering", 0.8)
            created = client.create_model_version(
                self._name,
                source=f"runs:/{run_id}/{mlflow_model.FOLDER}",
                run_id=run_id,
                tags=dict(tags),
                await_creation_for=60,
            )
            return self._keep_first(version_of(self._name, created))

    def _describe(
        self, run_id: str, bundle: Bundle, tags: Mapping[str, str], metrics: Mapping[str, float]
    ) -> None:
        """Give a run what MLflow's pages show and compare: parameters, metrics and tags."""
        from mlflow.entities import Metric, Param, RunTag

        now = int(datetime.now(UTC).timestamp() * 1000)
        self._session.client.log_batch(
            run_id,
            metrics=[Metric(name, value, now, 0) for name, value in metrics.items()],
            params=[Param(name, value) for name, value in run_parameters(bundle).items()],
            tags=[RunTag(name, value) for name, value in tags.items()],
        )

    def _complete(self, version: Version, bundle: Bundle) -> None:
        """Upload the bundle of a registered version again, where the registry's is not whole."""
        if self._bundles.is_whole(version, bundle):
            return
        self._progress("uploading the bundle to the registry again", 0.2)
        self._bundles.upload(version.run_id, bundle)
        if not self._bundles.verifies(version):
            raise EnvironmentFault(
                f"registry {mask_password(self._session.uri)} does not hold version "
                f"{version.number} as it was registered, though it was uploaded again",
                hint="look at its artefact store: is there a file that is not the bundle's?",
            )

    def _keep_first(self, created: Version) -> tuple[Version, RegistryState]:
        """Delete ``created`` if another machine registered the same identity just before.

        So may this one have: a request whose answer is lost is sent again.

        Returns:
            The first version of the identity, and the registry's state.
        """
        from mlflow.exceptions import MlflowException

        state = read_state(self._session, self._name)
        first = state.find(created.identity)
        if first is None or first.number == created.number:
            return created, state
        try:
            self._session.client.delete_model_version(self._name, str(created.number))
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
        if first.digest != created.digest:
            raise Refused(
                f"version {first.number} of '{self._name}', registered just now from elsewhere, "
                "has this identity with other content",
                expected=f"bundle {first.digest[:12]}, not {created.digest[:12]}",
                hint="run 'ml-pipeline register' again: it says what differs",
            )
        return first, state


def run_parameters(bundle: Bundle) -> dict[str, str]:
    """Return how a bundle's model was trained, as MLflow's parameters: text of bounded length."""
    training = bundle.manifest["training"]
    found = {"problem": bundle.manifest["problem"]}
    for name in ("estimator", "calibration", "seed", "best_round"):
        found[name] = training.get(name)
    for group in ("params", "rows", "split"):
        values = training.get(group)
        for name, value in (values if isinstance(values, dict) else {}).items():
            found[f"{group}.{name}"] = value
    return {name: str(value)[:MAX_PARAMETER] for name, value in found.items() if value is not None}


def lineage_tags(bundle: Bundle) -> dict[str, str]:
    """Return the tags that a bundle's manifest gives: identity, its parts, cutoffs, profile."""
    tags = {IDENTITY: bundle.identity, DIGEST: bundle.digest, "profile": bundle.profile}
    for part, value in bundle.manifest["identity_parts"].items():
        tags[f"identity.{part}"] = str(value)
    for name, date in bundle.cutoffs.items():
        tags[f"cutoff.{name}"] = "" if date is None else date
    return tags
