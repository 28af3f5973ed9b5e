"""The MLflow experiment of a model, where the runs of its versions and of its leases are."""

from __future__ import annotations

from urllib.parse import urlsplit

from ml_pipeline.core.home import Home
from ml_pipeline.registry.mlflow_session import MlflowSession


def experiment_id(session: MlflowSession, name: str, home: Home) -> str:
    """Return the id of the model's experiment, which is made where it is missing.

    A server keeps the artefacts itself; of a database they lie in the home.
    """
    from mlflow.exceptions import MlflowException

    experiment = f"ml-pipeline/{name}"
    existing = session.client.get_experiment_by_name(experiment)
    if existing is not None:
        return str(existing.experiment_id)
    serves_artefacts = urlsplit(session.uri).scheme in {"http", "https"}
    folder = (home / "artifacts").resolve()
    try:
        made = session.client.create_experiment(
            experiment, artifact_location=None if serves_artefacts else folder.as_uri()
        )
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        made = session.client.get_experiment_by_name(experiment).experiment_id
    return str(made)


def create_finished_run(session: MlflowSession, experiment: str, name: str, note: str) -> str:
    """Create a run that computes nothing and return its id; ``note`` is shown on its page."""
    run = session.client.create_run(experiment, run_name=name, tags={"mlflow.note.content": note})
    run_id: str = run.info.run_id
    session.client.set_terminated(run_id)
    return run_id
