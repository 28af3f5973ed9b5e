"""The manifests of a registered version as files, for reviewers and tools that apply them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ml_pipeline.approval.policy import PolicyFiles
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.config import Project
from ml_pipeline.core import workdir
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import Progress
from ml_pipeline.promotion.version_choice import choose
from ml_pipeline.registry.registry import Registry
from ml_pipeline.targets.base import Placement
from ml_pipeline.targets.kubernetes.manifests import Document, Workload, documents, to_yaml

TARGET = "kubernetes"
ARGO = "argocd.argoproj.io/"
WAVE = {f"{ARGO}sync-wave": "1"}
"""After the wave of the others: Argo CD waits until these are healthy."""
LAST = {f"{ARGO}sync-options": "PruneLast=true"}
"""A version that is no longer among the files goes when the Service leads to another one."""
ADDED = {
    "Service": WAVE,
    "Ingress": WAVE,
    "Deployment": LAST,
    "HorizontalPodAutoscaler": LAST,
    "PodDisruptionBudget": LAST,
}
KINDS = ("NetworkPolicy", "ServiceAccount", *ADDED)


def render(
    project: Project,
    home: Home,
    policy: PolicyFiles,
    *,
    environment: str,
    number: int | None,
    progress: Progress,
) -> list[Document]:
    """Return the objects of a version, verified, as an environment serves it. Asks no cluster.

    Raises:
        UsageError: the environment's target is another one, it names no repository, or no such
            version is registered.
        Refused: the bundle does not verify, or production is to be given what was not promoted.
        EnvironmentFault: the registry does not answer, or is lost.
    """
    placement = Placement.of(project, environment, home)
    if placement.section.target != TARGET:
        raise UsageError(
            f"{environment} has target '{placement.section.target}', which has no manifests",
            expected=f"target {TARGET}",
        )
    registry = Registry.of(project, home, progress)
    if not registry.exists():
        raise UsageError(
            f"no version of '{registry.name}' is registered", hint="run 'ml-pipeline register'"
        )
    version = choose(registry, project, home, policy, environment=environment, number=number)
    with tempfile.TemporaryDirectory(prefix="ml-pipeline-") as scratch:
        bundle = Bundle.open(registry.bundles.download(version, Path(scratch) / "bundle"))
        made = documents(Workload.of(placement, bundle, version.number))
    for one in made:
        one["metadata"]["annotations"] |= ADDED.get(one["kind"], {})
    return made


def write(made: list[Document], folder: Path) -> list[Path]:
    """Write one file a kind; a file of a kind that is no longer there goes. Return the files.

    Raises:
        OSError: the folder cannot be written.
    """
    files = {f"{one['kind'].lower()}.yaml": one for one in made}
    for kind in KINDS:
        name = f"{kind.lower()}.yaml"
        if name not in files:
            (folder / name).unlink(missing_ok=True)
    return [workdir.write_text(folder / name, to_yaml([one])) for name, one in files.items()]
