"""The Kubernetes objects of a version, as plain documents and as YAML. Asks no cluster.

One Deployment a version, with its HorizontalPodAutoscaler and PodDisruptionBudget, stands beside
those of other versions. The Service chooses among them by its selector, which is the switch.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from ml_pipeline.config import EnvironmentSection, KubernetesSection, ServingSection
from ml_pipeline.core.errors import UsageError
from ml_pipeline.targets import server_arguments

if TYPE_CHECKING:
    from yaml import ScalarNode

    from ml_pipeline.bundle.reader import Bundle
    from ml_pipeline.targets.base import Placement

PRODUCTION = "production"
PORT = 8000
USER = 10001
"""Port and user of docker/server.Dockerfile."""
TOKEN = "ML_SERVING_TOKEN"  # noqa: S105  a variable's name
TOKEN_KEY = "token"  # noqa: S105  a key of a Secret
MANAGED = {"app.kubernetes.io/managed-by": "ml-pipeline"}
OWN = "ml-pipeline/"
"""Before the names of annotations."""
NAME_LENGTH = 40
"""Leaves room for the version in a name of at most 63 characters."""
LEAVE_SECONDS = 5
"""Until the last node has learnt that a server takes no new requests any more."""
END_SECONDS = 45
"""Longer than the above and the time in which a server drains."""
START_SECONDS = 120
CPU_PERCENT = 70
SCRATCH = "scratch"
MOUNTED = {
    server_arguments.LOG_NAME: server_arguments.LOG_VOLUME,
    SCRATCH: server_arguments.SCRATCH,
}
"""Where a container has its volumes."""
SPARE_FILES = 2
"""Files of the prediction log by which its volume may be larger than the log."""
PLAIN = re.compile(r"[A-Za-z]([A-Za-z0-9./_-]|:(?=[A-Za-z0-9/]))*")
WORDS = frozenset(
    ("y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf", "infinity")
)
"""What one YAML reader or another takes for something else than text."""

Document = dict[str, Any]


@dataclass(frozen=True)
class Workload:
    """A version and how an environment serves it: all that its objects are made of."""

    project: str
    environment: str
    version: int | None
    digest: str
    """SHA-256 of the bundle's manifest."""
    section: EnvironmentSection
    serving: ServingSection

    @classmethod
    def of(cls, placement: Placement, bundle: Bundle, version: int | None) -> Workload:
        """Return the workload of a verified bundle in an environment."""
        return cls(
            project=bundle.project,
            environment=placement.name,
            version=version,
            digest=bundle.digest,
            section=placement.section,
            serving=placement.serving,
        )

    @property
    def settings(self) -> KubernetesSection:
        return self.section.kubernetes

    @property
    def app(self) -> str:
        """What the Service is called, and the value of the label ``app``."""
        return self.settings.app or app_name(self.project, self.environment)

    @property
    def tag(self) -> str:
        """The value of the label ``version``: ``v5``, or the bundle where none is registered."""
        return f"b{self.digest[:12]}" if self.version is None else f"v{self.version}"

    @property
    def name(self) -> str:
        return f"{self.app}-{self.tag}"

    @property
    def image(self) -> str:
        """The image with this bundle baked in.

        Raises:
            UsageError: the environment names no repository.
        """
        if self.settings.repository is None:
            raise UsageError(
                f"{self.environment} names no repository to pull the image from",
                expected=f"environments.{self.environment}.kubernetes.repository",
                hint="'ml-pipeline package --push' puts it there",
            )
        return f"{self.settings.repository}:{image_tag(self.digest)}"

    @property
    def port(self) -> int:
        """Of the Service; 0 in the configuration is the servers' own."""
        return self.section.port or PORT

    @property
    def url(self) -> str:
        """Where clients reach it: its public address, else the Service in the cluster."""
        inside = f"http://{self.app}.{self.settings.namespace}:{self.port}"
        return public_url(self.section) or inside


def public_url(section: EnvironmentSection) -> str | None:
    """Return where it is reached from outside the cluster: ``url``, else its ingress."""
    ingress = section.kubernetes.ingress
    if section.url is not None or ingress is None:
        return None if section.url is None else section.url.rstrip("/")
    return f"{'http' if ingress.tls_secret is None else 'https'}://{ingress.host}"


def image_tag(digest: str) -> str:
    """Return the tag of the image that holds the bundle of this digest."""
    return digest[:12]


def app_name(project: str, environment: str) -> str:
    """Return a DNS label of at most ``NAME_LENGTH`` characters that begins with a letter.

    Production is called as the project is. A name that had to be cut ends with a digest of what it
    was made of, so that two long names stay two.
    """
    whole = project if environment == PRODUCTION else f"{project}-{environment}"
    name = re.sub(r"[^a-z0-9]+", "-", whole.lower()).strip("-")
    if not name[:1].isalpha():
        name = f"m-{name}".rstrip("-")
    if len(name) > NAME_LENGTH:
        end = hashlib.sha256(whole.encode()).hexdigest()[:8]
        name = f"{name[: NAME_LENGTH - 9].rstrip('-')}-{end}"
    return name


def documents(
    workload: Workload, *, selected: str | None = None, replicas: int | None = None
) -> list[Document]:
    """Return the objects, in the order in which they are applied.

    Args:
        workload: What is to be served, and how.
        selected: The label ``version`` that the Service chooses; the workload's own if left out.
        replicas: Servers to begin with, where more than usual are at work; the usual if left out.
    """
    own = workload.settings.replicas
    settings = json.dumps(_made(workload, "", workload.tag, own), sort_keys=True)
    digest = hashlib.sha256(settings.encode()).hexdigest()[:16]
    return _made(workload, digest, selected or workload.tag, replicas or own)


def _made(workload: Workload, settings: str, selected: str, replicas: int) -> list[Document]:
    return [
        _service_account(workload),
        _network_policy(workload),
        _deployment(workload, settings, replicas),
        _disruption_budget(workload),
        _autoscaler(workload),
        _service(workload, selected),
        *_ingress(workload),
    ]


# --- the objects ------------------------------------------------------------------------------


def _object(
    workload: Workload,
    kind: str,
    api: str,
    name: str,
    spec: Document | None,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
) -> Document:
    made: Document = {
        "apiVersion": api,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": workload.settings.namespace,
            "labels": common_labels(workload.app) | (labels or {}),
            "annotations": owner(workload) | (annotations or {}),
        },
    }
    return made if spec is None else made | {"spec": spec}


def common_labels(app: str) -> dict[str, str]:
    """Return the labels that all objects and servers of an environment have in common."""
    return {"app": app} | MANAGED


def owner(workload: Workload) -> dict[str, str]:
    """Return the annotations that tell whose the objects are."""
    return {f"{OWN}project": workload.project, f"{OWN}environment": workload.environment}


def _selector(workload: Workload, tag: str) -> dict[str, str]:
    return {"app": workload.app, "version": tag}


def _service_account(workload: Workload) -> Document:
    account = _object(workload, "ServiceAccount", "v1", workload.app, None)
    return account | {"automountServiceAccountToken": False}


def _network_policy(workload: Workload) -> Document:
    """Let pods of this namespace and of ``callers`` ask; let the servers ask nobody."""
    sources: list[Document] = [{"podSelector": {}}]
    if workload.settings.callers:
        names = {
            "key": "kubernetes.io/metadata.name",
            "operator": "In",
            "values": list(workload.settings.callers),
        }
        sources.append({"namespaceSelector": {"matchExpressions": [names]}})
    spec = {
        "podSelector": {"matchLabels": common_labels(workload.app)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": sources, "ports": [{"protocol": "TCP", "port": PORT}]}],
        "egress": [],
    }
    return _object(workload, "NetworkPolicy", "networking.k8s.io/v1", workload.app, spec)


def _deployment(workload: Workload, settings: str, replicas: int) -> Document:
    labels = {"version": workload.tag}
    spec = {
        "replicas": replicas,
        "revisionHistoryLimit": 1,
        "progressDeadlineSeconds": workload.settings.rollout_seconds,
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
        },
        "selector": {"matchLabels": _selector(workload, workload.tag)},
        "template": {
            "metadata": {
                "labels": common_labels(workload.app) | labels,
                "annotations": {f"{OWN}digest": workload.digest},
            },
            "spec": _pod(workload),
        },
    }
    told = {
        f"{OWN}digest": workload.digest,
        f"{OWN}settings": settings,
        f"{OWN}url": workload.url,
    }
    return _object(workload, "Deployment", "apps/v1", workload.name, spec, labels, told)


def _pod(workload: Workload) -> Document:
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": _selector(workload, workload.tag)},
    }
    pull = workload.settings.pull_secret
    secrets = {} if pull is None else {"imagePullSecrets": [{"name": pull}]}
    return {
        "serviceAccountName": workload.app,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": END_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [spread],
        **secrets,
        "containers": [_container(workload)],
        "volumes": _volumes(workload),
    }


def _volumes(workload: Workload) -> list[Document]:
    """Return the volumes of prediction log and feature worker, which live as long as their pod.

    The log's limit is above what the log takes by itself, since a pod beyond it is evicted. The
    worker's scratch folder is in memory, where a full one is an error of its request.
    """
    found: list[Document] = []
    log = workload.serving.prediction_log
    if log.enabled:
        mebibytes = math.ceil((log.keep + SPARE_FILES) * log.max_bytes / (1 << 20))
        found.append(
            {"name": server_arguments.LOG_NAME, "emptyDir": {"sizeLimit": f"{mebibytes}Mi"}}
        )
    if server_arguments.computes_features(workload.section, workload.serving):
        limit = f"{server_arguments.SCRATCH_MIB}Mi"
        found.append({"name": SCRATCH, "emptyDir": {"medium": "Memory", "sizeLimit": limit}})
    return found


def _container(workload: Workload) -> Document:
    settings = workload.settings
    own = ["--published", "0.0.0.0", "--token-env", TOKEN]  # noqa: S104  not bound here
    own += ["--digest", workload.digest, *server_arguments.limits(workload.serving)]
    own += server_arguments.raw_rows(workload.environment, workload.section, workload.serving)
    own += server_arguments.worker_bounds(workload.section, workload.serving)
    own += server_arguments.prediction_log(workload.serving, server_arguments.LOG_FOLDER)
    own += [] if workload.version is None else ["--version", str(workload.version)]
    memory = f"{workload.section.memory_limit[:-1]}{workload.section.memory_limit[-1].upper()}i"
    secret = {"name": settings.token_secret or f"{workload.app}-token", "key": TOKEN_KEY}
    return {
        "name": "server",
        "image": workload.image,
        "args": own,
        "env": [{"name": TOKEN, "valueFrom": {"secretKeyRef": secret}}],
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "startupProbe": _probe("ready", periodSeconds=1, failureThreshold=START_SECONDS),
        "readinessProbe": _probe("ready", periodSeconds=5, failureThreshold=2),
        "livenessProbe": _probe("live", periodSeconds=10, failureThreshold=3),
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(LEAVE_SECONDS)]}}},
        "resources": {
            "requests": {"cpu": settings.cpu, "memory": memory},
            "limits": {"memory": memory},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": each["name"], "mountPath": MOUNTED[each["name"]]}
            for each in _volumes(workload)
        ],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _probe(state: str, **numbers: int) -> Document:
    asked = {"path": f"/health/{state}", "port": "http"}
    return {"httpGet": asked, "timeoutSeconds": 2, **numbers}


def _disruption_budget(workload: Workload) -> Document:
    spec = {
        "maxUnavailable": 1,
        "selector": {"matchLabels": _selector(workload, workload.tag)},
    }
    labels = {"version": workload.tag}
    return _object(workload, "PodDisruptionBudget", "policy/v1", workload.name, spec, labels)


def _autoscaler(workload: Workload) -> Document:
    settings = workload.settings
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": CPU_PERCENT}}
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": workload.name},
        "minReplicas": settings.replicas,
        "maxReplicas": settings.max_replicas or 3 * settings.replicas,
        "metrics": [{"type": "Resource", "resource": cpu}],
    }
    labels = {"version": workload.tag}
    api, kind = "autoscaling/v2", "HorizontalPodAutoscaler"
    return _object(workload, kind, api, workload.name, spec, labels)


def _service(workload: Workload, selected: str) -> Document:
    spec = {
        "type": "ClusterIP",
        "selector": _selector(workload, selected),
        "ports": [{"name": "http", "protocol": "TCP", "port": workload.port, "targetPort": "http"}],
    }
    return _object(workload, "Service", "v1", workload.app, spec)


def _ingress(workload: Workload) -> list[Document]:
    ingress = workload.settings.ingress
    if ingress is None:
        return []
    backend = {"service": {"name": workload.app, "port": {"name": "http"}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    spec: Document = {"rules": [{"host": ingress.host, "http": {"paths": [path]}}]}
    if ingress.ingress_class is not None:
        spec["ingressClassName"] = ingress.ingress_class
    if ingress.tls_secret is not None:
        spec["tls"] = [{"hosts": [ingress.host], "secretName": ingress.tls_secret}]
    return [_object(workload, "Ingress", "networking.k8s.io/v1", workload.app, spec)]


# --- YAML -------------------------------------------------------------------------------------


class _Dumper(yaml.SafeDumper):
    """Writes each value out where it stands, and quotes all text that might be read otherwise.

    What is text to PyYAML is not to every reader: ``1e5`` is a number in Kubernetes' own.
    """

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  the base class passes it
        return True

    def _text(self, text: str) -> ScalarNode:
        plain = PLAIN.fullmatch(text) is not None and text.lower() not in WORDS
        return self.represent_scalar("tag:yaml.org,2002:str", text, None if plain else '"')


_Dumper.add_representer(str, _Dumper._text)  # noqa: SLF001  its own


def to_yaml(made: list[Document]) -> str:
    """Return documents as one YAML stream, the same for the same documents."""
    return "".join(
        "---\n"
        + yaml.dump(one, Dumper=_Dumper, sort_keys=False, width=100, default_flow_style=False)
        for one in made
    )
