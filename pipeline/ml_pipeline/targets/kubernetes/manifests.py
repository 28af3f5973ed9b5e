"""The Kubernetes objects of a version, as dicts and as YAML; makes no calls to a cluster.

Each version has its own Deployment, HorizontalPodAutoscaler and PodDisruptionBudget. The selector
of the Service chooses the version; changing it is the switch.
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
CONTAINER = "server"
PORT = 8000
USER = 10001
"""Port and user of docker/server.Dockerfile."""
TOKEN_VARIABLE = "ML_SERVING_TOKEN"  # noqa: S105  a variable's name
TOKEN_KEY = "token"  # noqa: S105  a key of a Secret
REDACT_VARIABLE = "ML_SERVING_REDACT_KEY"
REDACT_KEY = "redact-key"
"""Key of the same Secret: that of ``serving.redact``."""
MANAGED = {"app.kubernetes.io/managed-by": "ml-pipeline"}
ANNOTATION_PREFIX = "ml-pipeline/"
"""Prefix of annotation names."""
NAME_LENGTH = 40
"""Leaves room for the version in a name of at most 63 characters."""
PRE_STOP_SECONDS = 5
"""Time until all nodes stop sending requests to a terminating server."""
GRACE_SECONDS = 45
"""Longer than ``PRE_STOP_SECONDS`` and the time that a server takes to drain."""
START_SECONDS = 120
CPU_PERCENT = 70
SCRATCH = "scratch"
MOUNT_PATHS = {
    server_arguments.LOG_NAME: server_arguments.LOG_VOLUME,
    SCRATCH: server_arguments.SCRATCH,
}
"""Mount paths of a container's volumes."""
SPARE_FILES = 2
"""Size limit of the log's volume beyond the log itself, in files."""
PLAIN_SCALAR = re.compile(r"[A-Za-z]([A-Za-z0-9./_-]|:(?=[A-Za-z0-9/]))*")
AMBIGUOUS_WORDS = frozenset(
    ("y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf", "infinity")
)
"""Words that some YAML parsers do not read as strings."""

Document = dict[str, Any]


@dataclass(frozen=True)
class Workload:
    """A version and the settings of its environment: the input for its objects."""

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
        """Name of the Service, and value of the label ``app``."""
        return self.settings.app or app_name(self.project, self.environment)

    @property
    def tag(self) -> str:
        """Value of the label ``version``: ``v5``, or the bundle's digest if not registered."""
        return f"b{self.digest[:12]}" if self.version is None else f"v{self.version}"

    @property
    def name(self) -> str:
        return f"{self.app}-{self.tag}"

    @property
    def image(self) -> str:
        """The image that contains this bundle.

        Raises:
            UsageError: the environment has no repository.
        """
        if self.settings.repository is None:
            raise UsageError(
                f"{self.environment} has no repository to pull the image from",
                expected=f"environments.{self.environment}.kubernetes.repository",
                hint="'ml-pipeline package --push' puts it there",
            )
        return f"{self.settings.repository}:{image_tag(self.digest)}"

    @property
    def port(self) -> int:
        """Port of the Service; 0 in the configuration is the port of the servers."""
        return self.section.port or PORT

    @property
    def url(self) -> str:
        """URL for clients: the public URL, or that of the Service in the cluster."""
        inside = f"http://{self.app}.{self.settings.namespace}:{self.port}"
        return public_url(self.section) or inside


def public_url(section: EnvironmentSection) -> str | None:
    """Return the URL from outside the cluster: ``url``, or that of the ingress, if any."""
    ingress = section.kubernetes.ingress
    if section.url is not None or ingress is None:
        return None if section.url is None else section.url.rstrip("/")
    return f"{'http' if ingress.tls_secret is None else 'https'}://{ingress.host}"


def image_tag(digest: str) -> str:
    """Return the tag of the image that holds the bundle of this digest."""
    return digest[:12]


def app_name(project: str, environment: str) -> str:
    """Return a DNS label of at most ``NAME_LENGTH`` characters that begins with a letter.

    In production it is the name of the project. A name that is too long ends with a digest of the
    whole name, so that it stays unique.
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
        workload: The version and its settings.
        selected: Value of ``version`` in the Service's selector; by default the workload's.
        replicas: Initial number of servers; by default the configured number.
    """
    default_replicas = workload.settings.replicas
    settings = json.dumps(_build(workload, "", workload.tag, default_replicas), sort_keys=True)
    digest = hashlib.sha256(settings.encode()).hexdigest()[:16]
    return _build(workload, digest, selected or workload.tag, replicas or default_replicas)


def _build(workload: Workload, settings: str, selected: str, replicas: int) -> list[Document]:
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
    objects: Document = {
        "apiVersion": api,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": workload.settings.namespace,
            "labels": common_labels(workload.app) | (labels or {}),
            "annotations": owner_annotations(workload) | (annotations or {}),
        },
    }
    return objects if spec is None else objects | {"spec": spec}


def common_labels(app: str) -> dict[str, str]:
    """Return the labels of all objects and pods of an environment."""
    return {"app": app} | MANAGED


def owner_annotations(workload: Workload) -> dict[str, str]:
    """Return the annotations with the project and environment that own the objects and pods."""
    return {
        f"{ANNOTATION_PREFIX}project": workload.project,
        f"{ANNOTATION_PREFIX}environment": workload.environment,
    }


def _selector(workload: Workload, tag: str) -> dict[str, str]:
    return {"app": workload.app, "version": tag}


def _service_account(workload: Workload) -> Document:
    account = _object(workload, "ServiceAccount", "v1", workload.app, None)
    return account | {"automountServiceAccountToken": False}


def _network_policy(workload: Workload) -> Document:
    """Allow ingress from this namespace and ``callers``, and no egress."""
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
                "annotations": owner_annotations(workload)
                | {f"{ANNOTATION_PREFIX}digest": workload.digest},
            },
            "spec": _pod(workload),
        },
    }
    annotations = {
        f"{ANNOTATION_PREFIX}digest": workload.digest,
        f"{ANNOTATION_PREFIX}settings": settings,
        f"{ANNOTATION_PREFIX}url": workload.url,
    }
    return _object(workload, "Deployment", "apps/v1", workload.name, spec, labels, annotations)


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
        "terminationGracePeriodSeconds": GRACE_SECONDS,
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
    """Return the emptyDir volumes of prediction log and feature worker.

    The size limit of the log's volume exceeds the size of the log, since a pod over the limit is
    evicted. The worker's scratch folder is in memory, where a full one fails only its request.
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
    arguments = ["--published", "0.0.0.0", "--token-env", TOKEN_VARIABLE]  # noqa: S104  not bound here
    arguments += ["--digest", workload.digest, *server_arguments.limit_arguments(workload.serving)]
    arguments += server_arguments.raw_rows_arguments(
        workload.environment, workload.section, workload.serving
    )
    arguments += server_arguments.worker_arguments(workload.section, workload.serving)
    arguments += server_arguments.prediction_log_arguments(
        workload.serving, server_arguments.LOG_FOLDER
    )
    arguments += [] if workload.version is None else ["--version", str(workload.version)]
    hashes = server_arguments.hashes_features(workload.serving)
    arguments += ["--redact-key-env", REDACT_VARIABLE] if hashes else []
    memory = f"{workload.section.memory_limit[:-1]}{workload.section.memory_limit[-1].upper()}i"
    secret = settings.token_secret or f"{workload.app}-token"
    variables = [(TOKEN_VARIABLE, TOKEN_KEY)]
    variables += [(REDACT_VARIABLE, REDACT_KEY)] if hashes else []
    return {
        "name": CONTAINER,
        "image": workload.image,
        "args": arguments,
        "env": [
            {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
            for name, key in variables
        ],
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "startupProbe": _probe("ready", periodSeconds=1, failureThreshold=START_SECONDS),
        "readinessProbe": _probe("ready", periodSeconds=5, failureThreshold=2),
        "livenessProbe": _probe("live", periodSeconds=10, failureThreshold=3),
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(PRE_STOP_SECONDS)]}}},
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
            {"name": each["name"], "mountPath": MOUNT_PATHS[each["name"]]}
            for each in _volumes(workload)
        ],
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _probe(state: str, **numbers: int) -> Document:
    http_get = {"path": f"/health/{state}", "port": "http"}
    return {"httpGet": http_get, "timeoutSeconds": 2, **numbers}


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
    """Writes no aliases, and quotes all strings that a parser may read as another type.

    Parsers differ: ``1e5`` is a string for PyYAML and a number for Kubernetes.
    """

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  the base class passes it
        return True

    def _text(self, text: str) -> ScalarNode:
        plain = PLAIN_SCALAR.fullmatch(text) is not None and text.lower() not in AMBIGUOUS_WORDS
        return self.represent_scalar("tag:yaml.org,2002:str", text, None if plain else '"')


_Dumper.add_representer(str, _Dumper._text)  # noqa: SLF001  defined here


def to_yaml(objects: list[Document]) -> str:
    """Return documents as one YAML stream, the same for the same documents."""
    return "".join(
        "---\n"
        + yaml.dump(one, Dumper=_Dumper, sort_keys=False, width=100, default_flow_style=False)
        for one in objects
    )
