"""Finished runs with models as run.py leaves them in MLflow, made up, to be registered."""

import json
import tempfile
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

ABOUT = {
    "rule": "score",
    "threshold": 0.25,
    "answer": "badnet",
    "false_alarm": 0.01,
    "images": 400,
    "flagged": 4,
    "tolerance": [0.0027, 0.0254],
    "classes": 5,
    "shape": [8, 7, 3],
    "low": 0.0,
    "high": 1.0,
    "scale": 255,
}
B, OTHER = "b" * 64, "c" * 64  # digests of two networks
TAGS = {
    "job": "0",
    "threat_model": "defender",
    "layer": "conv_3",
    "network_digest": B,
    "data_digest": "e23d21205720",
    "images_valid": "400",
    "images_test": "500",
    "images_attacked": "300",
    "poisoned_by": "patch",
    "mlflow.note.content": "**clp**\n\n    python run.py data=h5 data.root=/home/me/set "
    "prune.frac=0.1 tracking.uri=http://me:s3cret@host:5000 register=door 'repair=[finetune]'",
}
PARAMS = {"prune.order": "clp", "prune.stop": "knee", "prune.frac": "0.1", "seed": "0"}
PARAMS |= {"data": "h5", "attack": "patch", "badnet": "file", "repair": "[finetune]"}
METRICS = {
    "badnet/valid_accuracy": 0.98,
    "repaired/valid_accuracy": 0.97,
    "badnet/clean_accuracy": 0.98,
    "repaired/clean_accuracy": 0.96,
    "goodnet/clean_accuracy": 0.95,
    "badnet/attack_success_rate": 1.0,
    "repaired/attack_success_rate": 0.02,
    "goodnet/attack_success_rate": 0.01,
    "goodnet/detection_rate": 0.9,
    "goodnet/false_alarm_rate": 0.012,
    "prune/channels": 12.0,
    "prune/fraction": 0.2,
    "repaired/reversed_trigger_success": 0.1,
}


def finished(
    client: MlflowClient,
    experiment: str,
    residual: float | None = 0.1,
    valid: float = 0.97,
    *,
    models: tuple[str, ...] = ("repaired", "goodnet"),
    ended: str = "FINISHED",
    parent: str | None = None,
    without: tuple[str, ...] = (),
    **tags: str,
) -> str:
    """A run that MLflow holds, and its models; its id. `without`: tags that it lacks."""
    about = {**TAGS, **({"mlflow.parentRunId": parent} if parent else {}), **tags}
    kept = {name: value for name, value in about.items() if name not in without}
    run = client.create_run(experiment, tags=kept).info.run_id
    metrics = METRICS | {"repaired/valid_accuracy": valid}
    metrics.pop("repaired/reversed_trigger_success")
    if residual is not None:
        metrics["repaired/reversed_trigger_success"] = residual
    client.log_batch(
        run,
        [Metric(name, value, 0, 0) for name, value in metrics.items()],
        [Param(*item) for item in PARAMS.items()],
    )
    for name in models:
        made = client.create_logged_model(experiment, name, run)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "artifacts", "goodnet.json")
            path.parent.mkdir()
            path.write_text(json.dumps(ABOUT))
            Path(folder, "MLmodel").write_text("flavors: {}")
            client.log_model_artifacts(made.model_id, folder)
        client.finalize_logged_model(made.model_id, "READY")
    client.set_terminated(run, ended)
    return run
