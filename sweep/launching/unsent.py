"""What cells have found and could not log, as their server was gone: kept, and logged later.

Each lies in a folder of its own below `outputs/unsent`, named by its run, which the server has as
RUNNING, or KILLED since. That run is completed.
"""

import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from sweep import files, terminal
from sweep.redaction import redacted
from sweep.tracking import Log
from sweep.tracking.outbox import Outbox

if TYPE_CHECKING:
    from sweep.detectors import GoodNet

FOLDER, RUN = Path("outputs", "unsent"), "run.json"
STATUS = "UNSENT"
KEPT = "what it has found is kept in outputs/unsent; the same command logs it"


def keep(log: Log, root: Path) -> None:
    """Write down what a complete run has not sent."""
    about = {
        "run": log.run_id,
        "uri": redacted(mlflow.get_tracking_uri()),
        "ended": int(time.time() * 1000),
    }
    with files.atomic_write(root / FOLDER / log.run_id) as unfinished:
        log.outbox.write(unfinished)
        (unfinished / RUN).write_text(json.dumps(about))


def send(experiment: str, root: Path) -> None:
    """Log what is kept of runs of this experiment, and say so."""
    kept = sorted((root / FOLDER).glob(f"[!.]*/{RUN}"))
    if not kept:
        return
    with files.lock(root / FOLDER / "sending"):
        count = sum(_send(about.parent, experiment) for about in kept if about.exists())
    if count:
        cells = "1 cell" if count == 1 else f"{count} cells"
        terminal.print_line(f"{cells} that could not be logged: logged now")


def _send(folder: Path, experiment: str) -> bool:
    """Complete the run that lies in `folder`, if it is one of the experiment, and delete that."""
    about, client = json.loads((folder / RUN).read_text()), MlflowClient()
    try:
        run = client.get_run(about["run"])
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        if about["uri"] == redacted(mlflow.get_tracking_uri()):
            shutil.rmtree(folder)  # the server has begun anew
        return False
    if run.info.experiment_id != experiment:
        return False
    wanted = run.info.lifecycle_stage == "active"
    if wanted:
        outbox = Outbox.read(run, folder, _goodnet)
        outbox.tags.pop("error", None)  # that it could not be logged
        outbox.send()
        if "error" in run.data.tags:
            client.delete_tag(about["run"], "error")
        client.set_terminated(about["run"], "FINISHED", about["ended"])
    shutil.rmtree(folder)
    return wanted


def _goodnet(badnet: Path, repaired: Path, about: Mapping[str, Any]) -> "GoodNet":
    """The GoodNet of two networks in files, and of what is known `about` it."""
    import keras  # starts TensorFlow, which a run without models need not do for this

    from sweep.detectors import GoodNet

    suspect, mended = (keras.models.load_model(path, compile=False) for path in (badnet, repaired))
    return GoodNet.restored(suspect, mended, about)
