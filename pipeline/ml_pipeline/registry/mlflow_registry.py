"""Versions of a model in MLflow: what they hold, where they come from, and who is champion.

Only ``MlflowClient`` is used: no active run, no tracking URI of the process, nothing left behind.
MLflow takes over a second to import, so it is imported on the first call.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import shutil
import socket
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from ml_pipeline.bundle.differences import differences
from ml_pipeline.bundle.reader import MANIFEST, Bundle, parse_manifest
from ml_pipeline.config import Project
from ml_pipeline.core import workdir
from ml_pipeline.core.errors import EnvironmentFault, Refused, UsageError
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import ModelRef, Progress
from ml_pipeline.registry import leases, mlflow_model, sqlite, version_numbers
from ml_pipeline.registry.leases import Claim, Holder, Standing, Subject
from ml_pipeline.registry.mlflow_session import masked, mlflow_scope
from ml_pipeline.registry.search_history import log_search
from ml_pipeline.registry.sqlite import SQLITE

CHALLENGER = "challenger"
CHAMPION = "champion"
STAGE_OF = {CHALLENGER: "Staging", CHAMPION: "Production"}

GATE_RECORD = "gate.json"
APPROVAL_RECORD = "approval.dsse.json"

IDENTITY = "identity"
DIGEST = "bundle.digest"
RECORD = "record."
"""Tag prefix: the SHA-256 of the newest record of that name."""

INSTEAD = "deploy another version, or register the model again"
"""What to do about a bundle that does not verify."""

ROOM = 1 << 20
"""Bytes that are free on a disk that is not full."""
MAX_PARAMETER = 500
"""Characters of a parameter's value that every version of MLflow keeps."""

LOCK_TIMEOUT = 60.0
"""Seconds to wait for another process that registers into the same home."""


@dataclass(frozen=True)
class Version:
    """A registered version: its number, what it is (identity) and what it holds (digest)."""

    name: str
    number: int
    identity: str
    digest: str
    tags: Mapping[str, str] = field(default_factory=dict, compare=False)
    run_id: str = field(default="", compare=False)

    @property
    def ref(self) -> ModelRef:
        """What a report says of it."""
        return ModelRef(
            name=self.name, version=self.number, identity=self.identity, digest=self.digest
        )


def _silent(_what: str, _share: float) -> None:
    """Tell nobody how far the work is."""


class Registry:
    """One registered model.

    Args:
        uri: MLflow tracking URI; None is SQLite in the home.
        name: The registered model.
        home: Holds the database and the artefacts where ``uri`` names no server.
        progress: Told when the first call makes the database, which takes seconds.
        stages: Also set the stages ``Staging`` and ``Production``.
    """

    def __init__(
        self,
        uri: str | None,
        name: str,
        home: Home,
        *,
        progress: Progress = _silent,
        stages: bool = False,
    ) -> None:
        self.uri = uri or sqlite.address(home.root.resolve() / "mlflow.db")
        self.name = name
        self._home = home
        self._progress = progress
        self._stages = stages

    @classmethod
    def of(cls, project: Project, home: Home, progress: Progress = _silent) -> Registry:
        """Return the registry that ``ml.yaml`` names; a relative SQLite file starts at the root."""
        section = project.config.registry
        uri = section.uri
        if uri and uri.startswith(SQLITE):
            given = uri.removeprefix(SQLITE)
            if not given.startswith("/"):
                uri = f"{sqlite.address(project.root)}/{given}"
        return cls(uri, project.model_name, home, progress=progress, stages=section.stages)

    def exists(self) -> bool:
        """Return whether there is something to ask: any server, or a SQLite file that was made.

        Raises:
            EnvironmentFault: the SQLite file is lost; see :func:`ml_pipeline.registry.sqlite.made`.
        """
        file = sqlite.file_of(self.uri)
        return file is None or sqlite.made(file, self._home)

    def ui_command(self) -> str | None:
        """Return the command that shows the runs in a browser.

        None where a server has pages, or where there is no database yet, which it would make.
        """
        file = sqlite.file_of(self.uri)
        if file is None or not file.is_file():
            return None
        return f"mlflow ui --backend-store-uri {shlex.quote(self.uri)}"

    # --- reading -------------------------------------------------------------------------

    def versions(self) -> list[Version]:
        """Return all versions, oldest first.

        Raises:
            EnvironmentFault: the registry does not answer.
        """
        with mlflow_scope(self.uri):
            return self._versions()

    def version(self, number: int) -> Version:
        """Return one version.

        Raises:
            UsageError: the registry answered that it has no such version.
            EnvironmentFault: the registry does not answer.
        """
        known = self.versions()
        for version in known:
            if version.number == number:
                return version
        numbers = ", ".join(str(version.number) for version in known) or "none"
        raise UsageError(
            f"model '{self.name}' has no version {number}", expected=f"one of: {numbers}"
        )

    def find(self, identity: str) -> Version | None:
        """Return the version of this identity.

        Raises:
            EnvironmentFault: the registry does not answer.
        """
        return next((v for v in self.versions() if v.identity == identity), None)

    def challenger(self) -> Version | None:
        """Return the version that was registered last; None only if the registry says so.

        Raises:
            EnvironmentFault: the registry does not answer.
        """
        return self.aliased(CHALLENGER)

    def champion(self) -> Version | None:
        """Return the version in production; None only if the registry says so.

        Raises:
            EnvironmentFault: the registry does not answer.
        """
        return self.aliased(CHAMPION)

    def alias_number(self, alias: str) -> int | None:
        """Return the number that an alias names, whether or not there is such a version.

        Raises:
            EnvironmentFault: the registry does not answer.
        """
        with mlflow_scope(self.uri):
            model = self._model()
            number = None if model is None else model.aliases.get(alias)
            return None if number is None else int(number)

    def aliased(self, alias: str) -> Version | None:
        """Return the version that holds an alias; None only if the registry says so.

        Raises:
            EnvironmentFault: the registry does not answer, or the alias names a lost version.
        """
        with mlflow_scope(self.uri):
            model = self._model()
            number = None if model is None else model.aliases.get(alias)
            if number is None:
                return None
            for version in self._versions():
                if version.number == int(number):
                    return version
        raise EnvironmentFault(
            f"alias '{alias}' of model '{self.name}' names version {number}, which is gone",
            hint="set the alias to a version that exists",
        )

    def in_stage(self, stage: str) -> Version | None:
        """Return the newest version in one of MLflow's deprecated stages; None without one.

        Raises:
            EnvironmentFault: the registry does not answer.
        """
        with mlflow_scope(self.uri):
            if self._model() is None:
                return None
            numbers = {int(v.version) for v in self._all() if v.current_stage == stage}
            found = [v for v in self._versions() if v.number in numbers]
        return found[-1] if found else None

    # --- registering ---------------------------------------------------------------------

    def register(
        self,
        bundle_path: Path,
        tags: Mapping[str, str] | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> Version:
        """Put a bundle in and make it the challenger; an identity that is there keeps its version.

        Args:
            bundle_path: The bundle's folder; it is verified first.
            tags: Lineage beside what the manifest tells, such as the git commit.
            metrics: What was measured of the model, for its run.

        Raises:
            Refused: the model is a quick one, the bundle is not whole, or the registry holds other
                content under this identity.
            EnvironmentFault: the registry does not answer, or another process holds it.
        """
        bundle = Bundle.open(bundle_path)
        lineage = lineage_tags(bundle) | dict(tags or {})
        if lineage["profile"] != "full":
            raise Refused(
                "a quick model is not registered",
                expected="one trained on all of the data",
                hint="run 'ml-pipeline train' without --quick, then package",
            )
        self._home.make()
        try:
            with FileLock(self._home / "registry.lock", timeout=LOCK_TIMEOUT):
                version = self._same(bundle)
                if version is None:
                    self._skip_lost()
                    version = self._create(bundle, lineage, metrics or {})
                    self.note_number(version.number)
                else:
                    self._complete(version, bundle)
        except Timeout:
            raise EnvironmentFault(
                "another process registers a model", hint="try again when it has ended"
            ) from None
        self.set_alias(CHALLENGER, version)
        return version

    @property
    def is_lost(self) -> bool:
        """Whether there is no database where the SQLite file of the registry should be."""
        file = sqlite.file_of(self.uri)
        return file is not None and not (file.exists() and file.stat().st_size > 0)

    def begin_again(self) -> None:
        """Make the database of a registry whose SQLite file was lost; else do nothing.

        Every other command refuses to, since a new one begins with number 1: see ``restore``.
        """
        file = sqlite.file_of(self.uri)
        if file is None or not self.is_lost:
            return
        self._progress("making the registry's database", 0.0)
        with mlflow_scope(self.uri):
            sqlite.make(file, self._home, again=True)

    def restore(self, bundle_path: Path, number: int) -> Version:
        """Register a bundle under a number that the registry has not come to yet.

        MLflow numbers versions one after the other, those that were deleted included. So the
        numbers before are used up by versions that are deleted at once.

        Raises:
            Refused: the bundle is not whole, or the registry's next number is a later one.
            EnvironmentFault: the registry does not answer, or another process holds it.
        """
        bundle = Bundle.open(bundle_path)
        try:
            with FileLock(self._home / "registry.lock", timeout=LOCK_TIMEOUT):
                self._use_up(number)
                made = self._create(bundle, lineage_tags(bundle), {})
        except Timeout:
            raise EnvironmentFault(
                "another process registers a model", hint="try again when it has ended"
            ) from None
        if made.number != number:
            with mlflow_scope(self.uri):
                self._client.delete_model_version(self.name, str(made.number))
            raise Refused(
                f"the registry numbered the bundle of version {number} as {made.number}",
                expected=f"version {number}: was another one registered meanwhile?",
            )
        return made

    def note_number(self, number: int) -> None:
        """Let no version that is registered from now on have this number, or one before it.

        Raises:
            EnvironmentFault: the home's record of numbers cannot be read.
        """
        self._home.make()
        version_numbers.note(self._home, self.name, number)

    def _skip_lost(self) -> None:
        """Use up the numbers of versions that the home saw and the registry lost."""
        seen = version_numbers.highest(self._home, self.name)
        with mlflow_scope(self.uri):
            if seen <= max((version.number for version in self._versions()), default=0):
                return
            self._make_model()
            used, run_id = 0, self._unused_run()
            while used < seen:
                used = self._use_next(run_id)

    def _unused_run(self) -> str:
        run_id: str = self._client.create_run(self._experiment(), run_name="unused").info.run_id
        self._client.set_terminated(run_id)
        return run_id

    def _use_next(self, run_id: str) -> int:
        """Let no version have the next number, and return it."""
        unused = self._client.create_model_version(
            self.name, source=f"runs:/{run_id}/unused", run_id=run_id
        )
        self._client.delete_model_version(self.name, unused.version)
        return int(unused.version)

    def _use_up(self, number: int) -> None:
        """Let the next version of the model get this number."""
        with mlflow_scope(self.uri):
            self._make_model()
            before = [version.number for version in self._versions()]
            used = max(before, default=0)
            if used >= number - 1:
                return
            run_id = self._unused_run()
            while used < number - 1:
                used = self._use_next(run_id)
                if used >= number:
                    raise Refused(
                        f"the registry gave number {used} to the next version of '{self.name}'",
                        expected=f"at most {number}, which history and approval name",
                        hint="a number is given once: restore the registry from a backup, or "
                        "begin with a new home (ML_HOME)",
                    )

    def _make_model(self) -> None:
        """Make the registered model, unless it is there."""
        from mlflow.exceptions import MlflowException

        if self._model() is None:
            try:
                self._client.create_registered_model(self.name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise

    def _same(self, bundle: Bundle) -> Version | None:
        known = self.find(bundle.identity)
        if known is not None and known.digest != bundle.digest:
            raise self._clash(known, bundle)
        return known

    def _clash(self, known: Version, bundle: Bundle) -> Refused:
        """Return the refusal of other content under a registered identity, with what differs."""
        try:
            told, hint = differences(self.manifest(known), bundle.manifest)
        except (Refused, EnvironmentFault) as error:
            told, hint = f"what differs is not known, since {error.fault}", ""
        return Refused(
            f"version {known.number} of '{self.name}' has this identity with other content: {told}",
            expected=f"bundle {known.digest[:12]}, not {bundle.digest[:12]}: same data, code, "
            "configuration, contract, lock and seed give the same bytes",
            hint=hint,
        )

    def _create(
        self, bundle: Bundle, tags: Mapping[str, str], metrics: Mapping[str, float]
    ) -> Version:
        """Upload, then create the version with all of its tags at once: it is whole or not there.

        What is interrupted before leaves a run that no version names.
        """
        self._progress("uploading the bundle to the registry", 0.2)
        with mlflow_scope(self.uri), tempfile.TemporaryDirectory() as scratch:
            from mlflow.exceptions import MlflowException

            folder = Path(scratch) / "model"
            mlflow_model.write(bundle, folder)
            self._make_model()
            run = self._client.create_run(self._experiment(), run_name=tags[IDENTITY][:12])
            run_id: str = run.info.run_id
            try:
                self._describe(run_id, bundle, tags, metrics)
                log_search(self._client, run_id, bundle)
                self._upload(run_id, folder, bundle)
            except BaseException:
                with suppress(MlflowException):  # what went wrong before says more
                    self._client.set_terminated(run_id, status="FAILED")
                raise
            self._client.set_terminated(run_id)
            self._progress("registering", 0.8)
            made = self._client.create_model_version(
                self.name,
                source=f"runs:/{run_id}/{mlflow_model.FOLDER}",
                run_id=run_id,
                tags=dict(tags),
                await_creation_for=60,
            )
            return self._keep_first(self._of(made))

    def _describe(
        self, run_id: str, bundle: Bundle, tags: Mapping[str, str], metrics: Mapping[str, float]
    ) -> None:
        """Give a run what MLflow's pages show and compare: parameters, metrics and tags."""
        from mlflow.entities import Metric, Param, RunTag

        now = int(datetime.now(UTC).timestamp() * 1000)
        self._client.log_batch(
            run_id,
            metrics=[Metric(name, value, now, 0) for name, value in metrics.items()],
            params=[Param(name, value) for name, value in run_parameters(bundle).items()],
            tags=[RunTag(name, value) for name, value in tags.items()],
        )

    def _complete(self, version: Version, bundle: Bundle) -> None:
        """Upload the bundle of a registered version again, where the registry's is not whole."""
        with mlflow_scope(self.uri):
            if not self._missing(version.run_id, bundle) and self._verifies(version):
                return
            self._progress("uploading the bundle to the registry again", 0.2)
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch) / "model"
                mlflow_model.write(bundle, folder)
                self._upload(version.run_id, folder, bundle)
            if not self._verifies(version):
                raise EnvironmentFault(
                    f"registry {masked(self.uri)} does not hold version {version.number} as it was "
                    "registered, though it was uploaded again",
                    hint="look at its artefact store: is there a file that is not the bundle's?",
                )

    def _verifies(self, version: Version) -> bool:
        with tempfile.TemporaryDirectory() as scratch:
            try:
                self.download(version, Path(scratch) / "bundle")
            except Refused:
                return False
        return True

    def _upload(self, run_id: str, folder: Path, bundle: Bundle) -> None:
        """Upload the model folder, and see that the bundle has arrived: an answer is no proof."""
        self._client.log_artifacts(run_id, str(folder), mlflow_model.FOLDER)
        if missing := self._missing(run_id, bundle):
            raise EnvironmentFault(
                f"registry {masked(self.uri)} has not kept {missing[0]}",
                expected="every file of the bundle",
                hint="look at its artefact store, then try again",
            )

    def _missing(self, run_id: str, bundle: Bundle) -> list[str]:
        """Return the names of the bundle's files that the run has not in their size."""
        path = f"{mlflow_model.FOLDER}/{mlflow_model.BUNDLE}"
        stored = self._client.list_artifacts(run_id, path)
        sizes = {item.path.rpartition("/")[2]: item.file_size for item in stored}
        return sorted(
            file.name
            for file in bundle.path.iterdir()
            if sizes.get(file.name) != file.stat().st_size
        )

    def _keep_first(self, made: Version) -> Version:
        """Withdraw ``made`` if another machine registered the same identity just before.

        So may this one have: a request whose answer is lost is sent again.
        """
        first = next(v for v in self._versions() if v.identity == made.identity)
        if first.number == made.number:
            return made
        from mlflow.exceptions import MlflowException

        try:
            self._client.delete_model_version(self.name, str(made.number))
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
        if first.digest != made.digest:
            raise Refused(
                f"version {first.number} of '{self.name}', registered just now from elsewhere, has "
                "this identity with other content",
                expected=f"bundle {first.digest[:12]}, not {made.digest[:12]}",
                hint="run 'ml-pipeline register' again: it says what differs",
            )
        return first

    # --- aliases --------------------------------------------------------------------------

    def set_alias(self, alias: str, version: Version | None) -> None:
        """Give the alias to a version, or to none, and with ``stages`` the stage that goes with it.

        Raises:
            EnvironmentFault: the registry does not answer.
        """
        with mlflow_scope(self.uri):
            if version is None:
                if self._model() is not None:
                    self._client.delete_registered_model_alias(self.name, alias)
            else:
                self._client.set_registered_model_alias(self.name, alias, str(version.number))
            if self._stages:
                self._set_stage(alias, version)

    def _set_stage(self, alias: str, version: Version | None) -> None:
        """Move the deprecated stage along: servers that still use stages read it.

        A champion that is challenger again stays in Production.
        """
        stage = STAGE_OF[alias]
        holders = {v.version: v for v in self._all() if v.current_stage == stage}
        wanted = None if version is None else version.number
        for number in holders:
            if int(number) != wanted:
                self._client.transition_model_version_stage(self.name, str(number), "Archived")
        if version is None or any(int(number) == wanted for number in holders):
            return
        if alias == CHALLENGER:
            model = self._model()
            champion = None if model is None else model.aliases.get(CHAMPION)
            if champion is not None and int(champion) == wanted:
                return
        self._client.transition_model_version_stage(self.name, str(version.number), stage)

    # --- claims ---------------------------------------------------------------------------

    def claim(
        self, number: int, token: str, *, by: str, run_id: str, subject: Subject | None = None
    ) -> Claim:
        """Claim promotion ``number`` of this model: exactly one attempt ever gets it.

        See :mod:`ml_pipeline.registry.leases` for what guarantees that.

        Args:
            number: Of the promotion, from 1.
            token: 16 to 64 hexadecimal digits, chosen at random for this attempt and written down
                before: with it the claim is known as one's own after a lost answer or a kill.
            by: Who claims, for the others to read.
            run_id: Of the claimant's run.
            subject: What the promotion is about; it stays with the claim.

        Returns:
            A claim that is true for the winner and names the holder for all.

        Raises:
            UsageError: the registry is a folder, where two could win.
            EnvironmentFault: the registry does not answer. Whether the claim was made is then not
                known: ask again with the same token.
        """
        if number < 1 or not leases.TOKEN.fullmatch(token):
            raise ValueError(f"claim {number} with a token of {len(token)} characters")
        if urlsplit(self.uri).scheme in ("", "file"):
            raise UsageError(
                f"registry.uri {self.uri} is a folder, in which nothing can be claimed",
                expected="a server or a database",
            )
        holder = Holder(by, socket.gethostname(), run_id, datetime.now(UTC), token)
        with mlflow_scope(self.uri):
            return leases.take(self._client, self.name, number, holder, subject)

    def claimed_by(self, number: int) -> Holder | None:
        """Return who holds promotion ``number``; None only if the registry says that nobody does.

        Raises:
            EnvironmentFault: the registry does not answer.
        """
        with mlflow_scope(self.uri):
            self._model()
            return leases.holder_of(self._client, self.name, number)

    def claims(self) -> list[Standing]:
        """Return every claim by its number; none only if the registry says there is none.

        Raises:
            EnvironmentFault: the registry does not answer.
        """
        with mlflow_scope(self.uri):
            self._model()
            return leases.standing(self._client, self.name)

    def last_claim(self) -> Standing | None:
        """Return the claim of the greatest number; None only if the registry says there is none.

        Raises:
            EnvironmentFault: the registry does not answer.
        """
        found = self.claims()
        return found[-1] if found else None

    def end_claim(self, number: int, token: str, outcome: str) -> None:
        """End a claim of one's own; the claim of another token, or none, is left as it is.

        Raises:
            EnvironmentFault: the registry does not answer.
        """
        with mlflow_scope(self.uri):
            holder = leases.holder_of(self._client, self.name, number)
            if holder is not None and holder.token == token:
                leases.end(self._client, self.name, number, outcome)

    # --- records and artefacts ----------------------------------------------------------------

    def attach(self, version: Version, name: str, content: bytes) -> str:
        """Store a record with the version. Earlier ones of the same name stay as history.

        The content lies under its own SHA-256, and a tag names the newest: a reader sees the old
        record or the new one, never a half.

        Args:
            version: The version that the record is about.
            name: A file name, for example ``gate.json``.
            content: The record.

        Returns:
            The SHA-256 of the content.

        Raises:
            EnvironmentFault: the registry does not answer.
        """
        sha = hashlib.sha256(content).hexdigest()
        with mlflow_scope(self.uri), tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / f"{sha}{Path(name).suffix}"
            path.write_bytes(content)
            self._client.log_artifact(version.run_id, str(path), f"records/{name}")
            self._client.set_model_version_tag(self.name, str(version.number), RECORD + name, sha)
        return sha

    def record(self, version: Version, name: str) -> bytes | None:
        """Return the newest record of this name; None where the version has none.

        Raises:
            Refused: its content is not what its tag says.
            EnvironmentFault: the registry does not answer, or does not have its file any more.
        """
        sha = self.version(version.number).tags.get(RECORD + name)
        if sha is None:
            return None
        if not re.fullmatch("[0-9a-f]{64}", sha):
            raise Refused(
                f"record {name} of version {version.number} is named by no SHA-256",
                expected=f"64 hexadecimal digits in the version's tag {RECORD + name}",
            )
        with mlflow_scope(self.uri), tempfile.TemporaryDirectory() as scratch:
            path = f"records/{name}/{sha}{Path(name).suffix}"
            content = self._fetch(version, path, f"record {name}", scratch).read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if found != sha:
            raise Refused(
                f"record {name} of version {version.number} was changed after it was written",
                expected=f"sha256 {sha}, found {found}",
            )
        return content

    def manifest(self, version: Version) -> dict[str, Any]:
        """Return the manifest of the version's bundle, without its other files.

        The released copy in the home is read where it is whole, since the digest proves it.

        Raises:
            Refused: the registry's manifest is not the one that was registered.
            EnvironmentFault: the registry does not answer, or does not have it any more.
        """
        released = self._home / "released" / version.digest / MANIFEST
        if released.is_file() and workdir.digest(released) == version.digest:
            return parse_manifest(released.read_bytes(), released)
        with mlflow_scope(self.uri), tempfile.TemporaryDirectory() as scratch:
            path = f"{mlflow_model.FOLDER}/{mlflow_model.BUNDLE}/{MANIFEST}"
            fetched = self._fetch(version, path, f"the {MANIFEST}", scratch)
            content = fetched.read_bytes()
        found = hashlib.sha256(content).hexdigest()
        if found != version.digest:
            raise _another_bundle(version, found)
        return parse_manifest(content, Path(MANIFEST))

    def download(self, version: Version, dest: Path) -> Path:
        """Fetch the version's bundle into the folder ``dest`` and verify it.

        Raises:
            Refused: a file differs from the manifest, or the manifest from the version's tag.
            EnvironmentFault: the registry does not answer, or does not have the files any more.
        """
        with workdir.atomic_folder(dest) as folder:
            with mlflow_scope(self.uri), tempfile.TemporaryDirectory(dir=dest.parent) as scratch:
                path = f"{mlflow_model.FOLDER}/{mlflow_model.BUNDLE}"
                fetched = self._fetch(version, path, "the bundle", scratch)
                for item in sorted(fetched.iterdir()):
                    item.rename(folder / item.name)
            found = _opened(folder, version).digest
            if found != version.digest:
                raise _another_bundle(version, found)
        return dest

    def _fetch(self, version: Version, path: str, what: str, scratch: str) -> Path:
        """Download an artefact, a file or a folder, into ``scratch`` and return where it is.

        Raises:
            EnvironmentFault: the registry answers that it does not have it.
        """
        from mlflow.exceptions import MlflowException

        try:
            return Path(self._client.download_artifacts(version.run_id, path, scratch))
        except (MlflowException, OSError) as error:
            if self._has(version.run_id, path):
                _check_room(scratch, f"{what} of version {version.number}", error)
                raise
            root = self._client.get_run(version.run_id).info.artifact_uri
            raise EnvironmentFault(
                f"registry {masked(self.uri)} answers, but does not have {what} of version "
                f"{version.number} any more",
                expected=f"it at {masked(root).rstrip('/')}/{path}",
                hint="restore its artefacts from a backup, or register the model again",
            ) from error

    def _has(self, run_id: str, path: str) -> bool:
        """Return whether a run has this file, or anything in this folder."""
        beside = self._client.list_artifacts(run_id, path.rpartition("/")[0])
        if any(item.path == path and not item.is_dir for item in beside):
            return True
        return bool(self._client.list_artifacts(run_id, path))

    # --- MLflow -------------------------------------------------------------------------------

    @cached_property
    def _client(self) -> Any:
        file = sqlite.file_of(self.uri)
        if file is not None and not sqlite.made(file, self._home):
            self._progress("making the registry's database", 0.0)
            sqlite.make(file, self._home)
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def _model(self) -> Any | None:
        """Return the registered model; None only from a registry that proved that it answers."""
        found = self._client.search_registered_models(filter_string=f"name='{self.name}'")
        if found:
            return found[0]
        from mlflow.entities import ViewType

        if not self._client.search_experiments(view_type=ViewType.ALL, max_results=1):
            raise EnvironmentFault(
                f"what answers at {masked(self.uri)} is not an MLflow registry",
                expected="at least its default experiment",
                hint="see that registry.uri is right",
            )
        return None

    def _all(self) -> list[Any]:
        found, token = [], None
        while token != "":
            page = self._client.search_model_versions(f"name='{self.name}'", page_token=token)
            found += page
            token = page.token or ""
        return found

    def _versions(self) -> list[Version]:
        """Return all versions, oldest first; of one identity the first alone counts.

        A second one is what a machine left that ended before it could withdraw it.
        """
        if self._model() is None:
            return []
        found = sorted((self._of(item) for item in self._all()), key=lambda version: version.number)
        first: dict[str, int] = {}
        for version in found:
            first.setdefault(version.identity, version.number)
        return [v for v in found if not v.identity or first[v.identity] == v.number]

    def _of(self, item: Any) -> Version:
        return Version(
            name=self.name,
            number=int(item.version),
            identity=item.tags.get(IDENTITY, ""),
            digest=item.tags.get(DIGEST, ""),
            tags=dict(item.tags),
            run_id=item.run_id or "",
        )

    def _experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        name = f"ml-pipeline/{self.name}"
        known = self._client.get_experiment_by_name(name)
        if known is not None:
            return str(known.experiment_id)
        serves_artefacts = urlsplit(self.uri).scheme in {"http", "https"}
        folder = (self._home / "artifacts").resolve()
        try:
            made = self._client.create_experiment(
                name, artifact_location=None if serves_artefacts else folder.as_uri()
            )
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            made = self._client.get_experiment_by_name(name).experiment_id
        return str(made)


def _check_room(folder: str, what: str, error: Exception) -> None:
    """Say that a disk is full where that is why a download failed; MLflow does not.

    Raises:
        EnvironmentFault: it is.
    """
    free = shutil.disk_usage(folder).free
    if free < ROOM:
        raise EnvironmentFault(
            f"the disk of {Path(folder).parent} is full: {free:,} bytes are free",
            expected=f"room for {what}",
            hint="make room on it, then try again",
        ) from error


def _another_bundle(version: Version, found: str) -> Refused:
    return Refused(
        f"the bundle of version {version.number} is not the one that was registered: "
        f"the SHA-256 of its {MANIFEST} is {found}",
        expected=version.digest,
        hint=INSTEAD,
    )


def _opened(folder: Path, version: Version) -> Bundle:
    """Open what was fetched; what is wrong is told of the registry's copy, not of the folder."""
    try:
        return Bundle.open(folder)
    except Refused as error:
        fault = error.fault.replace(f"{folder}/", "").replace(str(folder), "the bundle")
        raise Refused(
            f"the registry's copy of version {version.number} is damaged: {fault}",
            expected=error.expected,
            hint=INSTEAD,
        ) from None


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
