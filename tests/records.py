"""Records of versions as they are in the registry now."""

from __future__ import annotations

from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import Version


def newest_record(registry: Registry, version: Version, name: str) -> bytes | None:
    """Return the newest record of this name, whenever the version was read."""
    return registry.records.read(registry.read().version(version.number), name)
