"""Sweeps as run.py leaves them in MLflow, made up: python tests/support/fake_sweep.py DIR 300.

Their numbers mean nothing. Everything else is as of a real sweep: runs with params, tags, metrics
and curves, answers, scores and pictures, a parent with its comparison.
"""

import csv
import io
import shlex
import sys
from collections.abc import Mapping, Sequence
from itertools import islice, product
from pathlib import Path

import numpy as np
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from PIL import Image, ImageDraw

from sweep.results import comparison
from sweep.results.cells import by_number, cells_of
from sweep.tracking import artifacts, store

CHANNELS, TEST, POISONED = 60, 900, 880
ORDERS = ("mean_activation", "random", "clp", "l1_norm", "bnp", "tac", "anp", "rnp", "cls", "dcp")
GRIDS: dict[int, dict[str, Sequence[str]]] = {
    3: {"prune.frac": ("0.02", "0.04", "0.1")},
    60: {"prune/order": ORDERS, "prune/stop": ("knee", "accuracy_drop"), "seed": ("0", "1", "2")},
    300: {
        "prune/order": ORDERS,
        "prune/stop": ("knee", "accuracy_drop", "outlier", "count", "wilson"),
        "prune.layer": ("conv_2", "conv_3"),
        "seed": ("0", "1", "2"),
    },
}


def make(
    folder: Path,
    grid: Mapping[str, Sequence[str]],
    *,
    experiment: str = "prunesweep",
    poisoned: bool = True,
    scores: bool = True,
    curves: bool = False,
    failing: Mapping[int, tuple[str, str]] | None = None,
    missing: Sequence[int] = (),
    name: str = "",
    at: int = 0,
) -> str:
    """Make one sweep in the database of `folder`; the id of its parent run.

    `failing`: cells that ended otherwise, by their numbers: status and sentence. `missing`: those
    that left no run. `curves`: log these as metrics too, as run.py does; it takes half a second a
    cell.
    """
    number = store.connect(f"sqlite:///{folder / 'mlflow.db'}", experiment, folder)
    client, failing = MlflowClient(), failing or {}
    cells = [[f"{key}={value}" for key, value in zip(grid, values, strict=True)]
             for values in product(*grid.values())]  # fmt: skip
    words = [shlex.quote(f"{key}={','.join(values)}") for key, values in grid.items()]
    tags = {"overrides": " ".join([*words, "data.root=/home/somebody/data"]), "cells": len(cells)}
    parent = client.create_run(
        number, at or None, {key: str(tag) for key, tag in {**origin(), **tags}.items()},
        name or f"sweep {', '.join(grid)}",
    ).info  # fmt: skip
    attack = _attack_picture()
    for job, overrides in enumerate(cells):
        if job in missing:
            continue
        settings = dict(word.split("=", 1) for word in overrides)
        status, error = failing.get(job, ("FINISHED", ""))
        about = {"job": job, "sweep": parent.run_id, "mlflow.parentRunId": parent.run_id}
        about |= {"threat_model": "oracle" if settings.get("prune/order") == "tac" else "defender"}
        about |= {"layer": settings.get("prune.layer", "conv_3"), "cell": f"{parent.run_id}{job}"}
        about |= {"network_digest": "26c269ec2825", "data_digest": "e23d21205720"}
        about |= {"images_valid": TEST, "images_test": TEST}
        about |= {"images_attacked": POISONED} if poisoned else {}
        if status != "FINISHED":
            about |= {"error": error} | ({"status": status} if status == "SKIPPED" else {})
        run = client.create_run(
            number, at or None, {key: str(tag) for key, tag in {**origin(), **about}.items()},
            name or ", ".join(overrides),
        ).info  # fmt: skip
        made = {} if status != "FINISHED" else _cell(job, settings, poisoned)
        metrics = [Metric(key, value, 0, 0) for key, value in made.get("metrics", {}).items()]
        if curves and made:
            for key, rates in made["curve"].items():
                metrics += [Metric(f"curve/{key}", rate, 0, k) for k, rate in enumerate(rates)]
        params = {"prune.order": "mean_activation", "prune.stop": "accuracy_drop", "seed": "0"}
        params |= {"data": "faces", "attack": "sunglasses" if poisoned else "none"}
        params |= {"badnet": "trained", "repair": "[]", "prune.frac": "0.04", "badnet.seed": "0"}
        params |= {key.replace("/", "."): value for key, value in settings.items()}
        client.log_batch(run.run_id, metrics, [Param(*item) for item in params.items()])
        client.set_terminated(run.run_id, "FINISHED" if status == "SKIPPED" else status)
        if made:
            _write(artifacts.local_path(run.artifact_uri), made, attack, scores and job)
    client.set_terminated(parent.run_id, "FINISHED")
    runs = client.search_runs([number], f"tags.sweep = '{parent.run_id}'", max_results=5000)
    table = cells_of(cells, by_number(runs))
    client.log_text(parent.run_id, comparison.to_csv(table), "comparison.csv")
    return parent.run_id


def origin() -> dict[str, str]:
    """The tags that say where a run comes from."""
    versions = {"python": "3.11.7", "keras": "3.15.1", "tensorflow": "2.21.0"}
    return {"git_commit": "0123456789abcdef0123", "git_dirty": "false", "host": "vm", **versions}


def _cell(job: int, settings: Mapping[str, str], poisoned: bool) -> dict:
    """What one cell came to: its metrics, its curve, its answers."""
    rng = np.random.default_rng(job)
    steps = np.linspace(0, 1, CHANNELS + 1)
    name = settings.get("prune/order", "mean_activation")
    order = ORDERS.index(name) if name in ORDERS else 0
    clean = 0.98 - 0.9 * steps ** (3 + order % 3) + rng.normal(0, 0.004, len(steps))
    attack = 1 / (1 + np.exp(12 * (steps - 1 + 0.07 * order))) + rng.normal(0, 0.004, len(steps))
    curve = {"valid_accuracy": clean, "clean_accuracy": clean, "attack_success_rate": attack}
    curve |= {"goodnet_detection_rate": 1 - attack, "goodnet_false_alarm_rate": 0.98 - clean}
    curve = {name: np.clip(rates, 0, 1).round(4) for name, rates in curve.items()}
    stop = int(rng.integers(15, 50))
    answers = {}
    for name, count, rate in (
        ("valid", TEST, curve["clean_accuracy"][stop]),
        ("test", TEST, curve["clean_accuracy"][stop]),
        ("poisoned", POISONED, curve["attack_success_rate"][stop]),
    ):
        answers[f"{name}_label"] = np.zeros(count, np.int32)
        answers[f"{name}_badnet"] = np.zeros(count, np.int32)
        answers[f"{name}_repaired"] = (rng.random(count) >= rate).astype(np.int32)
    rates = {name: float((answers[f"{name}_repaired"] == 0).mean())
             for name in ("valid", "test", "poisoned")}  # fmt: skip
    metrics = {"badnet/valid_accuracy": 1.0, "badnet/clean_accuracy": 1.0}
    metrics |= {"badnet/attack_success_rate": 1.0, "prune/channels": stop}
    metrics |= {"prune/fraction": stop / CHANNELS, "time/total": 4.2}
    metrics |= {"repaired/valid_accuracy": rates["valid"], "repaired/clean_accuracy": rates["test"]}
    metrics |= {"goodnet/clean_accuracy": rates["test"]}
    metrics |= {"goodnet/false_alarm_rate": 1 - rates["test"], "goodnet/auroc": 0.9}
    metrics |= {"repaired/attack_success_rate": rates["poisoned"]}
    metrics |= {"goodnet/attack_success_rate": rates["poisoned"]}
    metrics |= {"goodnet/detection_rate": 1 - rates["poisoned"], "tradeoff/attack_area": 0.5}
    if not poisoned:
        attacked = ("attack", "detection", "auroc")
        metrics = {key: value for key, value in metrics.items()
                   if not any(word in key for word in attacked)}  # fmt: skip
        answers = {key: value for key, value in answers.items() if "poisoned" not in key}
        curve = {key: value for key, value in curve.items()
                 if not any(word in key for word in attacked)}  # fmt: skip
    return {"metrics": metrics, "curve": curve, "answers": answers, "channels": rng.permutation(60)}


def _write(folder: Path, made: dict, attack: bytes, scores: int | bool) -> None:
    (folder / "figures").mkdir(parents=True)
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["pruned", "channel", "layer", *made["curve"]])
    for step in range(CHANNELS + 1):
        channel = made["channels"][step - 1] if step else -1
        rows.writerow([step, channel, "conv_3", *(rates[step] for rates in made["curve"].values())])
    (folder / "curve.csv").write_text(text.getvalue())
    np.savez_compressed(folder / "answers.npz", **made["answers"])
    if scores is not False:
        rng = np.random.default_rng(int(scores))
        known = {"valid": rng.beta(1, 6, (2, TEST)), "test": rng.beta(1, 6, (2, TEST))}
        if "poisoned_label" in made["answers"]:
            known["poisoned"] = rng.beta(3, 2, (2, POISONED))
        arrays = {name: values.astype(np.float32) for name, values in known.items()}
        np.savez_compressed(folder / "scores.npz", **arrays)
    (folder / "figures" / "activations.png").write_bytes(_activations(made["channels"]))
    if "poisoned_label" in made["answers"]:
        (folder / "figures" / "attack.png").write_bytes(attack)


def _activations(channels: np.ndarray) -> bytes:
    """A picture as large, and about as hard to shrink, as that of a real cell."""
    rng = np.random.default_rng(int(channels[0]) * 60 + int(channels[1]))
    picture = Image.new("RGB", (1280, 690), "white")
    pen = ImageDraw.Draw(picture)
    for place, channel in enumerate(channels):
        row, column = divmod(place, 12)
        maps = rng.integers(0, 120, (11, 9, 3)).cumsum(0) // 8
        tile = Image.fromarray(maps.clip(0, 255).astype(np.uint8))
        left, top = 25 + 93 * column, 120 + 116 * row
        picture.paste(tile.resize((70, 90), Image.Resampling.NEAREST), (left, top))
        pen.text((left + 30, top - 14), str(channel), "black")
    return _png(picture)


def _attack_picture() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (65, 113, 3), dtype=np.uint8)
    return _png(Image.fromarray(pixels).resize((1130, 650), Image.Resampling.NEAREST))


def _png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=1)
    return out.getvalue()


def main(folder: str, cells: str) -> None:
    """Make a sweep of 3, 60 or 300 cells, some failed and some skipped, with all that is logged."""
    grid = GRIDS[int(cells)]
    skipped = "this order needs a BatchNormalization of the channels, and at 'conv_3' there is none"
    failing = {}
    for job, values in enumerate(islice(product(*grid.values()), int(cells))):
        if "bnp" in values:
            failing[job] = ("SKIPPED", skipped)
    if int(cells) > 3:
        failing |= {7: ("FAILED", "OSError: /home/somebody/images.h5 is damaged")}
    Path(folder).mkdir(parents=True, exist_ok=True)
    print(make(Path(folder), grid, curves=True, failing=failing))


if __name__ == "__main__":
    main(*sys.argv[1:])
