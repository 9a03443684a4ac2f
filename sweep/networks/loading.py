"""Load a stranger's network, whatever kind of file it is in.

A network is a Keras functional model, images (n, height, width, channels) in, one score a class
out. Files are read in safe mode: no code of theirs runs, but for custom objects that are given.
"""

import os
import re
import tempfile
import textwrap
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import keras

from sweep import BadInput, files
from sweep.networks.flattening import flattened
from sweep.networks.outputs import FROZEN_ADAPTER

#: How Keras says that it does not know a class or a function.
UNKNOWN = re.compile(
    r"(?:Could not locate \w+|Unknown [\w ]+:|object of type) [`'](?P<a>.+?)[`']"
    r"|Could not interpret \w+ identifier: .*'registered_name': '(?P<b>.+?)'"
)


def load(
    path: Path,
    architecture: Callable[[int], keras.Model] | None = None,
    custom_objects: Mapping[str, Any] | None = None,
) -> keras.Model:
    """Return a network from .keras, whole .h5, or weights only; told apart by content, not name.

    `architecture` builds the untrained network for a number of classes; weights-only files need it.
    `custom_objects` are the classes and functions beyond Keras that it is made of, by name.
    Raises BadInput where the file is none of these, or holds code of its own.
    """
    with keras.saving.custom_object_scope(dict(custom_objects or {})):
        return as_functional(_read(path, architecture))


def _read(path: Path, architecture: Callable[[int], keras.Model] | None) -> Any:
    """What Keras makes of the file, whatever it is."""
    if zipfile.is_zipfile(path):
        return _keras(path, ".keras", _load_whole)
    if not h5py.is_hdf5(path):
        raise BadInput(
            f"{path} is not a network: neither a .keras file nor HDF5; "
            f"expected what Keras' model.save or model.save_weights wrote"
        )
    try:
        with h5py.File(path) as file:
            whole, legacy = "model_config" in file.attrs, "layer_names" in file.attrs
            classes = None if whole else _classes(file)
    except BadInput:
        raise
    except files.DAMAGED as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(f"{path} cannot be read ({reason}); is the file whole?") from error
    if whole:
        return _keras(path, ".h5", _load_whole)
    if architecture is None or classes is None:
        raise BadInput(
            f"{path} holds weights only; set badnet.architecture=deepid, or save the whole network"
        )
    network = architecture(classes)
    _keras(path, ".h5" if legacy else ".weights.h5", network.load_weights)
    return network


def _load_whole(path: str) -> keras.Model:
    return keras.models.load_model(path, compile=False, safe_mode=True)


def _keras(path: Path, suffix: str, read: Callable[[str], Any]) -> Any:
    """Let Keras read `path` under a name by which it knows the format; its errors in one line."""
    with tempfile.TemporaryDirectory() as folder:
        named = Path(folder) / f"network{suffix}"
        os.symlink(path.absolute(), named)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what stands in the file; errors are told
                return read(str(named))
        except Exception as error:  # Keras raises whatever a malformed file makes it stumble on
            raise BadInput(f"{path} cannot be loaded as a network {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """Why Keras cannot load a network, in one line."""
    unknown = UNKNOWN.search(str(error))
    if unknown:
        name = unknown["a"] or unknown["b"]
        return (
            f"({name!r} is not known to Keras); if you trust the code that it is made of, "
            f"set badnet.custom_objects"
        )
    message = textwrap.shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")
    return f"({message})"


def _classes(file: h5py.File) -> int:
    """Number of classes of a weights-only file: the width of the matrix no other one follows."""
    matrices: set[tuple[int, int]] = set()

    def collect(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.ndim == 2:
            matrices.add(item.shape)

    file.visititems(collect)
    last = [
        matrix
        for matrix in matrices
        if not any(matrix[1] == rows for rows, _ in matrices - {matrix})
    ]
    if len(last) != 1:
        raise BadInput(
            f"{file.filename} holds no weights of a classifier: among its matrices "
            f"{sorted(matrices)} there is not one last one"
        )
    return last[0][1]


def as_functional(network: Any) -> keras.Model:
    """`network` as a functional model with one input and one output of shape (n, classes).

    Models inside it are opened, and one sigmoid (or logit) unit becomes two scores. Raises BadInput
    for anything else.
    """
    if not isinstance(network, keras.Model) or not getattr(network, "inputs", None):
        raise BadInput(
            f"the network is a {type(network).__name__} without a graph; expected a functional or "
            f"Sequential Keras model with a known input shape"
        )
    inputs, outputs = network.inputs, network.outputs
    if len(inputs) != 1 or len(outputs) != 1:
        raise BadInput(
            f"the network has {len(inputs)} inputs and {len(outputs)} outputs; expected 1"
        )
    (scores,) = outputs
    if scores.ndim != 2 or scores.shape[-1] is None:
        raise BadInput(f"the network's output is {scores.shape}; expected (images, classes)")
    network = flattened(keras.Model(inputs[0], scores, name=network.name))
    return _two_scores(network) if scores.shape[-1] == 1 else network


def _two_scores(network: keras.Model) -> keras.Model:
    """Two scores of a single unit s: (1 - s, s) of a sigmoid, (0, s) of a logit."""
    last = network.operations[-1]
    sigmoid = getattr(last, "activation", None) is keras.activations.sigmoid
    is_sigmoid = float(sigmoid or type(last).__name__ == "Sigmoid")  # keras.ops.sigmoid
    layer = keras.layers.Dense(
        2,
        kernel_initializer=keras.initializers.Constant([[-is_sigmoid, 1.0]]),
        bias_initializer=keras.initializers.Constant([is_sigmoid, 0.0]),
        trainable=False,
        name=FROZEN_ADAPTER,
    )
    return keras.Model(network.inputs[0], layer(network.outputs[0]), name=network.name)
