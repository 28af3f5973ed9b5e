"""Tests the API that an environment serves: the contract, then the project's own tests."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pipeline import report
from pipeline.bundle.reader import Bundle
from pipeline.deploy import checks
from pipeline.deploy.base import Deployment, Placement
from pipeline.deploy.checks import Contract, Expected
from pipeline.deploy.targets import load_target
from pipeline.errors import EnvironmentFault, UsageError
from pipeline.project.user_tests import run_user_tests
from pipeline.report import Check, ModelRef, Verdict
from pipeline.serving.access import token_of
from pipeline.stages.context import Context, Outcome

PLAIN = re.compile(r"[A-Za-z0-9:/.\-_~%\[\]]+")
"""Characters of an address without query, fragment or credentials."""


def run(context: Context) -> Outcome:
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
    url = _url(context.flags.get("url"), deployment, name)
    token = token_of("127.0.0.1", placement.serving.token_env)
    context.progress(f"testing {url}", 0.1)
    expected = _expected(deployment, url)
    found = checks.contract(url, expected, token)
    context.progress("running the project's staging tests", 0.6)
    tests = run_user_tests(
        context.project,
        context.workdir,
        context.config.tests.staging,
        "staging",
        {"endpoint": url},
    )
    every = [*found.checks, *tests]
    return Outcome(
        summary=_summary(url, every, found),
        checks=every,
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


def _expected(deployment: Deployment | None, url: str) -> Expected:
    if deployment is None or deployment.url != url:
        return Expected()
    bundle = Bundle.open(deployment.bundle)
    return Expected(version=deployment.version, digest=deployment.digest, bundle=bundle)


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
