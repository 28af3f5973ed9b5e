"""Tests the API that an environment serves: the contract, then the project's own tests."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core import report
from ml_pipeline.core.errors import EnvironmentFault, UsageError
from ml_pipeline.core.report import Check, ModelRef, Verdict
from ml_pipeline.gate.checks.request_contract import schema_of
from ml_pipeline.online import api_contract, champion_requests, recorded_requests
from ml_pipeline.online.api_contract import Contract, Expected
from ml_pipeline.online.champion_requests import ChampionRequests
from ml_pipeline.project import isolation
from ml_pipeline.project.protected_files import Protected
from ml_pipeline.project.user_tests import run_user_tests
from ml_pipeline.promotion.environment import PRODUCTION
from ml_pipeline.registry.mlflow_registry import Registry, Version
from ml_pipeline.serving.access import token_of
from ml_pipeline.stages.context import Context, Outcome
from ml_pipeline.stages.table import VerifyFlags
from ml_pipeline.targets import server_arguments
from ml_pipeline.targets.base import Deployment, Placement
from ml_pipeline.targets.loader import load_target

PLAIN = re.compile(r"[A-Za-z0-9:/.\-_~%\[\]]+")
"""Characters of an address without query, fragment or credentials."""


def run(context: Context[VerifyFlags]) -> Outcome:
    """Verify the environment's server, or the one at ``--url``.

    With ``--url`` nothing is known of what should be served there, unless it is the address of
    the environment's own server. What such a server says of its model is a claim, so the report
    then names no model, and the gate does not take it for one about the challenger.

    Raises:
        UsageError: ``--url`` is no plain http address, or the token is not set.
        EnvironmentFault: nothing is served, or nothing answers there.
    """
    name = context.environment or ""
    placement = Placement.of(context.project, name, context.home)
    deployment = load_target(placement.section.target).status(placement)
    url = _url(context.flags.url, deployment, name)
    token = token_of("127.0.0.1", placement.serving.token_env)
    context.progress(f"testing {url}", 0.1)
    expected = _expected(deployment, url, placement)
    found = api_contract.contract(url, expected, token)
    replayed = _champions_requests(context, expected, url, token)
    context.progress("running the project's staging tests", 0.6)
    tests = run_user_tests(
        context.project,
        context.workdir,
        context.config.tests.staging,
        "staging",
        {"endpoint": url},
        Protected(context.project, context.workdir, context.home),
    )
    every = [*found.checks, *replayed, *tests]
    return Outcome(
        summary=_summary(url, every, found),
        checks=[*every, *isolation.check(tests)],
        metrics={"url": url, **found.metrics},
        model=None if expected.digest is None else _model(found),
    )


def _url(given: str | None, deployment: Deployment | None, name: str) -> str:
    if given is None:
        if deployment is None:
            raise EnvironmentFault(
                f"{name} serves nothing", hint=f"run 'ml-pipeline deploy {name}'"
            )
        return deployment.url
    if "@" in given:
        raise UsageError("--url holds credentials", hint="give a token by serving.token_env")
    try:
        parts = urlsplit(given)
        plain = parts.scheme in ("http", "https") and parts.port != 0 and parts.hostname
    except ValueError:
        plain = False
    if not plain or not PLAIN.fullmatch(given):
        raise UsageError(f"--url {given!r}", expected="an address such as http://127.0.0.1:8001")
    return given.rstrip("/")


def _expected(deployment: Deployment | None, url: str, placement: Placement) -> Expected:
    if deployment is None or deployment.url != url:
        return Expected()
    bundle = Bundle.open(deployment.bundle)
    section = placement.section
    return Expected(
        version=deployment.version,
        digest=deployment.digest,
        bundle=bundle,
        raw_rows=server_arguments.computes_features(section, placement.serving),
        raw_rows_required="raw_rows" in section.model_fields_set,
    )


def _champions_requests(
    context: Context[VerifyFlags], expected: Expected, url: str, token: str | None
) -> list[Check]:
    """Return the check that what the champion was asked is answered here; none where it serves.

    Raises:
        Refused: the champion's bundle is damaged.
        EnvironmentFault: the registry does not answer.
    """
    import httpx

    if expected.bundle is None or not (registry := _registry(context)).exists():
        return []
    context.progress("asking the registry for the champion", 0.4)
    champion = registry.champion()
    if champion is None or champion.digest == expected.digest:
        return []
    context.progress("sending the champion's requests", 0.5)
    asked = _asked(context, registry, champion)
    try:
        return [champion_requests.replay(url, asked, expected.bundle.schema, token)]
    except httpx.HTTPError as error:
        return [
            Check(
                name=champion_requests.NAME,
                verdict=Verdict.ERROR,
                observed=f"{type(error).__name__}: {error}",
                expected="an answer to each",
                why=f"{champion_requests.NAME}: the connection broke",
            )
        ]


def _registry(context: Context[VerifyFlags]) -> Registry:
    return Registry.of(context.project, context.home, context.progress)


def _asked(
    context: Context[VerifyFlags], registry: Registry, champion: Version
) -> ChampionRequests:
    """Return what clients asked of the champion, or its golden rows where nothing is recorded."""
    schema = schema_of(registry.manifest(champion), "champion")
    try:
        folder = recorded_requests.log_of(context.project, context.home, PRODUCTION)
    except EnvironmentFault as fault:
        rows: list[list[Any]] = []
        context.progress(
            f"golden rows, since the prediction log is unavailable: {fault.fault}", 0.5
        )
    else:
        newest = recorded_requests.newest(
            folder,
            version=champion.number,
            features=schema.names,
            count=champion_requests.MOST,
        )
        rows = [row.features for row in newest]
    if rows:
        return ChampionRequests("recorded", champion.number, schema, rows)
    with tempfile.TemporaryDirectory(prefix="verify-") as scratch:
        bundle = Bundle.open(registry.download(champion, Path(scratch) / "champion"))
        return ChampionRequests("golden", champion.number, schema, bundle.golden.inputs)


def _summary(url: str, every: list[Check], found: Contract) -> str:
    failed = [check for check in every if check.required and check.verdict is not Verdict.PASS]
    if report.judge(every) is not Verdict.PASS and failed:
        first = f"{failed[0].name}: {failed[0].why}"
        return f"{len(failed)} of {len(every)} checks fail, first {first} ({url})"
    median = found.metrics.get("latency_median_ms")
    speed = "" if median is None else f", {median:.1f} ms a row"
    return f"{url} keeps its contract: {len(every)} checks{speed}"


def _model(found: Contract) -> ModelRef | None:
    told = found.metadata
    if not told:
        return None
    return ModelRef(
        name=told["name"],
        version=told["model_version"],
        identity=str(told.get("identity", "")),
        digest=told["digest"],
    )
