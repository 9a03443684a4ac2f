"""What the runs have logged as files, as much of it as a report shows: curves, scores, pictures."""

import base64
import csv
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO, StringIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sweep.evaluation.significance import TOLERANCE
from sweep.results.searches import SEARCH
from sweep.results.searches import TAG as SEARCH_TAG
from sweep.results.sources import Entry
from sweep.tracking import artifacts

#: The rates of a curve that are drawn, by their names in curve.csv.
CURVE = (
    "clean_accuracy",
    "attack_success_rate",
    "goodnet_detection_rate",
    "goodnet_false_alarm_rate",
)
STEPS = 120  # points of a curve at most
DETECTORS = ("confidence_drop", "jensen_shannon")  # rows of scores.npz
#: False alarms on clean validation images at which the threshold's slider stops, 200 of them.
ALARMS = [step / 1000 for step in range(50)] + [0.05 + 0.95 * step / 149 for step in range(150)]

WIDEST, NARROWEST = 900, 200  # pixels across a thumbnail
SAMPLES, TRIED = 6, 400  # pictures that are tried first, and how wide, to see what a pixel costs
QUALITY = 55

Scores = Mapping[str, NDArray[np.float32]]


def searches(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """What each search among the sweeps has logged of itself, and of its trials the `cell`.

    That is the place among `entries`.
    """
    parents = {
        entry.sweep.info.run_id: entry.sweep
        for entry in entries
        if entry.whole and entry.sweep is not None and SEARCH_TAG in entry.sweep.data.tags
    }
    texts = artifacts.read_all([run.info.artifact_uri for run in parents.values()], SEARCH)
    found = []
    for sweep, text in zip(parents, texts, strict=True):
        if text is not None:
            places = {
                entry.cell.job: place
                for place, entry in enumerate(entries)
                if entry.sweep is not None and entry.sweep.info.run_id == sweep
            }
            logged = json.loads(text)
            logged["trials"] = [one | {"cell": places[one["job"]]} for one in logged["trials"]]
            found.append(logged)
    return found


@dataclass(frozen=True)
class Curve:
    """A pruning curve: channels pruned at each point, its rates, and all channels in order.

    `channels` are (layer, channel), first pruned first.
    """

    pruned: list[int]
    rates: dict[str, list[float | None]]
    channels: list[tuple[str, int]]


def curves(places: Sequence[str], stops: Sequence[int]) -> list[Curve | None]:
    """The curve of each run, thinned, but for its stop; None where it has none."""
    texts = artifacts.read_all(places, "curve.csv")
    return [
        None if text is None else _curve(text, stop)
        for text, stop in zip(texts, stops, strict=True)
    ]


def _curve(text: bytes, stop: int) -> Curve | None:
    rows = list(csv.DictReader(StringIO(text.decode())))
    if not rows:
        return None
    thin = {round(point * (len(rows) - 1) / (STEPS - 1)) for point in range(STEPS)}
    drawn = [
        row
        for place, row in enumerate(rows)
        if len(rows) <= STEPS or place in thin or int(row["pruned"]) == stop
    ]
    names = [name for name in CURVE if name in rows[0]]
    rates = {name: [_finite(row[name]) for row in drawn] for name in names}
    channels = [channel for row in rows[1:] for channel in _channels(row)]
    return Curve([int(row["pruned"]) for row in drawn], rates, channels)


def _channels(row: Mapping[str, str]) -> list[tuple[str, int]]:
    """The channels that are pruned at a step of a curve.csv: the last one, where no more are named.

    >>> _channels({"channel": "2", "layer": "conv_1", "channels": "conv_2:7 conv_1:2"})
    [('conv_2', 7), ('conv_1', 2)]
    """
    named = row.get("channels") or f"{row['layer']}:{row['channel']}"
    return [(layer, int(number)) for layer, number in re.findall(r"(\S.*?):(\d+)(?= |$)", named)]


def _finite(text: str) -> float | None:
    """A rate; None where it is not a number."""
    value = float(text)
    return round(value, 4) if math.isfinite(value) else None


@dataclass(frozen=True)
class Detection:
    """GoodNet's threshold at each of `ALARMS`, and the shares above it: of clean, of poisoned."""

    thresholds: list[float]
    alarms: list[float]
    detected: list[float] = field(default_factory=list)


def detections(places: Sequence[str], detectors: int) -> list[dict[str, Detection]]:
    """What each run's GoodNet flags at any threshold, by detector; {} without scores.npz."""
    files = artifacts.read_all(places, "scores.npz")
    return [
        {} if data is None else detection(np.load(BytesIO(data)), DETECTORS[:detectors])
        for data in files
    ]


def detection(scores: Scores, detectors: Sequence[str] = DETECTORS) -> dict[str, Detection]:
    """What is flagged of images whose scores, (2, images), are "valid", "test" and "poisoned"."""
    by_detector = {}
    for row, name in enumerate(detectors):
        descending = np.sort(scores["valid"][row])[::-1]
        count = len(descending)
        flagged = [min(math.floor(alarm * count + TOLERANCE), count - 1) for alarm in ALARMS]
        thresholds = descending[flagged]
        alarms = _shares_above(scores["test"][row], thresholds)
        poisoned = scores["poisoned"][row] if "poisoned" in scores else np.empty(0)
        detected = _shares_above(poisoned, thresholds) if len(poisoned) else []
        shown = [float(f"{threshold:.4g}") for threshold in thresholds]
        by_detector[name] = Detection(shown, alarms, detected)
    return by_detector


def _shares_above(scores: NDArray[np.floating], thresholds: NDArray[np.floating]) -> list[float]:
    above = len(scores) - np.searchsorted(np.sort(scores), thresholds, side="right")
    return [round(float(share), 4) for share in above / len(scores)]


@dataclass
class Pictures:
    """Thumbnails as data URIs, each once, and those of each run by their names."""

    uris: list[str]
    of_runs: list[dict[str, int]]
    left_out: int = 0


def pictures(
    folders: Sequence[Sequence[str]], layers: Sequence[Sequence[str]], most_bytes: int
) -> Pictures:
    """The runs' figures as thumbnails, so small that all together take at most `most_bytes`.

    `folders` are where those of each run lie, `layers` those at which it pruned: of several each
    has a picture of its own.
    """
    known = sorted({layer for several in layers if len(several) > 1 for layer in several})
    names = {name: f"{name}.png" for name in ("attack", "verdict", "activations", "channels")}
    for kind in ("activations", "channels"):
        names |= {f"{kind}, {layer}": f"{kind}/{layer}.png" for layer in known}
    every = sorted({folder for of_run in folders for folder in of_run})
    unique: dict[str, bytes] = {}
    by_digest: list[dict[str, str]] = [{} for _ in folders]
    for name, path in names.items():
        found = dict(zip(every, artifacts.read_all(every, path), strict=True))
        for number, of_run in enumerate(folders):
            data = next(filter(None, map(found.get, of_run)), None)
            if data is not None:
                digest = hashlib.sha256(data).hexdigest()
                unique.setdefault(digest, data)
                by_digest[number][name] = digest
    small = thumbnails(list(unique.values()), most_bytes)
    number_of = {digest: number for number, digest in enumerate(list(unique)[: len(small)])}
    of_runs = [
        {name: number_of[digest] for name, digest in one.items() if digest in number_of}
        for one in by_digest
    ]
    return Pictures(small, of_runs, len(unique) - len(small))


def thumbnails(images: Sequence[bytes], most_bytes: int) -> list[str]:
    """Pictures as WebP in data URIs, together at most `most_bytes`: the first ones, if need be."""
    if not images:
        return []
    step = max(1, len(images) // SAMPLES)
    tried = [len(_shrunk(data, TRIED)) for data in images[::step]]
    each = most_bytes / len(images) * 0.9
    width = int(TRIED * math.sqrt(each / (sum(tried) / len(tried))))
    width = min(max(width, NARROWEST), WIDEST)
    with ThreadPoolExecutor(2) as pool:
        shrunk = pool.map(lambda data: _shrunk(data, width), images)
        uris, total = [], 0
        for uri in shrunk:
            total += len(uri)
            if total > most_bytes:
                break
            uris.append(uri)
    return uris


def _shrunk(data: bytes, width: int) -> str:
    """A picture as a data URI, at most `width` pixels wide."""
    with Image.open(BytesIO(data)) as picture:
        small = picture.convert("RGB")
        if small.width > width:
            height = max(1, round(small.height * width / small.width))
            small = small.resize((width, height), Image.Resampling.BOX, reducing_gap=None)
        out = BytesIO()
        small.save(out, "WEBP", quality=QUALITY, method=2)
    return f"data:image/webp;base64,{base64.b64encode(out.getvalue()).decode()}"
