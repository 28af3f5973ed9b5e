"""Stage ``monitor``: compare what an environment predicts with training, and say what follows."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.report import Check, ModelRef, Verdict
from ml_pipeline.gate.expected_performance import ExpectedPerformance, read_expected
from ml_pipeline.monitoring.conclusions import Conclusion
from ml_pipeline.monitoring.expired_logs import remove_expired_logs
from ml_pipeline.monitoring.live_traffic import Traffic, scrape
from ml_pipeline.monitoring.look import Look
from ml_pipeline.monitoring.monitored_model import MonitoredModel
from ml_pipeline.monitoring.performance_tracker import PerformanceTracker
from ml_pipeline.monitoring.state import EVENTS, MonitorFolder
from ml_pipeline.monitoring.webhook import configured_webhook
from ml_pipeline.online.recorded_requests import prediction_log_folder
from ml_pipeline.problems.loader import load_problem
from ml_pipeline.promotion.environment import PRODUCTION
from ml_pipeline.promotion.production_history import read_history
from ml_pipeline.registry.records import GATE_RECORD
from ml_pipeline.registry.registry import Registry
from ml_pipeline.serving.access import read_token
from ml_pipeline.stages.context import Context, Outcome
from ml_pipeline.stages.record import NoFlags
from ml_pipeline.targets.base import Placement
from ml_pipeline.targets.loader import load_target
from ml_pipeline.targets.released_bundles import FOLDER as RELEASED
from ml_pipeline.targets.server_arguments import retention


@dataclass(frozen=True)
class _Served:
    """The version that is looked at, and the address of its servers, if any respond."""

    digest: str
    version: int | None
    url: str | None


def run(context: Context[NoFlags]) -> Outcome:
    """Look at an environment once, and remove files of its prediction log that have expired.

    Raises:
        Refused: the copy of the version's bundle does not verify.
        UsageError: an expectation of ``ml.yaml`` is wrong, or the token is not set.
        EnvironmentFault: servers, log, labels or disk fail; another look is under way.
    """
    environment = context.environment or ""
    served = _served(context, environment)
    if served is None:
        why = f"{environment} serves no version yet"
        check = Check(name="server", verdict=Verdict.INCONCLUSIVE, why=why)
        metrics = {"conclusion": str(Conclusion.INCONCLUSIVE), "reason": why}
        return Outcome(why, [check], metrics)
    folder = MonitorFolder.of(context.home, environment)
    webhook = configured_webhook(
        folder.root, {"project": context.project.model_name, "environment": environment}
    )
    log = prediction_log_folder(context.project, context.home, environment)
    with folder.locked():
        before = folder.read()
        same = before is not None and before.digest == served.digest
        traffic = Traffic()
        if served.url is not None:
            token = read_token("127.0.0.1", context.config.serving.token_env)
            known = before.statuses if before is not None and same else {}
            traffic = scrape(served.url, served.digest, token, known)
        model = MonitoredModel.open(_released(context, served), served.version)
        problem = load_problem(context.config.problem, context.project.root)
        look = Look(
            folder,
            context.config,
            problem,
            model,
            log,
            traffic,
            context.run_id,
            datetime.now(UTC),
            context.progress,
            lambda look: PerformanceTracker.open(
                folder.root,
                look,
                context.project,
                problem,
                model.bundle,
                served.version,
                context.home,
                read_history(context.home) if environment == PRODUCTION else (),
                partial(expected_of, context),
            ),
        )
        result = look.run()
        remove_expired_logs(log, retention(context.project.serving), time.time())
        suggestion = result.suggestion
        checks = [*result.checks]
        if webhook is not None:
            ids = [event["id"] for event in result.metrics["events"]]
            checks.append(
                webhook.post(
                    folder / EVENTS,
                    ids,
                    {"look_conclusion": str(suggestion.conclusion), "reason": suggestion.reason},
                )
            )
    return Outcome(
        summary=f"{suggestion.conclusion}: {suggestion.reason}",
        checks=checks,
        metrics=result.metrics,
        model=ModelRef(
            name=context.project.model_name,
            version=served.version,
            identity=model.bundle.identity,
            digest=served.digest,
        ),
    )


def expected_of(context: Context[NoFlags], digest: str) -> ExpectedPerformance | None:
    """Return the expected performance in the gate's record of a registered bundle.

    Raises:
        EnvironmentFault: the registry does not respond.
        Refused: the record is not one that a gate wrote.
    """
    registry = Registry.of(context.project, context.home, context.progress)
    if not registry.exists():
        return None
    versions = [one for one in registry.read().versions if one.digest == digest]
    return read_expected(registry.records.read(versions[-1], GATE_RECORD)) if versions else None


def _served(context: Context[NoFlags], environment: str) -> _Served | None:
    """Return what the environment serves: production's promoted version, or else what responds."""
    placement = Placement.of(context.project, environment, context.home)
    deployment = load_target(placement.section.target).status(placement)
    if environment == PRODUCTION and (history := read_history(context.home)):
        last = history[-1]
        url = deployment.url if deployment is not None else None
        return _Served(last.bundle, last.version, url)
    if deployment is None:
        return None
    return _Served(deployment.digest, deployment.version, deployment.url)


def _released(context: Context[NoFlags], served: _Served) -> Path:
    copy = context.home / RELEASED / served.digest
    if not copy.is_dir():
        raise EnvironmentFault(
            f"the home has no copy of bundle {served.digest[:12]} of version {served.version}",
            expected=f"a folder in {context.home / RELEASED}",
            hint="run 'ml-pipeline reconcile production'",
        )
    return copy
