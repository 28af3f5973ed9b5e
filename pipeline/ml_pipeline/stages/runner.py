"""Run one stage and write its report, whether the stage returns or raises."""

from __future__ import annotations

import importlib
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast

from ml_pipeline import __version__
from ml_pipeline.bundle.identity import installed_version
from ml_pipeline.core import errors, report, workdir
from ml_pipeline.core.errors import EnvironmentFault, PipelineError, UsageError, WaitingForPerson
from ml_pipeline.core.report import Check, StageReport, Verdict
from ml_pipeline.stages.context import Context, Outcome
from ml_pipeline.stages.table import STAGES
from ml_pipeline.training.estimators.loader import loaded_packages

HEAVY = {
    "great_expectations": "great_expectations",
    "mlflow": "mlflow",
    "numpy": "numpy",
    "onnx": "onnx",
    "onnxruntime": "onnxruntime",
    "pandas": "pandas",
    "sklearn": "scikit-learn",
}


@dataclass(frozen=True)
class Result:
    """A stage's report and its exit code."""

    report: StageReport
    exit_code: int
    error: BaseException | None = None


def execute(context: Context[Any]) -> Result:
    """Run the stage and write its report; the report of an earlier run is removed first.

    Raises:
        KeyboardInterrupt: after the report has been written.
        EnvironmentFault: the report itself cannot be written.
    """
    name = report.file_name(context.stage.name, context.environment)
    started = datetime.now(UTC)
    error: BaseException | None = None
    try:
        context.workdir.make()
        for stale in (f"reports/{name}.json", f"junit/{name}.xml"):
            (context.workdir / stale).unlink(missing_ok=True)
        if context.stage.home:
            context.home.make()
        elif context.stage.reads_home and not context.quick:
            context.home.check_owner()
        outcome = _run_of(context)(context)
        if not outcome.waits:
            outcome = replace(outcome, summary=report.headline(outcome.summary, outcome.checks))
        verdict, exit_code = report.judge(outcome.checks), errors.PASS
        if outcome.waits:
            verdict, exit_code = Verdict.INCONCLUSIVE, WaitingForPerson.exit_code
        elif verdict.blocks:
            exit_code = errors.Refused.exit_code
    except PipelineError as caught:
        error, exit_code = caught, caught.exit_code
    except KeyboardInterrupt as caught:
        error, exit_code = caught, errors.INTERRUPTED
    except OSError as caught:
        error = EnvironmentFault(f"{context.stage.name}: {caught}")
        error.__cause__ = caught
        exit_code = EnvironmentFault.exit_code
    except MemoryError as caught:
        error = EnvironmentFault(
            f"{context.stage.name}: out of memory", hint="give it more memory, or less data"
        )
        error.__cause__ = caught
        exit_code = EnvironmentFault.exit_code
    except (Exception, SystemExit) as caught:  # noqa: BLE001  reported as a fault of the program
        error, exit_code = caught, errors.PROGRAM_FAULT
    if error is not None:
        outcome, verdict = _failed(context, error, exit_code)
    written = StageReport(
        stage=context.stage.name,
        environment=context.environment,
        profile=context.profile,
        verdict=verdict,
        summary=" ".join(outcome.summary.split()),
        checks=tuple(outcome.checks),
        metrics=dict(outcome.metrics),
        inputs=dict(context.inputs),
        outputs={context.workdir.name_of(path): workdir.digest(path) for path in outcome.outputs},
        model=outcome.model,
        run_id=context.run_id,
        started=started,
        finished=datetime.now(UTC),
        versions=_versions(),
        overrides=context.overrides,
    )
    try:
        report.write(written, context.workdir)
    except OSError as caught:
        raise EnvironmentFault(
            f"cannot write the report of {context.stage.name} to {context.workdir.root}: "
            f"{caught.strerror}",
            hint="free space or make the folder writable, then run the stage again",
        ) from error
    if isinstance(error, KeyboardInterrupt):
        raise error
    return Result(written, exit_code, error)


def _run_of(context: Context[Any]) -> Callable[[Context[Any]], Outcome]:
    """Return the function of the stage's module.

    Raises:
        UsageError: the module of a plug-in cannot be imported, or has no ``run``.
    """
    stage = context.stage
    try:
        run = importlib.import_module(stage.module).run
    except Exception as error:
        if stage.name in STAGES:
            raise
        raise UsageError(
            f"plug-in stage '{stage.name}': module {stage.module}: {type(error).__name__}: {error}",
            expected="a module with a function run(context)",
            hint="correct or uninstall the package that provides it",
        ) from error
    return cast(Callable[[Context[Any]], Outcome], run)


def _failed(context: Context[Any], error: BaseException, exit_code: int) -> tuple[Outcome, Verdict]:
    if isinstance(error, KeyboardInterrupt):
        summary = f"{context.stage.name} was interrupted; {context.stage.when_interrupted}"
    elif isinstance(error, PipelineError):
        summary = str(error)
    else:
        summary = f"fault in {context.stage.name}: {type(error).__name__}: {error}"
    verdict = {1: Verdict.FAIL, 4: Verdict.INCONCLUSIVE}.get(exit_code, Verdict.ERROR)
    check = Check(
        name=context.stage.name,
        verdict=verdict,
        observed=getattr(error, "fault", summary),
        expected=getattr(error, "expected", ""),
        why=getattr(error, "hint", ""),
    )
    return Outcome(summary=summary, checks=[check]), verdict


def _versions() -> dict[str, str]:
    """Return the versions of this package, Python and the heavy packages that the stage loaded."""
    found = {"ml-pipeline": __version__, "python": platform.python_version()}
    packages = {module: package for package, module in loaded_packages().items()}
    for module, distribution in sorted((HEAVY | packages).items()):
        if module in sys.modules:
            found[distribution] = installed_version(distribution)
    return found
