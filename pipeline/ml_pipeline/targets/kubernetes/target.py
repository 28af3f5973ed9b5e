"""The kubernetes target: a Deployment for each version; the Service's selector is the switch.

What is served is recorded in the cluster; the home has only the name of the objects. A new version
is verified beside the old one, over a forwarded port. Then the selector is changed, unless it was
changed meanwhile, and the old Deployment is kept until the switch is decided.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core import workdir
from ml_pipeline.core.documents import DocumentError, read_json
from ml_pipeline.core.errors import EnvironmentFault, PipelineError, Refused
from ml_pipeline.serving import prediction_log
from ml_pipeline.serving.access import read_token
from ml_pipeline.targets import copy_prediction_log, environment_lock, server_arguments
from ml_pipeline.targets.base import Deployment, Placement
from ml_pipeline.targets.handover import BaseHandover
from ml_pipeline.targets.kubernetes.kubectl import Kubectl
from ml_pipeline.targets.kubernetes.manifests import (
    ANNOTATION_PREFIX,
    CONTAINER,
    PORT,
    Document,
    Workload,
    documents,
    public_url,
)
from ml_pipeline.targets.kubernetes.resources import (
    PAUSE_SECONDS,
    PID,
    EnvironmentObjects,
    PreviousVersion,
    VersionDeployment,
)
from ml_pipeline.targets.released_bundles import release
from ml_pipeline.traffic import probe

if TYPE_CHECKING:
    from pathlib import Path

    from ml_pipeline.core.home import Home
    from ml_pipeline.core.locks import Lock

SCHEMA = "ml-pipeline/kubernetes/1"
PYTHON = "/opt/ml-pipeline/bin/python"
"""In the image of docker/server.Dockerfile."""
ARCHIVE_LOG = """\
import contextlib, json, os, sys, tarfile
folder, known = sys.argv[1], json.loads(sys.argv[2])
with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        path = os.path.join(folder, name)
        with contextlib.suppress(FileNotFoundError):  # removed by the rotation meanwhile
            if os.path.getsize(path) != known.get(name):
                archive.add(path, name)
"""
"""Writes a folder to standard output as a tar, without files of a known size.

A program in Python, since the image may have no command ``tar``.
"""
PUBLIC_KINDS = ("Service", "Ingress")
PUBLIC_SECONDS = 30.0
"""Time for all nodes and the ingress to follow a change of the Service."""
READY_SECONDS = 2.0

logger = logging.getLogger(__name__)


class KubernetesTarget:
    """Servers as pods, in the namespace of the environment."""

    def handover(
        self, placement: Placement, bundle: Path, version: int | None
    ) -> KubernetesHandover:
        """See ``Target.handover``. The cluster is that of the kubeconfig context."""
        token = read_token("0.0.0.0", placement.serving.token_env)  # noqa: S104  pods listen on all interfaces
        lock = environment_lock.acquire(placement)
        try:
            released = release(bundle, placement.home)
            workload = Workload.of(placement, released, version)
            objects = EnvironmentObjects(_cluster(placement), workload.app)
            previous = objects.recover(workload)
            spec = _VersionSpec(workload, released, token)
            changed = _switch(objects, spec, previous, placement)
        except BaseException:
            lock.release()
            raise
        return KubernetesHandover(objects, lock, placement, spec, previous, changed=changed)

    def status(self, placement: Placement) -> Deployment | None:
        app = _known_app(placement)
        if app is None:
            return None
        served = EnvironmentObjects(_cluster(placement), app).serving().version
        if served is None or not served.available or not _responds(placement):
            return None
        return served.deployment(placement.home)

    def fetch_predictions(self, placement: Placement) -> None:
        """See ``HasRemotePredictionLog.fetch_predictions``. It needs ``create`` on ``pods/exec``.

        A pod that has ended took its log with it, but for what was copied before.
        """
        app = _known_app(placement)
        if app is None:
            return
        _fetch_predictions(placement, EnvironmentObjects(_cluster(placement), app))

    def stop(self, placement: Placement) -> bool:
        app = _known_app(placement)
        if app is None:
            return False
        with environment_lock.acquire(placement):
            objects = EnvironmentObjects(_cluster(placement), app)
            running = bool(objects.versions())
            if running:
                _save_predictions(placement, objects)
            objects.delete_all()
            _record(placement).unlink(missing_ok=True)
        return running


class KubernetesHandover(BaseHandover):
    """The Service selects the new version; the former Deployment is kept."""

    def __init__(
        self,
        objects: EnvironmentObjects,
        lock: Lock,
        placement: Placement,
        spec: _VersionSpec,
        previous: PreviousVersion,
        *,
        changed: bool,
    ) -> None:
        super().__init__(lock)
        self._objects = objects
        self._placement = placement
        self._spec = spec
        self._previous = previous
        self._changed = changed

    @property
    def deployment(self) -> Deployment:
        return _deployment(self._spec, self._placement.home)

    @property
    def former(self) -> Deployment | None:
        version = self._previous.version
        if version is None or not version.available:
            return None
        return version.deployment(self._placement.home)

    @property
    def changed(self) -> bool:
        return self._changed

    def _keep(self) -> None:
        tag = self._previous.tag
        if tag not in (None, self._spec.workload.tag):
            _save_predictions(self._placement, self._objects)
            self._objects.delete_version(str(tag))

    def _revert(self) -> None:
        _revert_switch(self._objects, self._spec, self._previous, self._placement)


@dataclass(frozen=True)
class _VersionSpec:
    """The version to be served."""

    workload: Workload
    bundle: Bundle
    token: str | None

    def probe(self, url: str) -> None:
        probe.probe(url, self.bundle, self.workload.version, self.token)


def _switch(
    objects: EnvironmentObjects, spec: _VersionSpec, previous: PreviousVersion, placement: Placement
) -> bool:
    """Start, verify and switch, unless it is served already; return whether anything changed.

    On any error the previous version serves as before.
    """
    if _is_served(objects, spec, previous.version):
        return False
    try:
        _start(objects, spec, previous, placement)
    except BaseException as error:
        try:
            _revert_switch(objects, spec, previous, placement)
        except PipelineError as second:
            raise EnvironmentFault(
                f"{error}; and the rollback failed: {second}",
                hint="the next deployment recovers it once the cluster responds",
            ) from error
        raise
    return True


def _is_served(
    objects: EnvironmentObjects, spec: _VersionSpec, version: VersionDeployment | None
) -> bool:
    deployment = next(
        document for document in documents(spec.workload) if document["kind"] == "Deployment"
    )
    if version is None or not version.available or not version.matches(deployment):
        return False
    try:
        with objects.cluster.forwarded(f"deployment/{version.name}", PORT) as url:
            spec.probe(url)
    except Refused:
        return False
    return True


def _start(
    objects: EnvironmentObjects, spec: _VersionSpec, previous: PreviousVersion, placement: Placement
) -> None:
    workload = spec.workload
    replicas = 0 if previous.version is None else previous.version.replicas
    manifests = _with_applied_annotation(
        documents(workload, replicas=max(workload.settings.replicas, replicas))
    )
    _write_record(placement, workload.app)
    objects.apply([document for document in manifests if document["kind"] not in PUBLIC_KINDS])
    objects.wait_until_ready(workload)
    with objects.cluster.forwarded(f"deployment/{workload.name}", PORT) as url:
        spec.probe(url)
    if previous.tag not in (None, workload.tag):
        objects.select(str(previous.tag), workload.tag)
    objects.apply([document for document in manifests if document["kind"] in PUBLIC_KINDS])
    _verify(objects, spec)


def _verify(objects: EnvironmentObjects, spec: _VersionSpec) -> None:
    """Probe the version at its public URL. Raises Refused as ``probe.probe`` does."""
    url = public_url(spec.workload.section)
    if url is None:
        target = f"service/{spec.workload.app}"
        with objects.cluster.forwarded(target, spec.workload.port) as forwarded:
            spec.probe(forwarded)
        return
    deadline = time.monotonic() + PUBLIC_SECONDS
    while True:
        try:
            spec.probe(url)
        except Refused:
            if time.monotonic() > deadline:
                raise
        else:
            return
        time.sleep(PAUSE_SECONDS)


def _revert_switch(
    objects: EnvironmentObjects, spec: _VersionSpec, previous: PreviousVersion, placement: Placement
) -> None:
    """Let the previous version serve again with its settings, and delete what was started."""
    tag, former = spec.workload.tag, previous.version
    if previous.tag is None:
        objects.delete_all()
        _record(placement).unlink(missing_ok=True)
        return
    now = objects.selected()
    if now in (tag, previous.tag):
        if former is not None and former.applied:
            objects.apply(_with_replicas(former.applied, former.replicas))
        elif now != previous.tag:
            objects.select(tag, previous.tag)
    if tag != previous.tag:
        objects.delete_version(tag)
    elif former is not None and not objects.cluster.wait_for_rollout(
        former.name, spec.workload.settings.rollout_seconds
    ):
        raise EnvironmentFault(f"the former servers of {former.name} do not become ready again")


def _with_applied_annotation(manifests: list[Document]) -> list[Document]:
    """Add the objects to the Deployment's annotations, so that they can be applied again."""
    whole = json.dumps(manifests, sort_keys=True)
    for document in manifests:
        if document["kind"] == "Deployment":
            document["metadata"]["annotations"] |= {f"{ANNOTATION_PREFIX}applied": whole}
    return manifests


def _with_replicas(manifests: list[Document], replicas: int) -> list[Document]:
    for document in manifests:
        if document["kind"] == "Deployment":
            document["spec"]["replicas"] = replicas
    return _with_applied_annotation(manifests)


def _deployment(spec: _VersionSpec, home: Home) -> Deployment:
    workload = spec.workload
    return Deployment(
        url=workload.url,
        version=workload.version,
        digest=workload.digest,
        pid=PID,
        bundle=home / "released" / workload.digest,
    )


def _responds(placement: Placement) -> bool:
    import httpx

    url = public_url(placement.section)
    if url is None:
        return True
    try:
        with probe.client(url, timeout=READY_SECONDS) as api:
            return api.get("/health/ready").status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


# --- records in the home ----------------------------------------------------------------------


def _fetch_predictions(placement: Placement, objects: EnvironmentObjects) -> None:
    if not placement.serving.prediction_log.enabled:
        return
    folder = server_arguments.log_folder(placement)
    pods = objects.running_pods()
    for pod in pods:
        known = {path.name: path.stat().st_size for path in prediction_log.files(folder)}
        command = [PYTHON, "-c", ARCHIVE_LOG, str(server_arguments.LOG_FOLDER), json.dumps(known)]
        chunks = objects.cluster.output_of(pod, CONTAINER, command)
        copy_prediction_log.copy_log(chunks, folder, placement.serving, servers=len(pods))


def _save_predictions(placement: Placement, objects: EnvironmentObjects) -> None:
    """Copy the log of pods that are about to be deleted; failure is a warning, not an error."""
    try:
        _fetch_predictions(placement, objects)
    except EnvironmentFault as fault:
        logger.warning("the prediction log of pods of %s is lost: %s", placement.name, fault)


def _cluster(placement: Placement) -> Kubectl:
    section = placement.section.kubernetes
    return Kubectl(section.context, section.namespace)


def _record(placement: Placement) -> Path:
    return placement.home / f"servers/{placement.name}.kubernetes.json"


def _write_record(placement: Placement, app: str) -> None:
    values = {"schema": SCHEMA, "app": app}
    workdir.write_text(_record(placement), json.dumps(values) + "\n")


def _known_app(placement: Placement) -> str | None:
    """Return the name of this home's objects; None if it never deployed there."""
    path = _record(placement)
    try:
        values = read_json(path)
        schema, app = values["schema"], str(values["app"])
    except FileNotFoundError:
        return None
    except (OSError, DocumentError, KeyError, TypeError) as error:
        schema, app = error, ""
    if schema != SCHEMA:
        raise EnvironmentFault(
            f"cannot read {path}: {schema}", expected=SCHEMA, hint="remove it and deploy again"
        )
    return app
