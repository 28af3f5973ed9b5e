"""The registered model of a project in MLflow, and the run that keeps its leases."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.home import Home
from ml_pipeline.registry.experiments import create_finished_run, experiment_id
from ml_pipeline.registry.mlflow_session import MlflowSession, mask_password

LEASES_RUN = "leases.run"
"""Tag of the registered model: the run that keeps its leases (``ml_pipeline.registry.leases``)."""


def find_model(session: MlflowSession, name: str) -> Any | None:
    """Return the registered model; None only from a registry that proved that it answers."""
    found = session.client.search_registered_models(filter_string=f"name='{name}'")
    if found:
        return found[0]
    from mlflow.entities import ViewType

    if not session.client.search_experiments(view_type=ViewType.ALL, max_results=1):
        raise EnvironmentFault(
            f"what answers at {mask_password(session.uri)} is not an MLflow registry",
            expected="at least its default experiment",
            hint="see that registry.uri is right",
        )
    return None


def ensure_model(session: MlflowSession, name: str, home: Home) -> None:
    """Create the registered model where it is missing, in one request with its run of leases.

    Of several machines that create it at once, the one that succeeds decides on the run.
    """
    from mlflow.exceptions import MlflowException

    if find_model(session, name) is not None:
        return
    run_id = create_leases_run(session, name, home)
    try:
        session.client.create_registered_model(name, tags={LEASES_RUN: run_id})
    except MlflowException as error:
        with suppress(MlflowException):
            session.client.delete_run(run_id)
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def create_leases_run(session: MlflowSession, name: str, home: Home) -> str:
    """Create a run that is to keep the leases of a model and return its id."""
    return create_finished_run(
        session,
        experiment_id(session, name, home),
        "leases",
        f"The leases of the changes of production of {name}: who made each of them. Keep this run.",
    )
