"""A user's repository and its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ml_pipeline.config.ml_yaml import Config
from ml_pipeline.config.serving import ServingSection

FILE = "ml.yaml"


@dataclass(frozen=True)
class Project:
    """A user's repository: its root (the folder of ``ml.yaml``) and its configuration."""

    root: Path
    config: Config
    origins: Mapping[str, str] = field(default_factory=dict)
    """Dotted key: where its value came from. What is not in here is a default."""

    def path(self, path: Path) -> Path:
        """Return a path of the configuration, which is relative to the root."""
        return self.root / path

    @property
    def model_name(self) -> str:
        """The name of the registered model."""
        return self.config.registry.name or self.config.project

    @property
    def serving(self) -> ServingSection:
        """The section ``serving`` with the folder of the prediction log made whole."""
        serving = self.config.serving
        folder = serving.prediction_log.folder
        if folder is None:
            return serving
        log = serving.prediction_log.model_copy(update={"folder": self.path(folder)})
        return serving.model_copy(update={"prediction_log": log})
