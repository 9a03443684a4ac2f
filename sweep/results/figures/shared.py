"""Figures that cells of a sweep have alike: drawn once, and kept on the sweep's own run.

A cell names by a tag where its own lie, `SWEEP/KEY` each, so that they are found from a cell that
another sweep reuses, too. A run that stands alone keeps them itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from sweep.evaluation import PruningCurve
from sweep.results.figures.run import draw_cell, draw_channels
from sweep.tracking import Log
from sweep.tracking.servers import patience

if TYPE_CHECKING:
    from sweep.pruning import Activations

TAG = "figures"
FOLDER = "figures"
SHORT = 12  # characters of a key that name its folder

_kept: dict[str, bool] = {}  # places that this process has looked at: is there a figure?


def log_cell(
    log: Log, curve: PruningCurve, step: int, at_cut: Activations, ranked_by: str, *, whole: bool
) -> None:
    """Log the figures of one cell, stopped at a `step` of its curve.

    In a sweep, unless the `whole` of them is asked for, only those of the layers where it was cut,
    which it shares.
    """
    if log.sweep is None or whole:
        locate = at_cut.cut.locate
        log.figures(draw_cell(curve, step, at_cut.means(), locate, ranked_by))
    else:
        log_shared(log, at_cut.name, lambda: draw_channels(at_cut.means()))


def log_shared(log: Log, key: str, draw: Callable[[], Mapping[str, Figure]]) -> None:
    """Log the figures that `draw` makes by file names, once in a sweep for each digest `key`."""
    if log.sweep is None:
        log.figures({f"{FOLDER}/{name}": figure for name, figure in draw().items()})
        return
    place = f"{log.sweep}/{key[:SHORT]}"
    folder = f"{FOLDER}/{key[:SHORT]}"
    if place not in _kept:
        kept = patience.tried(lambda: _keep(str(log.sweep), folder, draw))
        if kept is not None:  # else the next cell keeps it
            _kept[place] = kept
    if _kept.get(place, True):
        log.tags({TAG: " ".join(filter(None, [log.run().data.tags.get(TAG), place]))})


def _keep(sweep: str, folder: str, draw: Callable[[], Mapping[str, Figure]]) -> bool:
    """Draw figures into a folder of the sweep's run, if no other process has; False: none."""
    client = MlflowClient()
    if any(file.path == folder for file in client.list_artifacts(sweep, FOLDER)):
        return True
    figures = draw()
    with TemporaryDirectory() as uploads:
        for name, figure in figures.items():
            path = Path(uploads, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, dpi=120)
        if figures:
            client.log_artifacts(sweep, uploads, folder)
    return bool(figures)


def places(run: Run, known: dict[str, str]) -> list[str]:
    """Where figures lie that a cell shares with others, as artifact URIs.

    `known` are those of sweeps by their ids; what is not among them is looked up, and added.
    """
    found = []
    for place in run.data.tags.get(TAG, "").split():
        sweep, _, key = place.partition("/")
        if sweep not in known:
            known[sweep] = _artifacts_of(sweep)
        if known[sweep]:
            found.append(f"{known[sweep]}/{FOLDER}/{key}")
    return found


def _artifacts_of(run_id: str) -> str:
    """The artifact URI of a run; "" where it is not there any more."""
    try:
        return str(MlflowClient().get_run(run_id).info.artifact_uri)
    except MlflowException:
        return ""
