"""Builds an image with a bundle on top of the server's image, for a cluster to pull."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.config import EnvironmentSection, ServingSection
from ml_pipeline.core.errors import EnvironmentFault, UsageError
from ml_pipeline.core.tar_archive import add_bytes, add_read_only
from ml_pipeline.targets.docker import engine
from ml_pipeline.targets.kubernetes.manifests import image_tag

BUNDLE_FOLDER = "/srv/ml-pipeline/bundle"
"""Folder of the bundle in docker/serve.py."""
LABEL = "ml-pipeline."
DOCKERFILE = f"ARG SERVER\nFROM ${{SERVER}}\nCOPY --chown=0:0 bundle {BUNDLE_FOLDER}\n"
KUBERNETES = "kubernetes"


@dataclass(frozen=True)
class ImageSpec:
    """An image to build: its repository, and the server image that it is based on."""

    repository: str
    server: str | None
    """Name of the server image; ``standard`` if None."""
    standard: str = engine.IMAGE


def image_specs(
    environments: Mapping[str, EnvironmentSection], serving: ServingSection, repository: str | None
) -> list[ImageSpec]:
    """Return the image of ``repository``, or those of all kubernetes environments.

    Raises:
        UsageError: no repository is configured, the name has a tag, or two environments use one
            repository with different server images.
    """
    specs: dict[str, ImageSpec] = {}
    for name, section in environments.items():
        if section.target != KUBERNETES or section.kubernetes.repository is None:
            continue
        standard = engine.server_image(section, serving)
        spec = ImageSpec(section.kubernetes.repository, section.image, standard)
        first = specs.setdefault(spec.repository, spec)
        if first.server != spec.server:
            raise UsageError(
                f"{name} uses repository {spec.repository} with server image {spec.server}",
                expected=f"environments.{name}.image {first.server}, as another",
            )
        if first != spec:
            raise UsageError(
                f"{name} uses repository {spec.repository} with raw_rows: "
                f"{str(section.raw_rows).lower()}, and another environment with the opposite",
                expected=f"one environments.NAME.raw_rows for all that use {spec.repository}, or "
                f"another environments.{name}.kubernetes.repository",
            )
    if repository is None:
        if not specs:
            raise UsageError(
                "no environment names a repository",
                expected="environments.NAME.kubernetes.repository, or --image",
            )
        return list(specs.values())
    if "@" in repository or ":" in repository.rpartition("/")[2]:
        raise UsageError(
            f"--image {repository}", expected="a name without a tag; the tag is the bundle's digest"
        )
    standard = engine.RAW_IMAGE if serving.raw.enabled else engine.IMAGE
    return [specs.get(repository, ImageSpec(repository, None, standard))]


def build(bundle: Bundle, image: ImageSpec) -> str:
    """Build the image with this verified bundle, and return its name with its tag.

    Raises:
        EnvironmentFault: the engine does not respond or refuses, or has no server image.
    """
    from docker.errors import BuildError

    name = f"{image.repository}:{image_tag(bundle.digest)}"
    labels = {
        f"{LABEL}project": bundle.project,
        f"{LABEL}digest": bundle.digest,
        f"{LABEL}identity": bundle.identity,
    }
    with engine.connected() as client, _context(bundle) as context:
        build_args = {"SERVER": engine.image_id(client, image.server, image.standard)}
        try:
            client.images.build(
                fileobj=context,
                custom_context=True,
                tag=name,
                buildargs=build_args,
                labels=labels,
                rm=True,
                forcerm=True,
            )
        except BuildError as error:
            raise EnvironmentFault(f"{name} was not built: {error}") from error
    return name


def push(name: str) -> str:
    """Push an image with the credentials of the engine's user; return its digest in the registry.

    Raises:
        EnvironmentFault: the registry does not respond or refuses.
    """
    repository, _, tag = name.rpartition(":")
    with engine.connected() as client:
        digest = None
        for line in client.images.push(repository, tag, stream=True, decode=True):
            if "error" in line:
                raise EnvironmentFault(
                    f"{name} was not pushed: {line['error']}",
                    hint="run 'docker login' on this machine, and check that the repository exists",
                )
            digest = line.get("aux", {}).get("Digest", digest)
        if digest is None:
            raise EnvironmentFault(f"{name} was not pushed: the engine returned no digest")
        return str(digest)


@contextmanager
def _context(bundle: Bundle) -> Iterator[IO[bytes]]:
    """Yield the build context as a tar: readable by all, dated at the epoch."""
    with tempfile.TemporaryFile() as stream:
        with tarfile.open(fileobj=stream, mode="w") as archive:
            add_bytes(archive, "Dockerfile", DOCKERFILE.encode(), 0o644)
            add_read_only(archive, "bundle", bundle.path, bundle.files)
        stream.seek(0)
        yield stream
