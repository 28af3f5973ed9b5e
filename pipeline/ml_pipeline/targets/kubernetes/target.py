"""The kubernetes target: a Deployment a version, and a Service whose selector is the switch.

What serves stands in the cluster; the home keeps only what the objects are called. A new version
proves itself beside the old one, over a forwarded port. Then the selector moves, if it still is
where it was, and the old Deployment stays until the switch is decided.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core import workdir
from ml_pipeline.core.documents import DocumentError, read_json
from ml_pipeline.core.errors import EnvironmentFault, PipelineError, Refused
from ml_pipeline.serving.access import read_token
from ml_pipeline.targets import environment_lock
from ml_pipeline.targets.base import Deployment, Placement
from ml_pipeline.targets.handover import BaseHandover
from ml_pipeline.targets.kubernetes.kubectl import Kubectl
from ml_pipeline.targets.kubernetes.manifests import (
    OWN,
    PORT,
    Document,
    Workload,
    documents,
    public_url,
)
from ml_pipeline.targets.kubernetes.resources import PAUSE_SECONDS, PID, Before, Fleet, Version
from ml_pipeline.targets.released_bundles import release
from ml_pipeline.traffic import probe

if TYPE_CHECKING:
    from pathlib import Path

    from ml_pipeline.core.home import Home
    from ml_pipeline.core.locks import Lock

SCHEMA = "ml-pipeline/kubernetes/1"
PUBLIC_KINDS = ("Service", "Ingress")
PUBLIC_SECONDS = 30.0
"""Until all nodes and the ingress have learnt where the Service leads."""
READY_SECONDS = 2.0


class KubernetesTarget:
    """Servers as pods, in the namespace that the environment names."""

    def handover(
        self, placement: Placement, bundle: Path, version: int | None
    ) -> KubernetesHandover:
        """See ``Target.handover``. The cluster is the one of the kubeconfig's context."""
        token = read_token("0.0.0.0", placement.serving.token_env)  # noqa: S104  pods are reached so
        lock = environment_lock.hold(placement)
        try:
            released = release(bundle, placement.home)
            workload = Workload.of(placement, released, version)
            fleet = Fleet(_cluster(placement), workload.app)
            before = fleet.recover(workload)
            wanted = _Wanted(workload, released, token)
            changed = _switch(fleet, wanted, before, placement)
        except BaseException:
            lock.release()
            raise
        return KubernetesHandover(fleet, lock, placement, wanted, before, changed=changed)

    def status(self, placement: Placement) -> Deployment | None:
        app = _known_app(placement)
        if app is None:
            return None
        served = Fleet(_cluster(placement), app).serving().version
        if served is None or not served.available or not _answers(placement):
            return None
        return served.deployment(placement.home)

    def stop(self, placement: Placement) -> bool:
        app = _known_app(placement)
        if app is None:
            return False
        with environment_lock.hold(placement):
            fleet = Fleet(_cluster(placement), app)
            running = bool(fleet.versions())
            fleet.delete_all()
            _record(placement).unlink(missing_ok=True)
        return running


class KubernetesHandover(BaseHandover):
    """The Service leads to the new version; the former Deployment waits beside it."""

    def __init__(
        self,
        fleet: Fleet,
        lock: Lock,
        placement: Placement,
        wanted: _Wanted,
        before: Before,
        *,
        changed: bool,
    ) -> None:
        super().__init__(lock)
        self._fleet = fleet
        self._placement = placement
        self._wanted = wanted
        self._before = before
        self._changed = changed

    @property
    def deployment(self) -> Deployment:
        return _deployment(self._wanted, self._placement.home)

    @property
    def former(self) -> Deployment | None:
        version = self._before.version
        if version is None or not version.available:
            return None
        return version.deployment(self._placement.home)

    @property
    def changed(self) -> bool:
        return self._changed

    def _keep(self) -> None:
        tag = self._before.tag
        if tag not in (None, self._wanted.workload.tag):
            self._fleet.delete_version(str(tag))

    def _revert(self) -> None:
        _take_back(self._fleet, self._wanted, self._before, self._placement)


@dataclass(frozen=True)
class _Wanted:
    """What is to be served, and how."""

    workload: Workload
    bundle: Bundle
    token: str | None

    def probe(self, url: str) -> None:
        probe.probe(url, self.bundle, self.workload.version, self.token)


def _switch(fleet: Fleet, wanted: _Wanted, before: Before, placement: Placement) -> bool:
    """Start, prove and switch, unless it serves already; say whether anything was changed.

    On any error what was there before serves as before.
    """
    if _is_served(fleet, wanted, before.version):
        return False
    try:
        _start(fleet, wanted, before, placement)
    except BaseException as error:
        try:
            _take_back(fleet, wanted, before, placement)
        except PipelineError as second:
            raise EnvironmentFault(
                f"{error}; and taking it back failed: {second}",
                hint="when the cluster answers again, the next deployment recovers it",
            ) from error
        raise
    return True


def _is_served(fleet: Fleet, wanted: _Wanted, version: Version | None) -> bool:
    made = next(one for one in documents(wanted.workload) if one["kind"] == "Deployment")
    if version is None or not version.available or not version.is_like(made):
        return False
    try:
        with fleet.cluster.forwarded(f"deployment/{version.name}", PORT) as url:
            wanted.probe(url)
    except Refused:
        return False
    return True


def _start(fleet: Fleet, wanted: _Wanted, before: Before, placement: Placement) -> None:
    workload = wanted.workload
    busy = 0 if before.version is None else before.version.replicas
    made = _noted(documents(workload, replicas=max(workload.settings.replicas, busy)))
    _write_record(placement, workload.app)
    fleet.apply([one for one in made if one["kind"] not in PUBLIC_KINDS])
    fleet.await_servers(workload)
    with fleet.cluster.forwarded(f"deployment/{workload.name}", PORT) as url:
        wanted.probe(url)
    if before.tag not in (None, workload.tag):
        fleet.select(str(before.tag), workload.tag)
    fleet.apply([one for one in made if one["kind"] in PUBLIC_KINDS])
    _prove(fleet, wanted)


def _prove(fleet: Fleet, wanted: _Wanted) -> None:
    """Ask the version where clients reach it. Raises Refused as ``checks.probe`` does."""
    url = public_url(wanted.workload.section)
    if url is None:
        target = f"service/{wanted.workload.app}"
        with fleet.cluster.forwarded(target, wanted.workload.port) as forwarded:
            wanted.probe(forwarded)
        return
    deadline = time.monotonic() + PUBLIC_SECONDS
    while True:
        try:
            wanted.probe(url)
        except Refused:
            if time.monotonic() > deadline:
                raise
        else:
            return
        time.sleep(PAUSE_SECONDS)


def _take_back(fleet: Fleet, wanted: _Wanted, before: Before, placement: Placement) -> None:
    """Let the former version serve again, with its settings, and delete what was started."""
    tag, former = wanted.workload.tag, before.version
    if before.tag is None:
        fleet.delete_all()
        _record(placement).unlink(missing_ok=True)
        return
    now = fleet.selected()
    if now in (tag, before.tag):
        if former is not None and former.applied:
            fleet.apply(_with_replicas(former.applied, former.replicas))
        elif now != before.tag:
            fleet.select(tag, before.tag)
    if tag != before.tag:
        fleet.delete_version(tag)
    elif former is not None and not fleet.cluster.rolled_out(
        former.name, wanted.workload.settings.rollout_seconds
    ):
        raise EnvironmentFault(f"the former servers of {former.name} do not become ready again")


def _noted(made: list[Document]) -> list[Document]:
    """Write what is applied into the Deployment, so that it can be applied again."""
    whole = json.dumps(made, sort_keys=True)
    for one in made:
        if one["kind"] == "Deployment":
            one["metadata"]["annotations"] |= {f"{OWN}applied": whole}
    return made


def _with_replicas(made: list[Document], replicas: int) -> list[Document]:
    for one in made:
        if one["kind"] == "Deployment":
            one["spec"]["replicas"] = replicas
    return _noted(made)


def _deployment(wanted: _Wanted, home: Home) -> Deployment:
    workload = wanted.workload
    return Deployment(
        url=workload.url,
        version=workload.version,
        digest=workload.digest,
        pid=PID,
        bundle=home / "released" / workload.digest,
    )


def _answers(placement: Placement) -> bool:
    import httpx

    url = public_url(placement.section)
    if url is None:
        return True
    try:
        with probe.client(url, timeout=READY_SECONDS) as api:
            return api.get("/health/ready").status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


# --- what the home keeps ----------------------------------------------------------------------


def _cluster(placement: Placement) -> Kubectl:
    section = placement.section.kubernetes
    return Kubectl(section.context, section.namespace)


def _record(placement: Placement) -> Path:
    return placement.home / f"servers/{placement.name}.kubernetes.json"


def _write_record(placement: Placement, app: str) -> None:
    values = {"schema": SCHEMA, "app": app}
    workdir.write_text(_record(placement), json.dumps(values) + "\n")


def _known_app(placement: Placement) -> str | None:
    """Return what this home's objects are called; None where it never deployed there."""
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
