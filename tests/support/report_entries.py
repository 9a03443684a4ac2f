"""Cells of a report, made by hand."""

from collections.abc import Mapping

import numpy as np
from runs import run

from sweep.results.cells import cell_of
from sweep.results.paired import Hits, hits_of
from sweep.results.sources import Entry

ASR, CLEAN = "repaired/attack_success_rate", "repaired/clean_accuracy"
IMAGES = 1000


def entry(
    job: int = 0,
    asr: float | None = None,
    clean: float = 0.95,
    valid: float | None = None,
    *,
    oracle: bool = False,
    status: str = "FINISHED",
    error: str = "",
    sweep=None,
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    **given: str,
) -> Entry:
    """A cell that was given settings such as `prune__frac="0.1"`; B is right on all images."""
    settings = {key.replace("__", "."): value for key, value in given.items()}
    known = {"prune.order": "mean_activation", "data": "faces", "attack": "sunglasses", "seed": "0"}
    known |= {"prune.stop": "knee", **settings, **(params or {})}
    metrics = {}
    if status == "FINISHED":
        metrics = {"badnet/valid_accuracy": 1.0, "badnet/clean_accuracy": 1.0, CLEAN: clean}
        metrics |= {"repaired/valid_accuracy": clean if valid is None else valid}
        metrics |= {"prune/channels": 3.0}
        if asr is not None:
            metrics |= {"badnet/attack_success_rate": 1.0, ASR: asr}
    counts = {f"images_{name}": str(IMAGES) for name in ("valid", "test", "attacked")}
    about = {"job": str(job), "threat_model": "oracle" if oracle else "defender", **counts}
    about |= {"error": error} if error else {}
    if status == "SKIPPED":
        about |= {"status": status}
    ended = "FINISHED" if status == "SKIPPED" else status
    made = run(f"run{job}", metrics, known, ended, **(about | dict(tags or {})))
    return Entry(cell_of(job, settings, made), made, sweep, known, settings, sweep is not None)


def hits(asr: float, images: int = IMAGES) -> Hits:
    """What a cell hits that leaves so much attack success: always the same images first."""
    target = np.zeros(images, np.int32)
    repaired = (np.arange(images) >= round(asr * images)).astype(np.int32)
    arrays = {"label": target, "badnet": target, "repaired": repaired}
    return hits_of({f"poisoned_{name}": values for name, values in arrays.items()})
