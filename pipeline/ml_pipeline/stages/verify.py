"""Stage ``verify``: test the API of an environment, then run the project's own tests."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from ml_pipeline.core.errors import EnvironmentFault, UsageError
from ml_pipeline.core.report import ModelRef
from ml_pipeline.online import api_contract
from ml_pipeline.online.api_contract import ContractResult
from ml_pipeline.online.champion_requests import check_champion_requests
from ml_pipeline.project import isolation
from ml_pipeline.project.protected_files import Protected
from ml_pipeline.project.user_tests import run_user_tests
from ml_pipeline.promotion.environment import PRODUCTION
from ml_pipeline.serving.access import read_token
from ml_pipeline.stages.context import Context, Outcome
from ml_pipeline.stages.table import VerifyFlags
from ml_pipeline.targets.base import Deployment, Placement
from ml_pipeline.targets.loader import load_target

PLAIN = re.compile(r"[A-Za-z0-9:/.\-_~%\[\]]+")
"""Characters of an address without query, fragment or credentials."""


def run(context: Context[VerifyFlags]) -> Outcome:
    """Verify the environment's server, or the one at ``--url``.

    With ``--url`` the expected bundle is unknown, unless it is the address of the environment's own
    server. The report then names no model, because the server's metadata proves nothing, and the
    gate does not accept it for the challenger.

    Raises:
        UsageError: ``--url`` is no plain http address, or the token is not set.
        EnvironmentFault: nothing is served, or the address does not respond.
    """
    name = context.environment or ""
    placement = Placement.of(context.project, name, context.home)
    deployment = load_target(placement.section.target).status(placement)
    url = _url(context.flags.url, deployment, name)
    token = read_token("127.0.0.1", placement.serving.token_env)
    context.progress(f"testing {url}", 0.1)
    expected = api_contract.expected_deployment(deployment, url, placement)
    contract = api_contract.check_contract(url, expected, token)
    replayed = (
        []
        if expected.bundle is None
        else check_champion_requests(
            url,
            expected.bundle,
            token,
            project=context.project,
            home=context.home,
            environment=PRODUCTION,
            progress=context.progress,
        )
    )
    context.progress("running the project's staging tests", 0.6)
    tests = run_user_tests(
        context.project,
        context.workdir,
        context.config.tests.staging,
        "staging",
        {"endpoint": url},
        Protected(context.project, context.workdir, context.home),
    )
    checks = [*contract.checks, *replayed, *tests]
    return Outcome(
        summary=api_contract.summarize(url, checks, contract),
        checks=[*checks, *isolation.check(tests)],
        metrics={"url": url, **contract.metrics},
        model=None if expected.digest is None else _model(contract),
    )


def _url(url_flag: str | None, deployment: Deployment | None, name: str) -> str:
    if url_flag is None:
        if deployment is None:
            raise EnvironmentFault(
                f"{name} serves nothing", hint=f"run 'ml-pipeline deploy {name}'"
            )
        return deployment.url
    if "@" in url_flag:
        raise UsageError("--url holds credentials", hint="give a token by serving.token_env")
    try:
        parts = urlsplit(url_flag)
        plain = parts.scheme in ("http", "https") and parts.port != 0 and parts.hostname
    except ValueError:
        plain = False
    if not plain or not PLAIN.fullmatch(url_flag):
        raise UsageError(f"--url {url_flag!r}", expected="an address such as http://127.0.0.1:8001")
    return url_flag.rstrip("/")


def _model(contract: ContractResult) -> ModelRef | None:
    metadata = contract.metadata
    if not metadata:
        return None
    return ModelRef(
        name=metadata["name"],
        version=metadata["model_version"],
        identity=str(metadata.get("identity", "")),
        digest=metadata["digest"],
    )
