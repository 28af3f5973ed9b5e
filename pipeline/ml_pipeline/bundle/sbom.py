"""``sbom.cdx.json``: CycloneDX 1.6, the model and the packages that its identity covers."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyclonedx.model.component import Component


def sbom(project: str, identity: str, versions: Mapping[str, str], model_sha256: str) -> str:
    """Return the bill of materials as JSON; the serial number is derived, and no time is in it."""
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6

    model = Component(
        name=project,
        version=identity,
        type=ComponentType.MACHINE_LEARNING_MODEL,
        bom_ref=f"model:{project}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=model_sha256)],
    )
    packages = [_package(name, version) for name, version in sorted(versions.items())]
    bom = Bom(
        components=packages,
        metadata=BomMetaData(component=model),
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"urn:sha256:{identity}"),
    )
    bom.register_dependency(model, packages)
    values = json.loads(JsonV1Dot6(bom).output_as_string())
    del values["metadata"]["timestamp"]
    return json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _package(name: str, version: str) -> Component:
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    if name == "python":
        return Component(
            name=name, version=version, type=ComponentType.PLATFORM, bom_ref=f"python@{version}"
        )
    purl = PackageURL(type="pypi", name=name.lower(), version=version)
    return Component(name=name, version=version, purl=purl, bom_ref=str(purl))
