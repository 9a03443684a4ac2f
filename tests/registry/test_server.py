"""The registry of an MLflow server: the same as on a database, and a server that is gone."""

import mlflow
import pytest
import registered
from mlflow import MlflowClient

from sweep import BadInput
from sweep.registry import registering
from sweep.registry.command import main

pytestmark = pytest.mark.services


def test_on_a_server_versions_point_at_models_whose_files_come_back(server, capsys, tmp_path):
    before, client = mlflow.get_tracking_uri(), MlflowClient(server.uri)
    mlflow.set_tracking_uri(server.uri)
    try:
        experiment = client.create_experiment("registered")
        first, better = (registered.finished(client, experiment, share) for share in (0.5, 0.1))
        other = registered.finished(client, experiment, network_digest=registered.OTHER)
        assert "door@best, version 1 (no other was" in registering.register(first, "door")
        assert main([better, "door", "--uri", server.uri]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert "door@best, version 2 (better than version 1: reversed triggers do less" in said
        with pytest.raises(BadInput, match="expected another name for another network"):
            registering.register(other, "door")
        for name, kind in (("door", "goodnet"), ("door-repaired", "repaired")):
            version = client.get_model_version_by_alias(name, "best")
            assert (str(version.version), version.run_id) == ("2", better)
            model = client.get_logged_model(version.source.removeprefix("models:/"))
            assert (model.name, model.source_run_id) == (kind, better)
            assert model.tags["mlflow.modelVersions"].count(f'"{name}"') == 1
            assert version.description.startswith("# door\n")
        folder = mlflow.artifacts.download_artifacts("models:/door@best", dst_path=str(tmp_path))
        assert "goodnet.json" in [path.name for path in tmp_path.rglob("*")], folder
        readme = mlflow.artifacts.load_text(f"{mlflow.get_run(better).info.artifact_uri}/README.md")
        assert readme.startswith("# door\n")
        server.stop()
        capsys.readouterr()  # MLflow's bars of what was downloaded, where they are shown
        assert main([better, "door", "--uri", server.uri]) == 2
        gone = " ".join(capsys.readouterr().err.split())
        assert gone.startswith(f"prunesweep: the runs at {server.uri} cannot be reached (")
        assert gone.endswith("or to tracking.uri, and give the same command again")
    finally:
        mlflow.set_tracking_uri(before)
