"""Puts the bundle into the MLflow registry as challenger."""

from __future__ import annotations

from pipeline.approval.authors import COMMIT_TAG, DIRTY_TAG
from pipeline.errors import Refused
from pipeline.registry import git
from pipeline.registry.mlflow_registry import Registry
from pipeline.report import Check, Verdict
from pipeline.stages.context import Context, Outcome


def run(context: Context) -> Outcome:
    """Register ``bundle/``; an identity that is registered already keeps its version.

    Raises:
        Refused: the registry holds other content under this identity, or the model is a quick one.
        EnvironmentFault: the registry does not answer.
    """
    if context.quick:
        raise Refused(
            "a quick model is not registered", hint="run 'ml-pipeline run cd' for a full one"
        )
    bundle = context.take("bundle", "package")
    registry = Registry.of(context.project, context.home, context.progress)
    before = {version.number for version in registry.versions()}
    version = registry.register(bundle, _git_tags(context))
    new = version.number not in before
    summary = f"version {version.number} of '{version.name}' is the challenger"
    return Outcome(
        summary=summary if new else f"{summary}; this identity was registered before",
        checks=[
            Check(
                name="one content per identity",
                verdict=Verdict.PASS,
                observed=f"version {version.number}, bundle {version.digest[:12]}",
                expected="no other content under this identity",
            )
        ],
        metrics={"new": new, "versions": len(before | {version.number})},
        model=version.ref,
    )


def _git_tags(context: Context) -> dict[str, str]:
    head = git.head(context.project.root)
    if head is None:
        return {}
    return {COMMIT_TAG: head.commit, DIRTY_TAG: str(head.dirty).lower()}
