"""``environments.NAME.kubernetes``: what the target kubernetes needs."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from ml_pipeline.config.section import Section
from ml_pipeline.core.schema_errors import pattern

DNS_LABEL = pattern(
    r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$",
    "small letters, digits and '-', at most 63, a letter first and no '-' last",
)
"""A DNS label, as the objects of Kubernetes are called."""


class IngressSection(Section):
    """An Ingress before the Service: its host, and its ingress class."""

    host: str = Field(
        pattern=pattern(
            r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$",
            "a host name in small letters, such as churn.example.org",
        ),
        max_length=253,
    )
    ingress_class: str | None = Field(
        None, pattern=DNS_LABEL, description="The cluster's default class if unset."
    )
    tls_secret: str | None = Field(
        None, pattern=DNS_LABEL, description="The Secret with the certificate; plain HTTP if unset."
    )


class KubernetesSection(Section):
    """What the kubernetes target needs to know."""

    repository: str | None = Field(
        None,
        pattern=pattern(
            r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$",
            "a repository in small letters without a tag, such as registry.example.org/team/churn",
        ),
        max_length=200,
        description="Where the cluster pulls images from, without a tag: package --push pushes "
        "them there.",
    )
    context: str | None = Field(
        None, min_length=1, description="Of the kubeconfig; its current one if unset."
    )
    namespace: str = Field("default", pattern=DNS_LABEL)
    app: str | None = Field(
        None,
        pattern=pattern(
            r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$",
            "small letters, digits and '-', at most 40, a letter first and no '-' last",
        ),
        description="Name of the objects; made of project and environment if unset.",
    )
    replicas: int = Field(3, ge=1, le=1000)
    max_replicas: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Most replicas under load; three times replicas if unset.",
    )
    cpu: str = Field(
        "250m",
        pattern=pattern(
            r"^[1-9][0-9]{0,5}m?$", "processors such as 2, or thousandths of one such as 250m"
        ),
        description="Processor request of a server.",
    )
    token_secret: str | None = Field(
        None,
        pattern=DNS_LABEL,
        description="The Secret that holds the bearer token under the key 'token'; APP-token if "
        "unset.",
    )
    pull_secret: str | None = Field(
        None, pattern=DNS_LABEL, description="The Secret that the cluster pulls the image with."
    )
    callers: tuple[Annotated[str, Field(pattern=DNS_LABEL)], ...] = Field(
        (),
        description="Further namespaces whose pods may send requests, such as an ingress "
        "controller's.",
    )
    ingress: IngressSection | None = None
    rollout_seconds: int = Field(
        300, ge=10, le=3600, description="Time for a version's servers to become ready."
    )

    @model_validator(mode="after")
    def _can_grow(self) -> Self:
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise ValueError("max_replicas is at least replicas")
        return self
