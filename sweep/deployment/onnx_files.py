"""GoodNet and B' as ONNX files, for programs without Keras: written when they answer as Keras does.

Keras' own export makes them, by tf2onnx. That writes also what ONNX does not know, and only logs
it; so each file is run by onnxruntime before it is given to anybody.
"""

import json
import logging
import re
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
import numpy as np
from numpy.typing import NDArray

from sweep import BadInput, files, terminal
from sweep.deployment.models import Deployed
from sweep.detectors import goodnet as goodnets

PACKAGES = ("onnx", "onnxruntime", "tf2onnx")
TOLERANCE = 1e-4  # by which scores and probabilities may differ from those of Keras
COUNTS = (1, 63)  # images of each comparison: any number must do
ANY_SIZE = 32  # pixels of a side on which a network of any size is compared
UNSUPPORTED = re.compile(r"Tensorflow op \[(?P<name>.+): (?P<kind>\w+)\] is not supported")
Arrays = dict[str, NDArray]


def require_packages() -> None:
    """Raise BadInput where the extra `onnx` is not installed."""
    lacking = [name for name in PACKAGES if find_spec(name) is None]
    if lacking:
        raise BadInput(
            f"the extra onnx is not installed (there is no {' and no '.join(lacking)}): "
            f'pip install -e ".[onnx]" -c constraints.txt'
        )


def run(goodnet: Deployed, folder: Path) -> int:
    """Write goodnet.onnx and repaired.onnx below `folder`; return the exit code 0.

    Raises BadInput where a network cannot be exported, or nothing be written; then nothing is.
    """
    made = {"goodnet.onnx": _whole(goodnet), "repaired.onnx": _repaired(goodnet)}
    with TemporaryDirectory() as place:
        worst = {}
        for name, network in made.items():
            _export(network, Path(place, name), goodnet)
            worst[name] = _compare(Path(place, name), network, goodnet)
        try:
            for name in made:
                with files.atomic_write(folder / name) as unfinished:
                    unfinished.write_bytes(Path(place, name).read_bytes())
        except OSError as error:
            raise BadInput(f"{folder} cannot be written ({error.strerror or error})") from error
    for name, network in made.items():
        outputs = ", ".join(network.output)
        terminal.print_line(f"written: {folder / name} ({outputs})", wrap=False)
    highest = max(worst.values())
    terminal.print_line(
        f"On {sum(COUNTS)} random images both answer as Keras does, to {highest:.1g}."
    )
    return 0


def _whole(goodnet: Deployed) -> keras.Model:
    """GoodNet, to class and score: by its rule; where that is not known, as the file has it."""
    if goodnet.rule is None:
        return goodnet.network
    return goodnets.side_by_side(goodnet.badnet, goodnet.repaired, goodnet.rule)


def _repaired(goodnet: Deployed) -> keras.Model:
    """B', to probabilities (n, classes)."""
    images = keras.Input(goodnet.shape, name="images")
    return keras.Model(images, {"probabilities": goodnet.repaired(images)}, name="repaired")


def _export(network: keras.Model, path: Path, goodnet: Deployed) -> None:
    """Write a network as ONNX; BadInput where Keras or tf2onnx cannot."""
    import onnx

    images = keras.InputSpec("float32", (None, *goodnet.shape), name="images")
    with _logged() as lines:
        try:
            network.export(path, "onnx", verbose=False, input_signature=[images])
            model = onnx.load(path)
        except Exception as error:  # of Keras, TensorFlow, tf2onnx or ONNX, whatever they meet
            raise BadInput(f"{path.name} cannot be made ({_short(error)})") from error
    unsupported = [found for line in lines if (found := UNSUPPORTED.search(line))]
    if unsupported:
        where = [f"{_layer(found['name'], goodnet)} ({found['kind']})" for found in unsupported]
        raise BadInput(
            f"{path.name} cannot be made: ONNX, or tf2onnx, has no operation for "
            f"{', '.join(dict.fromkeys(where))}; serve the MLflow model instead"
        )
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "n"
    known = json.dumps(goodnet.about or {"classes": goodnet.classes})
    onnx.helper.set_model_props(model, {"goodnet.json": known})
    onnx.save(model, path)


def _layer(name: str, goodnet: Deployed) -> str:
    """The layer that an operation of a graph comes from, in words; else the operation's name."""
    inside = [
        (network.name, layer.name)
        for network in (goodnet.badnet, goodnet.repaired)
        for layer in network.operations
    ]
    parts = name.split("/")
    for part in reversed(parts):
        for network, layer in inside:
            if re.fullmatch(rf"{re.escape(layer)}(_\d+)?", part) and any(
                re.fullmatch(rf"{network}(_\d+)?", one) for one in parts
            ):
                return f"layer {layer}"
    return f"operation {name}"


@contextmanager
def _logged() -> Iterator[list[str]]:
    """Yield a list that fills with what tf2onnx logs, which is not printed; nor are warnings."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger, handler = logging.getLogger("tf2onnx"), Keep()
    before = logger.propagate, logger.handlers
    logger.propagate, logger.handlers = False, [handler]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield lines
    finally:
        logger.propagate, logger.handlers = before


def _compare(path: Path, network: keras.Model, goodnet: Deployed) -> float:
    """Return by how much a file and Keras differ on random images; BadInput beyond `TOLERANCE`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is raised is told
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of onnxruntime, which has a class of its own for each
        raise BadInput(f"{path.name} cannot be run by onnxruntime ({_short(error)})") from error
    names = [output.name for output in session.get_outputs()]
    rng, worst = np.random.default_rng(0), 0.0
    for count in COUNTS:
        pixels = _random_images(goodnet, count, rng)
        try:
            answers: Arrays = dict(zip(names, session.run(None, {"images": pixels}), strict=True))
        except Exception as error:
            raise BadInput(f"{path.name} cannot be run by onnxruntime ({_short(error)})") from error
        expected = {name: np.asarray(value) for name, value in network(pixels).items()}
        differ, difference = _differences(expected, answers, _near_a_tie(goodnet, pixels))
        if differ:
            raise BadInput(
                f"{path.name} is not written: it and Keras differ on {differ} of {count} random "
                f"images, by up to {difference:.2g}; expected at most {TOLERANCE:g}"
            )
        worst = max(worst, difference)
    return worst


def _random_images(goodnet: Deployed, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Images of noise between the lowest and the highest pixel, of contrasts from none to all."""
    shape = [count, *(size or ANY_SIZE for size in goodnet.shape)]
    low, high = (0.0, 1.0) if goodnet.low is None else (goodnet.low, goodnet.high or 0.0)
    noise = 0.5 + (rng.random(shape) - 0.5) * rng.random((count, 1, 1, 1))
    return (low + noise * (high - low)).astype(np.float32)


def _near_a_tie(goodnet: Deployed, pixels: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where rounding may turn a class of B, of B' or of GoodNet into another one, bool (n,)."""
    badnet, repaired = (
        np.asarray(network(pixels), np.float64) for network in (goodnet.badnet, goodnet.repaired)
    )
    near = np.zeros(len(pixels), bool)
    for probabilities in (badnet, repaired):
        highest = np.sort(probabilities, axis=1)[:, -2:]
        near |= highest[:, -1] - highest[:, 0] <= 2 * TOLERANCE
    rule = goodnet.rule
    if rule is not None and rule.threshold is not None:
        said = badnet.argmax(axis=1)[:, None]
        drop = np.take_along_axis(badnet, said, 1) - np.take_along_axis(repaired, said, 1)
        near |= np.abs(drop[:, 0] - rule.threshold) <= TOLERANCE
    return near


def _differences(expected: Arrays, answers: Arrays, near: NDArray[np.bool_]) -> tuple[int, float]:
    """How many images are answered otherwise, and by how much numbers differ on all others.

    Classes may differ on images that are `near` a tie; there the score is that of another class.
    """
    wrong, worst = np.zeros(len(near), bool), 0.0
    for name, numbers in expected.items():
        given = answers[name]
        if given.shape != numbers.shape or not np.isfinite(given).all():
            return len(near), float("inf")
        if name == "class":
            wrong |= (given != numbers) & ~near
            continue
        apart = np.abs(given.astype(np.float64) - numbers).reshape(len(near), -1).max(axis=1)
        if name == "score":
            apart[near] = 0
        wrong |= apart > TOLERANCE
        worst = max(worst, float(apart.max()))
    return int(wrong.sum()), worst


def _short(error: Exception) -> str:
    return textwrap.shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")
