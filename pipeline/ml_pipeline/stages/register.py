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
from ml_pipeline.registry.versions import CAUSE, DATA, TRAIN_SECONDS
from ml_pipeline.stages.context import Context, Outcome
from ml_pipeline.stages.record import NoFlags
from ml_pipeline.stages.table import EVALUATE, PACKAGE, TRAIN, VALIDATE_DATA


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
    tags = _git_tags(context, bundle) | _training_tags(context, bundle)
    done = registry.register(path, tags, _metrics(context, bundle))
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
    """Return the metrics of this model and its baselines; empty if they were not measured."""
    if not (context.workdir / f"reports/{EVALUATE.name}.json").is_file():
        return {}
    evaluated = context.report_of(EVALUATE.name)
    if evaluated.model is None or evaluated.model.identity != bundle.identity:
        return {}
    return {
        metric if name == "model" else f"{name}.{metric}": float(found["value"])
        for name, measured in evaluated.metrics.get("models", {}).items()
        for metric, found in measured.items()
        if found.get("value") is not None
    }


def _training_tags(context: Context[NoFlags], bundle: Bundle) -> dict[str, str]:
    """Return tags: why the model was trained, how long that took, and rows and days of its data.

    They are from the reports of train and validate-data, where these are about this model.
    """
    if not context.trained(bundle.identity):
        return {}
    trained = context.report_of(TRAIN.name)
    seconds = (trained.finished - trained.started).total_seconds()
    tags = {TRAIN_SECONDS: f"{max(seconds, 0.0):.1f}"}
    if cause := trained.metrics.get(CAUSE):
        tags[CAUSE] = str(cause)
    read = context.report_of(VALIDATE_DATA.name).metrics
    if read.get("fingerprint") == bundle.manifest["identity_parts"].get("data"):
        named = {"rows": "rows_clean", "first": "first", "last": "last"}
        tags |= {f"{DATA}{tag}": str(read[name]) for tag, name in named.items() if name in read}
    return tags


def _git_tags(context: Context[NoFlags], bundle: Bundle) -> dict[str, str]:
    """Return tags: the commit, and whether and how the model depends on more than the commit."""
    head = git.head(context.project.root)
    if head is None:
        return {}
    overrides, unknown = _overrides(context)
    why = commit.differences(context.project, bundle, head.commit, overrides)
    why += [f"no report of {stage} shows which configuration it had" for stage in unknown]
    if head.dirty:
        why.append("files are changed or in no commit")
    tags = {COMMIT_TAG: head.commit, DIRTY_TAG: str(bool(why)).lower()}
    return tags | ({DIRTY_WHY_TAG: commit.summarize(why)} if why else {})


def _overrides(context: Context[NoFlags]) -> tuple[dict[str, str], list[str]]:
    """Return the overrides of the configuration in the stages before, and in this one.

    Returns:
        The origin of each override by its dotted key, and the stages without a report.
    """
    found, unknown = dict(context.overrides), []
    for stage in (VALIDATE_DATA.name, TRAIN.name, PACKAGE.name):
        try:
            found |= context.report_of(stage).overrides
        except UsageError:
            unknown.append(stage)
    return found, unknown
