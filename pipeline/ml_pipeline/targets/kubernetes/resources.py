"""The objects of an environment in its namespace of the cluster, and where its Service leads."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ml_pipeline.core.errors import EnvironmentFault, UsageError
from ml_pipeline.core.home import Home
from ml_pipeline.targets.base import Deployment
from ml_pipeline.targets.kubernetes import pod_errors
from ml_pipeline.targets.kubernetes.kubectl import Kubectl, Object
from ml_pipeline.targets.kubernetes.manifests import OWN, Document, Workload, common_labels, owner

PER_VERSION = ("deployment", "horizontalpodautoscaler", "poddisruptionbudget")
SHARED = ("ingress", "service", "networkpolicy", "serviceaccount")
SELECTED = "/spec/selector/version"
LOOK_SECONDS = 3
"""Between two looks at the pods of a rollout."""
PAUSE_SECONDS = 0.5
PID = 1
"""Of a server in its container."""


@dataclass(frozen=True)
class Version:
    """A version's Deployment as the cluster knows it."""

    live: Object

    @property
    def name(self) -> str:
        return str(self.live["metadata"]["name"])

    @property
    def tag(self) -> str:
        return str(self.live["metadata"]["labels"]["version"])

    @property
    def replicas(self) -> int:
        return int(self.live["spec"].get("replicas", 1))

    @property
    def available(self) -> bool:
        return int(self.live.get("status", {}).get("availableReplicas", 0)) > 0

    @property
    def applied(self) -> list[Document]:
        """What was applied for it, to be applied again if another version is taken back."""
        return list(json.loads(self._note("applied") or "[]"))

    def is_like(self, made: Document) -> bool:
        told = made["metadata"]["annotations"]
        return self.name == made["metadata"]["name"] and all(
            self._note(key) == told[OWN + key] for key in ("digest", "settings")
        )

    def deployment(self, home: Home) -> Deployment:
        digest, version = self._note("digest"), self.tag.removeprefix("v")
        return Deployment(
            url=self._note("url"),
            version=int(version) if version.isdigit() else None,
            digest=digest,
            pid=PID,
            bundle=home / "released" / digest,
        )

    def _note(self, name: str) -> str:
        return str(self.live["metadata"].get("annotations", {}).get(OWN + name, ""))


@dataclass(frozen=True)
class Before:
    """Where the Service led, None without one, and the Deployment there, if it exists."""

    tag: str | None
    version: Version | None


class Fleet:
    """The objects of an environment in its namespace."""

    def __init__(self, cluster: Kubectl, app: str) -> None:
        self.cluster = cluster
        self._app = app
        self._labels = common_labels(app)

    def versions(self) -> list[Version]:
        return [Version(found) for found in self.cluster.find("deployment", self._labels)]

    def selected(self) -> str | None:
        """Return the label ``version`` that the Service chooses; None without a Service."""
        service = self.cluster.get("service", self._app)
        return None if service is None else _selected(service)

    def serving(self) -> Before:
        tag = self.selected()
        found = None if tag is None else self.cluster.get("deployment", f"{self._app}-{tag}")
        return Before(tag, None if found is None else Version(found))

    def select(self, old: str, new: str) -> None:
        """Move the Service from one version to another.

        Raises:
            EnvironmentFault: it leads to neither by now, since somebody else deploys, too.
        """
        if not self.cluster.replace_if("service", self._app, SELECTED, old=old, new=new):
            raise EnvironmentFault(
                f"service {self._app} was moved meanwhile: somebody else deploys to it",
                expected=f"version {old}",
                hint="let one home deploy to an environment",
            )

    def apply(self, made: Sequence[Document]) -> None:
        """Make the objects; an Ingress that is no longer among them goes."""
        self.cluster.apply(made)
        kinds = {one["kind"] for one in made}
        if "Service" in kinds and "Ingress" not in kinds:
            self.cluster.delete(("ingress",), self._labels)

    def delete_version(self, tag: str) -> None:
        self.cluster.delete(PER_VERSION, self._labels | {"version": tag})

    def delete_all(self) -> None:
        self.cluster.delete((*SHARED, *PER_VERSION), self._labels)

    def recover(self, workload: Workload) -> Before:
        """Decide what an interrupted command left undecided; return what serves then.

        What the Service leads to stays if it can serve, otherwise another version that can.

        Raises:
            UsageError: an object of this name is another project's or environment's.
        """
        tag = self._own_tag(workload)
        versions = {version.tag: version for version in self.versions()}
        able = sorted(other for other, version in versions.items() if version.available)
        if tag is not None and tag not in able and able:
            self.select(tag, able[0])
            tag = able[0]
        for other in versions:
            if other != tag:
                self.delete_version(other)
        return Before(tag, None if tag is None else versions.get(tag))

    def _own_tag(self, workload: Workload) -> str | None:
        wanted, tag = owner(workload), None
        for found in self.cluster.named(SHARED, self._app):
            notes = found["metadata"].get("annotations", {})
            if not wanted.items() <= notes.items():
                whose = " ".join(notes[key] for key in wanted if key in notes) or "somebody else"
                what = f"{found['kind']} {self._app} of namespace {self.cluster.namespace}"
                raise UsageError(
                    f"{what} belongs to {whose}",
                    expected=f"{workload.project} {workload.environment}",
                    hint=f"set environments.{workload.environment}.kubernetes.app or .namespace",
                )
            if found["kind"] == "Service":
                tag = _selected(found)
        return tag

    def await_servers(self, workload: Workload) -> None:
        """Wait until all servers of the version are ready.

        Raises:
            Refused: a server rejects its bundle.
            UsageError: a server rejects its settings.
            EnvironmentFault: they are not ready in time; what the cluster says of them is told.
        """
        deadline = time.monotonic() + workload.settings.rollout_seconds
        labels = self._labels | {"version": workload.tag}
        while True:
            begun = time.monotonic()
            if self.cluster.rolled_out(workload.name, LOOK_SECONDS):
                return
            faults = pod_errors.faults(self.cluster.find("pod", labels))
            hopeless = next((fault for fault in faults if fault.hopeless), None)
            if hopeless is not None:
                raise hopeless.error
            if time.monotonic() > deadline:
                told = faults[0].text if faults else "the cluster does not say why"
                raise EnvironmentFault(
                    f"the servers were not ready within {workload.settings.rollout_seconds} s: "
                    f"{told}"
                )
            time.sleep(max(0.0, begun + PAUSE_SECONDS - time.monotonic()))


def _selected(service: Object) -> str:
    return str(service["spec"].get("selector", {}).get("version", ""))
