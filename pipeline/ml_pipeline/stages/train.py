"""Stage ``train``: compute features, split, fit, calibrate, export and prove the export."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from ml_pipeline.core import artefacts
from ml_pipeline.core.report import ModelRef
from ml_pipeline.core.single_line import single_line
from ml_pipeline.data import parquet
from ml_pipeline.stages.context import Context, Outcome
from ml_pipeline.stages.table import TrainFlags

if TYPE_CHECKING:
    from datetime import date

    import pandas as pd

    from ml_pipeline.problem import Matrix, Problem
    from ml_pipeline.project.protected_files import Protected
    from ml_pipeline.registry.champion_contract import ChampionContract
    from ml_pipeline.training.trained_model import TrainedModel, TrainingLimits

TRIALS = "search/trials.jsonl"
"""Trials of a search that has not ended; the next build of the same model continues it."""

MAX_CAUSE = 500
"""Characters of ``--cause`` that are kept."""


def run(context: Context[TrainFlags]) -> Outcome:
    """Train on the clean data and write the model with its matrix, or nothing at all."""
    from ml_pipeline.bundle.identity import identity
    from ml_pipeline.gate.comparison_set import check_metrics
    from ml_pipeline.problems.loader import load_problem
    from ml_pipeline.project import feature_process, isolation
    from ml_pipeline.project.protected_files import Protected
    from ml_pipeline.registry.champion_contract import compare_contract
    from ml_pipeline.training import model_files
    from ml_pipeline.training.estimators.loader import is_own
    from ml_pipeline.training.trained_model import TrainingLimits
    from ml_pipeline.training.trainer import recipes_of

    config, flags = context.config, context.flags
    limits = TrainingLimits.of_flags(flags.max_samples, flags.max_epochs, quick=context.quick)
    recipes_of(config.train)  # wrong names are refused before minutes are spent
    problem = load_problem(config.problem, context.project.root)
    check_metrics(config, problem)
    with model_files.all_or_nothing(context.workdir):
        champion = _champion(context)
        clean = context.take(artefacts.CLEAN)
        frame = parquet.read(clean)
        protected = Protected(context.project, context.workdir, context.home)
        context.progress("computing features", 0.0)
        start = time.perf_counter()
        matrix = feature_process.matrix(protected, problem, clean, frame)
        protected.require_unchanged(
            "the feature modules", "features that are computed and returned"
        )
        seconds = {"features": round(time.perf_counter() - start, 3)}
        fingerprint = _fingerprint(context)
        change = _change(context, champion)
        trained = _train(
            context, protected, problem, matrix, frame, champion, limits, fingerprint, change
        )
        version = identity(
            context.project,
            fingerprint,
            limits=limits.to_json(),
            schema=trained.schema,
            hashed=trained.hashed,
            change=change,
        )
        context.progress("writing the model", 0.95)
        record = trained.record(
            config, problem.kind, context.profile, version.digest, version.parts
        )
        outputs = model_files.write(context.workdir, trained, record)
        (context.workdir / TRIALS).unlink(missing_ok=True)
    estimator = config.train.estimator
    own_code = (*config.features.modules, *([estimator] if is_own(estimator) else []))
    return Outcome(
        summary=trained.summary,
        checks=(
            *trained.checks,
            compare_contract(champion, trained.schema),
            *isolation.check(own_code),
        ),
        metrics={
            **trained.metrics,
            **_cause(flags),
            "contract": trained.schema.contract,
            "seconds": {**seconds, **trained.metrics["seconds"]},
        },
        outputs=outputs,
        model=ModelRef(name=config.registry.name or config.project, identity=version.digest),
    )


def _cause(flags: TrainFlags) -> dict[str, str]:
    """Return why the model was trained, as the caller states it; empty where it does not."""
    cause = single_line(flags.cause or "", MAX_CAUSE)
    return {"cause": cause} if cause else {}


def _champion(context: Context[TrainFlags]) -> ChampionContract | None:
    """Return the champion's contract; a quick run does not read the registry."""
    if context.quick:
        return None
    from ml_pipeline.registry.champion_contract import ChampionContract
    from ml_pipeline.registry.registry import Registry

    context.progress("reading the champion's request contract", 0.0)
    return ChampionContract.read(Registry.of(context.project, context.home, context.progress))


def _change(context: Context[TrainFlags], champion: ChampionContract | None) -> date | None:
    """Return the day of the change that a window may begin with; None where none is asked for."""
    from ml_pipeline.monitoring.dated_change import dated_change
    from ml_pipeline.promotion.environment import PRODUCTION

    if champion is None or not context.config.train.depends_on_change:
        return None
    return dated_change(context.home, PRODUCTION, champion.version, champion.change)


def _fingerprint(context: Context[TrainFlags]) -> str:
    return str(json.loads(context.take(artefacts.PROFILE).read_text())["fingerprint"])


def _train(
    context: Context[TrainFlags],
    protected: Protected,
    problem: Problem,
    matrix: Matrix,
    frame: pd.DataFrame,
    champion: ChampionContract | None,
    limits: TrainingLimits,
    fingerprint: str,
    change: date | None,
) -> TrainedModel:
    from ml_pipeline.bundle.identity import identity
    from ml_pipeline.project.estimator_process import configured_estimator
    from ml_pipeline.tasks.loader import load_task
    from ml_pipeline.training.trainer import train
    from ml_pipeline.training.trial_log import TrialLog

    config = context.config
    searched = identity(context.project, fingerprint, limits=limits.to_json(), change=change).digest
    with configured_estimator(protected) as estimator:
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
            hashed=() if champion is None else champion.split_columns,
            estimator=estimator,
            task=load_task(config.problem.task),
            change=change,
            log=TrialLog(context.workdir / TRIALS, searched),
        )
    protected.require_unchanged(config.train.estimator, "an estimator that is fitted and returned")
    return trained
