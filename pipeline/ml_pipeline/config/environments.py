"""``environments``: where a model is served."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from ml_pipeline.config.kubernetes import KubernetesSection
from ml_pipeline.config.section import Section
from ml_pipeline.core.schema_errors import pattern

EnvironmentName = Annotated[
    str,
    Field(
        pattern=pattern(
            r"^[A-Za-z0-9][A-Za-z0-9_-]{0,30}$",
            "letters, digits, '_' and '-', at most 31, a letter or digit first",
        )
    ),
]


class EnvironmentSection(Section):
    """Where an environment is served."""

    target: str = Field("process", description="A plug-in of the group ml_pipeline.targets.")
    host: str = Field(
        "127.0.0.1", description="Other than loopback only with serving.token_env.", min_length=1
    )
    port: int = Field(ge=0, le=65535, description="0 lets the system choose one.")
    image: str | None = Field(
        None,
        description="docker: made of docker/server-raw.Dockerfile, or docker/server.Dockerfile "
        "without raw_rows; ml-pipeline-server-raw:VERSION or ml-pipeline-server:VERSION of the "
        "engine if unset. kubernetes: what package bakes the bundle into.",
        min_length=1,
    )
    gateway_image: str | None = Field(
        None,
        description="docker: made of docker/gateway.Dockerfile; ml-pipeline-gateway:VERSION of the "
        "engine if unset.",
        min_length=1,
    )
    raw_rows: bool = Field(
        True,
        description="Answer rows before features (POST /predict/raw) here; docker, kubernetes: "
        "with the image that holds the packages to compute them.",
    )
    memory: str | None = Field(
        None,
        pattern=pattern(r"^[1-9][0-9]*[kmg]$", "a whole number with k, m or g, such as 512m"),
        description="docker, kubernetes: most that a server may take; 1g with raw_rows, 512m "
        "without, if unset.",
    )
    network: str | None = Field(
        None,
        description="docker: network that the gateway joins; the engine's own if unset.",
        min_length=1,
    )
    url: str | None = Field(
        None,
        pattern=pattern(
            r"^https?://[A-Za-z0-9.\-_\[\]:]+(/[A-Za-z0-9.\-_~/]*)?$",
            "an address such as https://churn.example.org or http://127.0.0.1:8000",
        ),
        description="docker: where it is reached, if not at host and port, such as a proxy. "
        "kubernetes: if not at its ingress.",
    )
    kubernetes: KubernetesSection = KubernetesSection()

    @property
    def memory_limit(self) -> str:
        """Most that a server may take, such as ``512m``."""
        return self.memory or ("1g" if self.raw_rows else "512m")
