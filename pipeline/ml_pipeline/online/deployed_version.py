"""The deployed version of an environment, and its verification against the bundle."""

from __future__ import annotations

from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core.errors import EnvironmentFault, Refused
from ml_pipeline.core.report import Check, ModelRef, Verdict
from ml_pipeline.targets.base import Deployment, Placement
from ml_pipeline.targets.loader import load_target
from ml_pipeline.traffic import probe


def find_deployment(placement: Placement) -> Deployment:
    """Return what an environment serves.

    Raises:
        EnvironmentFault: the environment serves nothing.
    """
    deployment = load_target(placement.section.target).status(placement)
    if deployment is None:
        name = placement.name
        raise EnvironmentFault(f"{name} serves nothing", hint=f"run 'ml-pipeline deploy {name}'")
    return deployment


def check_served_version(deployment: Deployment, bundle: Bundle, token: str | None) -> Check:
    """Check that the server is ready and serves this bundle, by its golden predictions.

    Always required: otherwise measurements would be of another model.
    """
    try:
        probe.probe(deployment.url, bundle, deployment.version, token)
    except Refused as refused:
        verdict, why = Verdict.FAIL, str(refused)
    else:
        verdict, why = Verdict.PASS, ""
    return Check(
        name="serves the deployed version",
        verdict=verdict,
        observed=deployment.url,
        expected=f"version {deployment.version}, bundle {bundle.digest[:12]}",
        why=why,
    )


def model_of(deployment: Deployment, bundle: Bundle) -> ModelRef:
    """Return the model that a report on this deployment is about."""
    return ModelRef(
        name=bundle.project,
        version=deployment.version,
        identity=bundle.identity,
        digest=deployment.digest,
    )
