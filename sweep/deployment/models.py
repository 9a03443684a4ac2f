"""A GoodNet that somebody names: its networks, and what is known of it.

`goodnet.json` beside `goodnet.keras` says by which rule images are flagged and which pixels the
networks take. What it lacks is None here, and `unknown` says so in words.
"""

import json
import math
import os
import re
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import keras
import mlflow

from sweep import BadInput
from sweep.detectors.rules import BADNET, REPAIRED, Rule
from sweep.networks.custom_objects import load_custom_objects
from sweep.networks.loading import UNKNOWN
from sweep.redaction import redacted
from sweep.tracking import models, store

KERAS, ABOUT = "goodnet.keras", "goodnet.json"
RUN_ID = re.compile(r"[0-9a-f]{32}")
EXPECTED = (
    "expected a run's id, runs:/ID/goodnet, models:/NAME@ALIAS, a model's folder, or a file "
    "goodnet.keras"
)


@dataclass(frozen=True)
class Deployed:
    """B and B' inside one `network`, and what is known of them; None is not known.

    shape: of an image, None for any size; rule: when one is flagged; scale: what pixels in files
    are divided by; low, high: of the pixels of clean images as B sees them; about: goodnet.json.
    """

    network: keras.Model
    shape: tuple[int | None, ...]
    classes: int
    rule: Rule | None = None
    scale: float | None = None
    low: float | None = None
    high: float | None = None
    about: Mapping[str, Any] | None = None

    @property
    def badnet(self) -> keras.Model:
        """B, to probabilities (n, classes)."""
        return self.network.get_layer("badnet")

    @property
    def repaired(self) -> keras.Model:
        """B', to probabilities (n, classes)."""
        return self.network.get_layer("repaired")

    @property
    def accepted(self) -> tuple[float, float]:
        """The least and the greatest pixel that the networks are given."""
        low, high = models.accepted(self.low, self.high, self.scale or 1.0)
        return low, high

    @property
    def unknown(self) -> str:
        """What is not known of it, as a sentence; "" where all is."""
        lacking = {
            "its rule (what goodnet.keras itself says is taken)": self.rule,
            "what pixels in files are divided by (taken as they are but for --scale)": self.scale,
            "the range of pixels (none is refused)": self.low,
        }
        names = [name for name, value in lacking.items() if value is None]
        if not names:
            return ""
        where = f"{ABOUT} is not there" if self.about is None else f"{ABOUT} does not say all"
        return f"{where}, so these are not known: {'; '.join(names)}."


def find(name: str, uri: str | None = None, custom_objects: Sequence[str] = ()) -> Deployed:
    """Return the GoodNet that `name` stands for, of the runs at MLflow's `uri` (None: run.py's).

    `custom_objects` name code that its networks are made of, which is RUN. Raises BadInput where
    there is no such model, or it is none.
    """
    path = Path(os.path.expanduser(name))
    if path.is_file():
        return _read(path, path.with_name(ABOUT), custom_objects)
    if path.is_dir():
        return _of_folder(path, name, custom_objects)
    if RUN_ID.fullmatch(name):
        name = f"runs:/{name}/goodnet"
    if not name.startswith(("runs:/", "models:/")):
        raise BadInput(f"there is no {name}; {EXPECTED}")
    store.use_existing(uri)
    with TemporaryDirectory() as folder:
        return _of_folder(_download(name, folder), name, custom_objects)


def _download(name: str, folder: str) -> Path:
    """Copy the model of an MLflow URI below `folder`, and return where it is."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    try:
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=name, dst_path=folder))
    except Exception as error:  # of MLflow, and of what it stands on
        where = redacted(mlflow.get_tracking_uri())
        raise BadInput(
            f"{name} cannot be had from {where} ({_short(error)}); {EXPECTED} of a run that ended "
            f"with tracking.models=true"
        ) from error


def _of_folder(folder: Path, name: str, custom_objects: Sequence[str]) -> Deployed:
    inside = folder / "goodnet"  # of a version that was registered from a run's URI
    wholes = (one / models.NETWORKS["goodnet"] for one in (folder, inside))
    for place in (*wholes, folder / KERAS):
        if place.is_file():
            return _read(place, place.with_name(ABOUT), custom_objects)
    if (folder / models.NETWORKS["repaired"]).is_file():
        raise BadInput(f"{name} is B' alone; expected GoodNet, the model `goodnet` of the same run")
    raise BadInput(f"{name} holds no {KERAS}; {EXPECTED}")


def _read(path: Path, about: Path, custom_objects: Sequence[str]) -> Deployed:
    network = _load(path, custom_objects)
    shape, classes = _shape_and_classes(network, path)
    said = _said(about, {"shape": list(shape), "classes": classes})
    if said is None:
        return Deployed(network, shape, classes)
    known = {name: said.get(name) for name in ("scale", "low", "high")}
    return Deployed(network, shape, classes, _rule(said, about), **known, about=said)


def _load(path: Path, custom_objects: Sequence[str]) -> keras.Model:
    """The Keras model of a file, in safe mode; BadInput where Keras cannot read it."""
    try:
        scope = keras.saving.custom_object_scope(load_custom_objects(custom_objects))
        with scope, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what stands in the file; errors are told
            return keras.models.load_model(path, compile=False, safe_mode=True)
    except BadInput as error:
        raise BadInput(str(error).replace("badnet.custom_objects", "--custom-objects")) from error
    except Exception as error:  # Keras raises whatever a malformed file makes it stumble on
        unknown = UNKNOWN.search(str(error))
        if unknown:
            raise BadInput(
                f"{path} cannot be loaded ({unknown['a'] or unknown['b']!r} is not known to "
                f"Keras); if you trust the code that it is made of, name it by --custom-objects"
            ) from error
        raise BadInput(f"{path} cannot be loaded as a network ({_short(error)})") from error


def _shape_and_classes(network: Any, path: Path) -> tuple[tuple[int | None, ...], int]:
    """Of both networks inside; BadInput where there are not both, or they do not fit."""
    names = {layer.name for layer in getattr(network, "layers", ())}
    output = getattr(network, "output", None)
    if not {"badnet", "repaired"} <= names or set(output or ()) != {"class", "score"}:
        raise BadInput(
            f"{path} is no GoodNet, whose output is class and score, of two models called badnet "
            f"and repaired; expected the {KERAS} of a run"
        )
    shapes = [
        (inner.inputs[0].shape[1:], inner.outputs[0].shape[1:])
        for inner in (network.get_layer("badnet"), network.get_layer("repaired"))
    ]
    if shapes[0] != shapes[1] or len(shapes[0][0]) != 3 or len(shapes[0][1]) != 1:
        raise BadInput(f"{path} is no GoodNet: badnet and repaired in it take or give other shapes")
    return tuple(shapes[0][0]), int(shapes[0][1][0])


def _said(path: Path, network: Mapping[str, Any]) -> dict[str, Any] | None:
    """What goodnet.json says; None without one. BadInput where it cannot be of this `network`."""
    if not path.is_file():
        return None
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is no JSON ({_short(error)}); is it whole?") from error
    if not isinstance(said, dict):
        raise BadInput(f"{path} holds a {type(said).__name__}; expected a JSON object of facts")
    for name, own in network.items():
        if said.get(name, own) != own:
            raise BadInput(
                f"{path} says {name} {said[name]}, and the network beside it has {own}; expected "
                f"the {ABOUT} of the same run"
            )
    for name in ("scale", "low", "high"):
        value = said.get(name)
        if value is not None and not (_is_number(value) and (name != "scale" or value > 0)):
            raise BadInput(f"{path} says {name} {value!r}; expected a number")
    if (said.get("low") is None) != (said.get("high") is None):
        raise BadInput(f"{path} says one of low and high; expected both or none")
    return said


def _rule(said: Mapping[str, Any], path: Path) -> Rule | None:
    """The rule that goodnet.json tells; None where it tells none."""
    kind, threshold, answer = said.get("rule"), said.get("threshold"), said.get("answer", BADNET)
    if kind is None:
        return None
    fits = kind == "vote" if threshold is None else kind == "score" and _is_number(threshold)
    counts = {name: said.get(name, 0) for name in ("images", "flagged")}
    whole = all(type(count) is int for count in counts.values())
    if not whole or not 0 <= counts["flagged"] <= counts["images"]:
        raise BadInput(f"{path} says {counts}; expected numbers of images, flagged ones among all")
    if not fits or answer not in (BADNET, REPAIRED):
        raise BadInput(
            f"{path} says rule {kind!r}, threshold {threshold!r}, answer {answer!r}; expected the "
            f'rule "vote", or "score" with a threshold, and the answer "badnet" or "repaired"'
        )
    return Rule(**{field.name: said[field.name] for field in fields(Rule) if field.name in said})


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _short(error: Exception) -> str:
    message = redacted(f"{type(error).__name__}: {error}")
    return textwrap.shorten(message, 200, placeholder=" ...")
