"""Stage ``register``: register the bundle in MLflow as challenger."""

from __future__ import annotations

from ml_pipeline.approval.authors import COMMIT_TAG, DIRTY_TAG, DIRTY_WHY_TAG
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core import git
from ml_pipeline.core.artefacts import BUNDLE
from ml_pipeline.core.errors import Refused, UsageError
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.registry import commit
from ml_pipeline.registry.registry import Registry
from ml_pipeline.stages.context import Context, Outcome
from ml_pipeline.stages.record import NoFlags


def run(context: Context[NoFlags]) -> Outcome:
    """Register ``bundle/``; an identity that is registered already keeps its version.

    Raises:
        Refused: the registry holds other content under this identity, or the model is a quick one.
        EnvironmentFault: the registry does not answer.
    """
    if context.quick:
        raise Refused(
            "a quick model is not registered", hint="run 'ml-pipeline run cd' for a full one"
        )
    path = context.take(BUNDLE)
    bundle = Bundle.open(path)
    registry = Registry.of(context.project, context.home, context.progress)
    done = registry.register(path, _git_tags(context, bundle), _metrics(context, bundle))
    version = done.version
    summary = f"version {version.number} of '{version.name}' is the challenger"
    return Outcome(
        summary=summary if done.is_new else f"{summary}; this identity was registered before",
        checks=[
            Check(
                name="one content per identity",
                verdict=Verdict.PASS,
                observed=f"version {version.number}, bundle {version.digest[:12]}",
                expected="no other content under this identity",
            )
        ],
        metrics={"new": done.is_new, "versions": done.count},
        model=version.ref,
    )


def _metrics(context: Context[NoFlags], bundle: Bundle) -> dict[str, float]:
    """Return what evaluate measured of this model and its baselines; nothing where it did not."""
    if not (context.workdir / "reports/evaluate.json").is_file():
        return {}
    evaluated = context.report_of("evaluate")
    if evaluated.model is None or evaluated.model.identity != bundle.identity:
        return {}
    return {
        metric if name == "model" else f"{name}.{metric}": float(found["value"])
        for name, measured in evaluated.metrics.get("models", {}).items()
        for metric, found in measured.items()
        if found.get("value") is not None
    }


def _git_tags(context: Context[NoFlags], bundle: Bundle) -> dict[str, str]:
    """Return commit, whether the model was made from it alone, and what else shaped it."""
    head = git.head(context.project.root)
    if head is None:
        return {}
    overrides, unknown = _overrides(context)
    why = commit.differences(context.project, bundle, head.commit, overrides)
    why += [f"no report of {stage} shows which configuration it had" for stage in unknown]
    if head.dirty:
        why.append("files are changed or in no commit")
    tags = {COMMIT_TAG: head.commit, DIRTY_TAG: str(bool(why)).lower()}
    return tags | ({DIRTY_WHY_TAG: commit.in_words(why)} if why else {})


def _overrides(context: Context[NoFlags]) -> tuple[dict[str, str], list[str]]:
    """Return what changed the configuration in the stages that made the model, and here.

    Returns:
        Dotted keys with who set them, and the stages that left no report.
    """
    found, unknown = dict(context.overrides), []
    for stage in ("validate-data", "train", "package"):
        try:
            found |= context.report_of(stage).overrides
        except UsageError:
            unknown.append(stage)
    return found, unknown
