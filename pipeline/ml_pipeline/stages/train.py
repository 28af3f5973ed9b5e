"""Stage ``train``: features, split, fit, calibration, export and its proof."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_pipeline.core.errors import Refused, UsageError
from ml_pipeline.core.report import Check, ModelRef, Verdict
from ml_pipeline.data import parquet
from ml_pipeline.stages.context import Context, Outcome
from ml_pipeline.stages.table import TrainFlags

if TYPE_CHECKING:
    from ml_pipeline.bundle.identity import Identity
    from ml_pipeline.features.schema import FeatureSchema
    from ml_pipeline.problem import Problem
    from ml_pipeline.project.protected_files import Protected
    from ml_pipeline.training.estimators.base import Estimator
    from ml_pipeline.training.trainer import Limits, Trained
    from ml_pipeline.training.training_record import TrainingRecord

QUICK_SAMPLES = 5000
QUICK_EPOCHS = 2
TRIALS = "search/trials.jsonl"
"""Trials of a parameter search that is not done yet; a build that was killed goes on from there."""


def run(context: Context[TrainFlags]) -> Outcome:
    """Train on the clean data and write the model with its matrix, or nothing at all."""
    from ml_pipeline.gate.comparison_set import check_metrics
    from ml_pipeline.problems.loader import load_problem
    from ml_pipeline.project import isolation
    from ml_pipeline.training import model_files
    from ml_pipeline.training.estimators.loader import is_own
    from ml_pipeline.training.trainer import recipes_of

    config = context.config
    name = config.train.estimator
    own_code = (*config.features.modules, *([name] if is_own(name) else []))
    limits = _limits(context)
    recipes_of(config.train)  # wrong names are refused before minutes are spent
    problem = load_problem(config.problem, context.project.root)
    check_metrics(config, problem)
    with model_files.all_or_nothing(context.workdir):
        champion = _champion(context)
        trained, seconds = _train(context, problem, limits, champion)
        identity = _identity(context, limits, trained)
        record = _record(context, problem, trained, identity)
        context.progress("writing the model", 0.95)
        outputs = model_files.write(context.workdir, trained, record)
        (context.workdir / TRIALS).unlink(missing_ok=True)
    return Outcome(
        summary=_summary(trained),
        checks=(
            *trained.checks,
            _contract(champion, trained.schema),
            *isolation.check(own_code),
        ),
        metrics={
            **trained.metrics,
            "contract": trained.schema.contract,
            "seconds": {**seconds, **trained.metrics["seconds"]},
        },
        outputs=outputs,
        model=ModelRef(name=config.registry.name or config.project, identity=identity.digest),
    )


def _limits(context: Context[TrainFlags]) -> Limits:
    from ml_pipeline.training.trainer import Limits

    samples = _limit(context, "max-samples", context.flags.max_samples, QUICK_SAMPLES)
    epochs = _limit(context, "max-epochs", context.flags.max_epochs, QUICK_EPOCHS)
    return Limits(quick=context.quick, max_samples=samples, max_epochs=epochs)


def _limit(
    context: Context[TrainFlags], name: str, value: int | None, quick_default: int
) -> int | None:
    if value is None:
        return quick_default if context.quick else None
    if value < 1:
        raise UsageError(f"--{name} {value}", expected="at least 1")
    return value


@dataclass(frozen=True)
class Champion:
    """The version in production: what its clients send, and how its undated rows were split."""

    version: int
    schema: FeatureSchema
    hashed: tuple[str, ...]


def _champion(context: Context[TrainFlags]) -> Champion | None:
    """Return the champion that the registry names; a quick run asks no registry.

    Raises:
        Refused: the registry's copy of its manifest is damaged.
        EnvironmentFault: the registry does not answer.
    """
    if context.quick:
        return None
    from ml_pipeline.features.schema import FeatureSchema
    from ml_pipeline.registry.registry import Registry

    registry = Registry.of(context.project, context.home, context.progress)
    if not registry.exists():
        return None
    context.progress("asking the registry for the champion's request contract", 0.0)
    version = registry.read().champion
    if version is None:
        return None
    manifest = registry.bundles.manifest(version)
    split = manifest["training"].get("split")
    columns = split.get("columns") if isinstance(split, dict) else None
    try:
        return Champion(
            version.number,
            FeatureSchema.from_json(manifest["features"]),
            tuple(map(str, columns)) if isinstance(columns, list) else (),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Refused(f"the manifest of version {version.number}: features: {error}") from None


def _contract(champion: Champion | None, schema: FeatureSchema) -> Check:
    """Say how the contract differs from the champion's; the gate decides about it."""
    from ml_pipeline.features import request_contract

    if champion is None:
        return Check(
            name="request contract",
            verdict=Verdict.SKIPPED,
            required=False,
            observed=schema.contract[:12],
            why="there is no champion to compare with",
        )
    found = request_contract.compare(champion.schema, schema)
    breaks = found.change == "breaking"
    return Check(
        name="request contract",
        verdict=Verdict.FAIL if breaks else Verdict.PASS,
        required=False,
        observed=str(found),
        expected=f"one that serves the clients of version {champion.version}, the champion",
        why=f"{found}; the gate refuses that unless gate.allow_breaking_contract is true"
        if breaks
        else "",
    )


def _train(
    context: Context[TrainFlags], problem: Problem, limits: Limits, champion: Champion | None
) -> tuple[Trained, dict[str, float]]:
    from ml_pipeline.project import feature_process
    from ml_pipeline.project.protected_files import Protected
    from ml_pipeline.tasks.loader import load_task
    from ml_pipeline.training.trainer import train
    from ml_pipeline.training.trial_log import TrialLog

    config = context.config
    rows = context.take("data/clean.parquet")
    frame = parquet.read(rows)
    context.progress("computing features", 0.0)
    start = time.perf_counter()
    protected = Protected(context.project, context.workdir, context.home)
    matrix = feature_process.matrix(protected, problem, rows, frame)
    if protected.changed:
        raise Refused(
            f"the feature modules changed what others read: {'; '.join(protected.changed[:3])}",
            expected="features that are computed and returned",
        )
    seconds = {"features": round(time.perf_counter() - start, 3)}
    with _estimator(protected) as estimator:
        trained = train(
            matrix,
            frame,
            problem,
            config.split,
            config.train,
            limits,
            context.progress,
            optional=config.features.optional,
            champion=None if champion is None else champion.schema,
            hashed=() if champion is None else champion.hashed,
            estimator=estimator,
            task=load_task(config.problem.task),
            log=TrialLog(context.workdir / TRIALS, _searched(context, limits)),
        )
    if protected.changed:
        changed = "; ".join(protected.changed[:3])
        raise Refused(
            f"{config.train.estimator} changed what others read: {changed}",
            expected="an estimator that is fitted and returned",
        )
    return trained, seconds


@contextmanager
def _estimator(protected: Protected) -> Iterator[Estimator]:
    """Yield the plug-in that ``train.estimator`` names, or the project's own."""
    from ml_pipeline.project.estimator_process import own_estimator
    from ml_pipeline.training.estimators.loader import is_own, load_estimator

    name = protected.project.config.train.estimator
    if not is_own(name):
        yield load_estimator(name)
        return
    with own_estimator(protected) as estimator:
        yield estimator


def _searched(context: Context[TrainFlags], limits: Limits) -> str:
    """Return the digest of all that a search depends on beside the encoded rows."""
    from ml_pipeline.bundle.identity import identity

    return identity(context.project, _fingerprint(context), limits=_flags_of(limits)).digest


def _flags_of(limits: Limits) -> dict[str, Any]:
    return {
        "quick": limits.quick or None,
        "max_samples": limits.max_samples,
        "max_epochs": limits.max_epochs,
    }


def _fingerprint(context: Context[TrainFlags]) -> str:
    profile = context.take("data/profile.json")
    return str(json.loads(profile.read_text())["fingerprint"])


def _identity(context: Context[TrainFlags], limits: Limits, trained: Trained) -> Identity:
    from ml_pipeline.bundle.identity import identity

    return identity(
        context.project,
        _fingerprint(context),
        limits=_flags_of(limits),
        schema=trained.schema,
        hashed=trained.hashed,
    )


def _record(
    context: Context[TrainFlags], problem: Problem, trained: Trained, identity: Identity
) -> TrainingRecord:
    from ml_pipeline.training.training_record import TrainingRecord

    chosen = trained.chosen_trial
    return TrainingRecord(
        project=context.config.project,
        problem=problem.kind,
        estimator=trained.recipe.estimator.name,
        params=trained.recipe.params.model_dump(mode="json"),
        best_round=trained.model.fitted.best_round,
        calibration=trained.recipe.calibration,
        seed=context.config.train.seed,
        profile=context.profile,
        rows=trained.split.counts(),
        cutoffs=trained.split.cutoffs,
        split={"method": trained.split.method, **trained.split.detail},
        positive_rate=trained.labels.get("positive_rate"),
        task=trained.task.to_json(),
        folds=chosen.scores if chosen else (),
        search=trained.trials,
        fingerprint=identity.parts["data"],
        identity=identity.digest,
        identity_parts=dict(identity.parts),
    )


def _summary(trained: Trained) -> str:
    metrics, task = trained.metrics, trained.task
    measured = f"validation_{task.training_metric}"
    rounds = f", {metrics['best_round']} rounds" if metrics["best_round"] else ""
    end = trained.split.cutoffs.train_end
    until = f" to {end}" if end else ""
    return (
        f"{trained.recipe.estimator.name}{rounds} on {metrics['rows']['train']} rows{until}; "
        f"validation {task.metrics[task.training_metric].title} {metrics[measured]:.4f} "
        f"({task.baseline_title} {metrics[f'{measured}_of_{task.baseline}']:.4f})"
    )
