"""A bundle baked into an image on top of the server's, for a cluster to pull."""

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

PLACE = "/srv/ml-pipeline/bundle"
"""Where docker/serve.py looks for it."""
LABEL = "ml-pipeline."
RECIPE = f"ARG SERVER\nFROM ${{SERVER}}\nCOPY --chown=0:0 bundle {PLACE}\n"
KUBERNETES = "kubernetes"


@dataclass(frozen=True)
class Wanted:
    """An image to be made: where it is pulled from, and the server's image under it."""

    repository: str
    server: str | None
    """``standard`` of the engine if None."""
    standard: str = engine.IMAGE


def wanted(
    environments: Mapping[str, EnvironmentSection], serving: ServingSection, repository: str | None
) -> list[Wanted]:
    """Return the image that was asked for, else those of all kubernetes environments.

    Raises:
        UsageError: nothing says what it is to be called, the name has a tag, or two environments
            bake into one repository on top of different images.
    """
    found: dict[str, Wanted] = {}
    for name, section in environments.items():
        if section.target != KUBERNETES or section.kubernetes.repository is None:
            continue
        standard = engine.server_image(section, serving)
        one = Wanted(section.kubernetes.repository, section.image, standard)
        first = found.setdefault(one.repository, one)
        if first.server != one.server:
            raise UsageError(
                f"{name} bakes into {one.repository} on top of {one.server}",
                expected=f"environments.{name}.image {first.server}, as another",
            )
        if first != one:
            raise UsageError(
                f"{name} bakes into {one.repository} with raw_rows: "
                f"{str(section.raw_rows).lower()}, and another environment with the opposite",
                expected=f"one environments.NAME.raw_rows for all that pull {one.repository}, or "
                f"another environments.{name}.kubernetes.repository",
            )
    if repository is None:
        if not found:
            raise UsageError(
                "no environment names a repository",
                expected="environments.NAME.kubernetes.repository, or --image",
            )
        return list(found.values())
    if "@" in repository or ":" in repository.rpartition("/")[2]:
        raise UsageError(f"--image {repository}", expected="a name without tag: that is the bundle")
    standard = engine.RAW_IMAGE if serving.raw.enabled else engine.IMAGE
    return [found.get(repository, Wanted(repository, None, standard))]


def bake(bundle: Bundle, image: Wanted) -> str:
    """Make the image with this verified bundle in it, and return its name with its tag.

    Raises:
        EnvironmentFault: the engine does not answer or refuses, or has no image of the server.
    """
    from docker.errors import BuildError

    name = f"{image.repository}:{image_tag(bundle.digest)}"
    labels = {
        f"{LABEL}project": bundle.project,
        f"{LABEL}digest": bundle.digest,
        f"{LABEL}identity": bundle.identity,
    }
    with engine.connected() as client, _context(bundle) as context:
        server = {"SERVER": engine.image_id(client, image.server, image.standard)}
        try:
            client.images.build(
                fileobj=context,
                custom_context=True,
                tag=name,
                buildargs=server,
                labels=labels,
                rm=True,
                forcerm=True,
            )
        except BuildError as error:
            raise EnvironmentFault(f"{name} was not made: {error}") from error
    return name


def push(name: str) -> str:
    """Push an image with the credentials of the engine's user; return its digest in the registry.

    Raises:
        EnvironmentFault: the registry does not answer or refuses.
    """
    repository, _, tag = name.rpartition(":")
    with engine.connected() as client:
        digest = None
        for line in client.images.push(repository, tag, stream=True, decode=True):
            if "error" in line:
                raise EnvironmentFault(
                    f"{name} was not pushed: {line['error']}",
                    hint="docker login, where this runs; see that the repository exists",
                )
            digest = line.get("aux", {}).get("Digest", digest)
        if digest is None:
            raise EnvironmentFault(f"{name} was not pushed: the engine told no digest")
        return str(digest)


@contextmanager
def _context(bundle: Bundle) -> Iterator[IO[bytes]]:
    """Yield what the image is built from, as a tar: readable by all, dated at the epoch."""
    with tempfile.TemporaryFile() as stream:
        with tarfile.open(fileobj=stream, mode="w") as archive:
            add_bytes(archive, "Dockerfile", RECIPE.encode(), 0o644)
            add_read_only(archive, "bundle", bundle.path, bundle.files)
        stream.seek(0)
        yield stream
