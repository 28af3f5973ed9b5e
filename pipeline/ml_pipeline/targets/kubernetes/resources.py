"""The objects of an environment in its namespace, and the version that its Service selects."""

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
from ml_pipeline.targets.kubernetes.manifests import (
    ANNOTATION_PREFIX,
    Document,
    Workload,
    common_labels,
    owner_annotations,
)

PER_VERSION = ("deployment", "horizontalpodautoscaler", "poddisruptionbudget")
SHARED = ("ingress", "service", "networkpolicy", "serviceaccount")
SELECTED = "/spec/selector/version"
CHECK_SECONDS = 3
"""Seconds to wait for a rollout before its pods are checked."""
PAUSE_SECONDS = 0.5
PID = 1
"""Process id of a server in its container."""


@dataclass(frozen=True)
class VersionDeployment:
    """A version's Deployment in the cluster."""

    manifest: Object

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])

    @property
    def tag(self) -> str:
        return str(self.manifest["metadata"]["labels"]["version"])

    @property
    def replicas(self) -> int:
        return int(self.manifest["spec"].get("replicas", 1))

    @property
    def available(self) -> bool:
        return int(self.manifest.get("status", {}).get("availableReplicas", 0)) > 0

    @property
    def applied(self) -> list[Document]:
        """The objects that were applied for it, to be applied again in a rollback."""
        return list(json.loads(self._annotation("applied") or "[]"))

    def matches(self, deployment: Document) -> bool:
        annotations = deployment["metadata"]["annotations"]
        return self.name == deployment["metadata"]["name"] and all(
            self._annotation(key) == annotations[ANNOTATION_PREFIX + key]
            for key in ("digest", "settings")
        )

    def deployment(self, home: Home) -> Deployment:
        digest, version = self._annotation("digest"), self.tag.removeprefix("v")
        return Deployment(
            url=self._annotation("url"),
            version=int(version) if version.isdigit() else None,
            digest=digest,
            pid=PID,
            bundle=home / "released" / digest,
        )

    def _annotation(self, name: str) -> str:
        return str(
            self.manifest["metadata"].get("annotations", {}).get(ANNOTATION_PREFIX + name, "")
        )


@dataclass(frozen=True)
class PreviousVersion:
    """The version that the Service selected, if any, and its Deployment, if it exists."""

    tag: str | None
    version: VersionDeployment | None


class EnvironmentObjects:
    """The objects of an environment in its namespace."""

    def __init__(self, cluster: Kubectl, app: str) -> None:
        self.cluster = cluster
        self._app = app
        self._labels = common_labels(app)

    def versions(self) -> list[VersionDeployment]:
        return [VersionDeployment(found) for found in self.cluster.find("deployment", self._labels)]

    def running_pods(self) -> list[str]:
        """Return the names of the pods of all versions whose server runs."""
        return [
            str(pod["metadata"]["name"])
            for pod in self.cluster.find("pod", self._labels)
            if any(
                "running" in status.get("state", {})
                for status in pod.get("status", {}).get("containerStatuses", [])
            )
        ]

    def selected(self) -> str | None:
        """Return the selected value of the label ``version``; None without a Service."""
        service = self.cluster.get("service", self._app)
        return None if service is None else _selected(service)

    def serving(self) -> PreviousVersion:
        tag = self.selected()
        found = None if tag is None else self.cluster.get("deployment", f"{self._app}-{tag}")
        return PreviousVersion(tag, None if found is None else VersionDeployment(found))

    def select(self, old: str, new: str) -> None:
        """Move the Service from one version to another.

        Raises:
            EnvironmentFault: it was changed meanwhile by another deployment.
        """
        if not self.cluster.replace_if("service", self._app, SELECTED, old=old, new=new):
            raise EnvironmentFault(
                f"service {self._app} was changed meanwhile by another deployment",
                expected=f"version {old}",
                hint="let one home deploy to an environment",
            )

    def apply(self, documents: Sequence[Document]) -> None:
        """Apply the objects; delete an Ingress that is no longer among them."""
        self.cluster.apply(documents)
        kinds = {one["kind"] for one in documents}
        if "Service" in kinds and "Ingress" not in kinds:
            self.cluster.delete(("ingress",), self._labels)

    def delete_version(self, tag: str) -> None:
        self.cluster.delete(PER_VERSION, self._labels | {"version": tag})

    def delete_all(self) -> None:
        self.cluster.delete((*SHARED, *PER_VERSION), self._labels)

    def recover(self, workload: Workload) -> PreviousVersion:
        """Decide an interrupted switch; return what serves afterwards.

        The selected version is kept if it is available, otherwise another available one.

        Raises:
            UsageError: an object of this name belongs to another project or environment.
        """
        tag = self._own_tag(workload)
        versions = {version.tag: version for version in self.versions()}
        available_tags = sorted(other for other, version in versions.items() if version.available)
        if tag is not None and tag not in available_tags and available_tags:
            self.select(tag, available_tags[0])
            tag = available_tags[0]
        for other in versions:
            if other != tag:
                self.delete_version(other)
        return PreviousVersion(tag, None if tag is None else versions.get(tag))

    def _own_tag(self, workload: Workload) -> str | None:
        expected, tag = owner_annotations(workload), None
        for found in self.cluster.get_named(SHARED, self._app):
            annotations = found["metadata"].get("annotations", {})
            if not expected.items() <= annotations.items():
                owner_text = (
                    " ".join(annotations[key] for key in expected if key in annotations)
                    or "another owner"
                )
                what = f"{found['kind']} {self._app} of namespace {self.cluster.namespace}"
                raise UsageError(
                    f"{what} belongs to {owner_text}",
                    expected=f"{workload.project} {workload.environment}",
                    hint=f"set environments.{workload.environment}.kubernetes.app or .namespace",
                )
            if found["kind"] == "Service":
                tag = _selected(found)
        return tag

    def wait_until_ready(self, workload: Workload) -> None:
        """Wait until all servers of the version are ready.

        Raises:
            Refused: a server rejects its bundle.
            UsageError: a server rejects its settings.
            EnvironmentFault: they are not ready in time; has the error of a pod.
        """
        deadline = time.monotonic() + workload.settings.rollout_seconds
        labels = self._labels | {"version": workload.tag}
        while True:
            started = time.monotonic()
            if self.cluster.wait_for_rollout(workload.name, CHECK_SECONDS):
                return
            errors = pod_errors.find_errors(self.cluster.find("pod", labels))
            permanent = next((error for error in errors if error.permanent), None)
            if permanent is not None:
                raise permanent.error
            if time.monotonic() > deadline:
                reason = errors[0].text if errors else "the cluster does not say why"
                raise EnvironmentFault(
                    f"the servers were not ready within {workload.settings.rollout_seconds} s: "
                    f"{reason}"
                )
            time.sleep(max(0.0, started + PAUSE_SECONDS - time.monotonic()))


def _selected(service: Object) -> str:
    return str(service["spec"].get("selector", {}).get("version", ""))
