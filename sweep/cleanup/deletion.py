"""Runs deleted, with their models, files and views.

Each is marked first, as MLflow's page does it, and its files go then: what an interruption leaves
of them `mlflow gc` deletes.
"""

from contextlib import suppress

import mlflow
from mlflow import MlflowException
from mlflow.entities import LoggedModel, Run
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.tracking import MlflowClient
from requests import RequestException

from sweep.tracking import artifacts, store, view
from sweep.tracking.servers import outages


def delete(run: Run) -> bool:
    """Delete a run, its models and their files; False where some of these could not be reached."""
    client, run_id = MlflowClient(), run.info.run_id
    experiment = client.get_experiment(run.info.experiment_id)
    models: list[LoggedModel] = client.search_logged_models(
        [experiment.experiment_id], f"source_run_id = '{run_id}'"
    )
    for model in models:
        client.delete_logged_model(model.model_id)
    if view.TAG + run_id in experiment.tags:
        client.delete_experiment_tag(experiment.experiment_id, view.TAG + run_id)
    client.delete_run(run_id)
    places = [run.info.artifact_uri, *(model.artifact_location for model in models)]
    return all([_delete_files(place) for place in places])


def gc_command() -> str:
    """The command by which MLflow's database forgets what is deleted."""
    uri = mlflow.get_tracking_uri()
    database = "DATABASE_OF_THE_SERVER" if uri.startswith("http") else uri
    return f"mlflow gc --backend-store-uri {database} --tracking-uri {uri}"


def _delete_files(uri: str) -> bool:
    """Delete what lies at an artifact URI; False where that is out of reach."""
    folder = artifacts.local_path(uri)
    try:
        get_artifact_repository(uri).delete_artifacts()
    except (MlflowException, OSError, RequestException) as error:
        if outages.is_unreachable(error):
            raise
        return False
    if folder is not None:
        with suppress(OSError):  # where something else lies there too
            folder.parent.rmdir()
        database = store.database_file(mlflow.get_tracking_uri())
        return database is not None or folder.parent.parent.is_dir()  # of another machine
    return True
