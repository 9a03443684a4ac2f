"""GoodNet as MLflow loads and serves it: images in, a table of classes, flags and scores out.

It is logged as code with the model, beside `goodnet.keras` and `goodnet.json`, so it imports
nothing of this package. Bad input is refused in one sentence; a server says 400.
"""

import base64
import gc
import json
import logging
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import keras
import mlflow
import numpy as np
import pandas as pd
import tensorflow as tf
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from pydantic_core import from_json

BATCH = 128  # images that the networks are given at once
PNG, NPY = b"\x89PNG\r\n\x1a\n", b"\x93NUMPY"
SERVER = "mlflow.pyfunc.scoring_server"
REQUEST = (
    'the request is no JSON object of "inputs" and, where wanted, "params", sent as '
    "application/json; inputs are numbers of shape (n, height, width, channels), or strings, each "
    "base64 of a .npy or a PNG file"
)


class Refused(mlflow.MlflowException):
    """Bad input, in one sentence."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, error_code=INVALID_PARAMETER_VALUE)

    def serialize_as_json(self) -> str:
        """Return the body of a server's answer."""
        self.message = self.args[0]  # MLflow's server has put all of the input before it
        return super().serialize_as_json()


# MLflow loads its module `pyfunc` lazily, so that mypy cannot see the class
class GoodNetModel(mlflow.pyfunc.PythonModel):  # type: ignore[name-defined]
    """B and B' side by side, with what `goodnet.json` says of them."""

    def load_context(self, context: Any) -> None:
        self.about = json.loads(Path(context.artifacts["about"]).read_text())
        self.reader = Reader(self.about)
        goodnet = keras.models.load_model(context.artifacts["goodnet"], compile=False)
        self.answers = compiled(goodnet, self.reader.shape)
        if None not in self.reader.shape:  # else the first request would wait for it
            self.answers(np.zeros((1, *self.reader.shape), np.float32))
        refuse_in_one_sentence()

    def predict(self, context: Any, model_input: np.ndarray, params: Any = None) -> pd.DataFrame:
        """Return a row for each image of `model_input`, see `Reader.images`.

        Columns: `class`, int64, N where an image is `flagged`, bool; `score`, how much less B'
        believes than B in what B says, -1 .. 1; `badnet_class` and `repaired_class`, int64, and
        what probability each network gives its own. `params` may hold a `threshold` of the score in
        place of the model's own rule, and `plain`: the classes of B', and nothing is flagged.
        """
        chosen = checked_params(params)
        images, step = self.reader.images(model_input), BATCH
        parts = [self._say(images[at : at + step]) for at in range(0, len(images), step)]
        said = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        flagged = self._flagged(said, chosen)
        by_repaired = chosen.get("plain") or self.about["answer"] == "repaired"
        named = said["repaired_class" if by_repaired else "badnet_class"]
        classes = np.where(flagged, self.about["classes"], named)
        return pd.DataFrame({"class": classes, "flagged": flagged, **said})

    def _say(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """What both networks say of images float32 (n, height, width, channels), each (n,)."""
        try:
            said = {name: one.numpy() for name, one in self.answers(images).items()}
        except (tf.errors.OpError, ValueError) as error:
            raise Refused(f"the networks cannot take images of shape {images.shape[1:]}") from error
        if not np.isfinite(said["score"]).all():
            raise Refused("B' gives these images probabilities that are NaN")
        return said

    def _flagged(self, said: Mapping[str, Any], chosen: Mapping[str, Any]) -> np.ndarray:
        """Whether each image is taken for poisoned, bool (n,)."""
        threshold = chosen.get("threshold")
        if chosen.get("plain"):
            return np.zeros(len(said["score"]), bool)
        if threshold is None and self.about["rule"] == "vote":
            return said["badnet_class"] != said["repaired_class"]
        return said["score"] > (self.about["threshold"] if threshold is None else threshold)


def compiled(goodnet: keras.Model, shape: Sequence[int | None]) -> Callable[[Any], Any]:
    """Return a graph from images float32 (n, *shape) to what B and B' say, tensors of shape (n,).

    One graph serves every n. It is made of the two networks inside `goodnet`.
    """
    networks = {name: goodnet.get_layer(name) for name in ("badnet", "repaired")}

    @tf.function(input_signature=[tf.TensorSpec((None, *shape), tf.float32)], autograph=False)
    def answers(images: Any) -> Any:
        given = {name: network(images, training=False) for name, network in networks.items()}
        said: dict[str, Any] = {}
        for name, probabilities in given.items():
            said[f"{name}_class"] = tf.argmax(probabilities, axis=1)
            said[f"{name}_probability"] = tf.reduce_max(probabilities, axis=1)
        believed = tf.gather(given["repaired"], said["badnet_class"], batch_dims=1)
        return {"score": said["badnet_probability"] - believed, **said}

    return answers


class Reader:
    """Makes images of what was sent, or refuses it; `about` is what goodnet.json says."""

    def __init__(self, about: Mapping[str, Any]) -> None:
        self.shape: tuple[int | None, ...] = tuple(about["shape"])
        self.scale = float(about["scale"])
        self.low, self.high = about["accepted"]

    def images(self, given: Any) -> np.ndarray:
        """Return images float32 (n, height, width, channels), as B sees them.

        `given` is an array or nested lists of that shape, of numbers of any type; or a list of
        strings, each base64 of a PNG file or of a .npy file of one image or of several.
        """
        if isinstance(given, np.ndarray) and given.dtype.kind in "OU":
            given = given.tolist()
        given = [given] if isinstance(given, str) else given
        if isinstance(given, list | tuple) and any(isinstance(one, str) for one in given):
            return self._of_files(given)
        return self._checked(numbers(given))

    def _of_files(self, texts: Sequence[Any]) -> np.ndarray:
        """Images of files in base64; sentences number the files from 1."""
        read = []
        for number, text in enumerate(texts, 1):
            try:
                read.append(self._checked(self._of_file(text)))
            except Refused as error:
                raise Refused(f"file {number} of {len(texts)}: {error.args[0]}") from error
        if len({images.shape[1:] for images in read}) > 1:
            raise Refused("the files hold images of several shapes: send one shape at a time")
        return np.concatenate(read)

    def _of_file(self, text: Any) -> np.ndarray:
        """Pixels (n, height, width, channels) of one file in base64, not yet checked."""
        try:
            content = base64.b64decode("".join(text.split()), validate=True)  # lines are folded
        except (ValueError, AttributeError) as error:
            raise Refused("it is no base64; expected base64 of a .npy or a PNG file") from error
        if content.startswith(NPY):
            pixels = npy(content)
            return pixels[None] if pixels.ndim == 3 else pixels
        if content.startswith(PNG):
            return self._png(content)[None] / np.float32(self.scale)
        raise Refused("it is base64 of neither a .npy nor a PNG file")

    def _png(self, content: bytes) -> np.ndarray:
        """Pixels uint8 (height, width, channels) of a PNG file, whose size is looked at first."""
        height, width = (int.from_bytes(content[at : at + 4], "big") for at in (20, 16))
        fits = self.shape[0] in (None, height) and self.shape[1] in (None, width)
        if not fits or height * width > 2**24:
            raise Refused(f"it is a PNG of {height} x {width} pixels; {self._expected()}")
        try:
            return np.asarray(tf.io.decode_png(content).numpy())
        except tf.errors.OpError as error:
            raise Refused("it is a PNG that is cut off or damaged: send the whole file") from error

    def _checked(self, pixels: np.ndarray) -> np.ndarray:
        """`pixels` as float32, if the networks can take them."""
        self._check_shape(pixels.shape)
        smallest, largest = pixels.min(), pixels.max()
        expected = f"expected {self.low:g} to {self.high:g}, as B sees them"
        if self.scale != 1:
            expected += f": divide pixels of 0 to 255 by {self.scale:g} (data.scale), once"
        if not self.low <= smallest <= largest <= self.high:  # nor is NaN
            good = ((pixels >= self.low) & (pixels <= self.high)).all(axis=(1, 2, 3))
            held = f"pixels out of range, all lie between {smallest:g} and {largest:g}"
            if not (math.isfinite(smallest) and math.isfinite(largest)):
                held = "NaN, null or infinity"
            raise Refused(f"{np.sum(~good)} of {len(good)} images hold {held}; {expected}")
        levels = pixels * (255 / self.high) if self.low == 0 and largest <= self.high / 255 else 0
        if (np.abs(levels - np.rint(levels)) > 1e-3).any():  # no pixel of 8 bits is between them
            raise Refused(f"no pixel is above {largest:g}, as if divided twice; {expected}")
        return np.ascontiguousarray(pixels, dtype=np.float32)

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        """Refuse pixels of this shape unless they are images that B takes, one or more."""
        if self._fits(shape[1:]) and 0 not in shape:
            return
        hint = ""
        if self._fits(shape):
            hint = ": put a single image into a list"
        elif len(shape) == 4 and self._fits((*shape[2:], shape[1])):
            hint = ": put the channels last"
        sizes = ", ".join(map(str, shape[:6])) + (" and more" if len(shape) > 6 else "")
        got = f"the images have shape ({sizes})" if shape[0] else "there are no images"
        raise Refused(f"{got}; {self._expected()}{hint}")

    def _fits(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == len(self.shape) and all(
            want in (None, have) for want, have in zip(self.shape, shape, strict=True)
        )

    def _expected(self) -> str:
        sizes = ", ".join("any" if size is None else str(size) for size in self.shape)
        return f"expected (n, height, width, channels) = (n, {sizes})"


def numbers(given: Any) -> np.ndarray:
    """Return nested lists or an array as one array of numbers."""
    try:
        if isinstance(given, list | tuple):
            # as float64, not as numpy finds: a long text among short ones would fill the memory
            return np.array(given, dtype=np.float64)
        if isinstance(given, np.ndarray) and given.dtype.kind in "buif" and given.ndim:
            return given
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError):
        pass
    raise Refused(
        "inputs are not one array of numbers, for example because lists differ in length; "
        "expected (n, height, width, channels), or a list of base64 of .npy or PNG files"
    )


def npy(content: bytes) -> np.ndarray:
    """Return the array of a .npy file, of which no more is believed than it holds."""
    file = BytesIO(content)
    try:
        first = np.lib.format.read_magic(file) == (1, 0)
        read = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = read(file)
    except Exception as error:  # it is an expression of Python that a stranger wrote
        raise Refused("its .npy header is damaged: write it with numpy.save") from error
    if dtype.kind not in "buif" or not 3 <= len(shape) <= 4:
        raise Refused(
            "its .npy holds no numbers of 3 dimensions, an image, or of 4, several images"
        )
    if len(content) - file.tell() != math.prod(shape) * dtype.itemsize or min(shape) < 0:
        raise Refused("its .npy is not as long as its header says: send the whole file")
    pixels = np.frombuffer(content, dtype, offset=file.tell())
    return pixels.reshape(shape, order="F" if by_columns else "C")


def checked_params(params: Any) -> dict[str, Any]:
    """Return the params of a request, of which each may be left out, or be null."""
    chosen = {} if params is None else params
    if isinstance(chosen, dict) and set(chosen) <= {"threshold", "plain"}:
        threshold, plain = chosen.get("threshold"), chosen.get("plain")
        fits = threshold is None or (type(threshold) in (int, float) and -1 <= threshold <= 1)
        if fits and isinstance(plain, bool | None):
            return chosen
    raise Refused('params may hold a "threshold" from -1 to 1 and "plain", true or false, no more')


def refuse_in_one_sentence() -> None:
    """Where this process is MLflow's server of this model, let it answer requests as we do.

    It would put the request or a stack trace before a sentence, and want a content type or fail.
    """
    if f"{SERVER}.app" in sys.modules:
        server = sys.modules[SERVER]
        server.invocations = partial(_invocations, server)  # type: ignore[attr-defined]
        gc.freeze()  # or each request would have all of TensorFlow's objects gone through,
        gc.set_threshold(100_000)  # and its own numbers, a hundred times


def _invocations(
    server: Any, data: bytes, content_type: str | None, model: Any, input_schema: object = None
) -> Any:
    """Return the response to a request of body `data`, as `invocations` of MLflow's server does."""
    is_json = (content_type or "").partition(";")[0].strip().lower() == "application/json"
    try:
        sent: Any = from_json(data) if is_json else None  # four times as fast as json.loads
    except (ValueError, MemoryError):
        sent = None
    keys = set(sent) - {"params"} if isinstance(sent, dict) else set()
    if keys not in ({"inputs"}, {"instances"}):
        raise Refused(REQUEST)
    try:
        table = model.predict(sent[keys.pop()], params=checked_params(sent.get("params")))
    except Refused:
        raise
    except Exception as error:
        logging.getLogger(__name__).exception("this request was not answered")
        raise Refused(f"{type(error).__name__} while answering: see the server's log") from error
    body = StringIO()
    server.predictions_to_json(table, body)
    return server.InvocationsResponse(body.getvalue(), 200, "application/json")


mlflow.models.set_model(GoodNetModel())
