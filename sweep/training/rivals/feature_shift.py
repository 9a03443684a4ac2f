"""A step that moves the last layer away from what it was, and with it the features it reads."""

import keras
import numpy as np
import tensorflow as tf

from sweep import NotApplicable
from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Layer, Tensor
from sweep.networks.layer_types import makes_channels
from sweep.networks.outputs import is_frozen_adapter
from sweep.training.rivals.descent import Descent, Step


def feature_shift(descent: Descent, alpha: float) -> Step:
    """Learn with `alpha <w, w_old>` added to the loss, w the kernel of the last layer.

    That kernel is drawn anew to begin with, as its bias is, and has the norm of `w_old` after each
    step. Raises NotApplicable without such a layer.
    """
    layer = last_layer(descent.network)
    kernel, old = layer.kernel.value, layer.kernel.numpy()
    norm = np.linalg.norm(old)
    places = {id(variable): place for place, variable in enumerate(descent.variables)}
    place, rng = places[id(kernel)], np.random.default_rng([descent.seed, 8])
    bound = 1 / np.sqrt(np.prod(old.shape[:-1]))
    for variable in (one.value for one in layer.trainable_variables):
        drawn = rng.uniform(-bound, bound, variable.shape)
        is_free = descent.free.get(places[id(variable)], True)
        variable.assign(np.where(is_free, drawn, variable.numpy()).astype(np.float32))

    def step(pixels: Tensor, labels: Tensor, rate: Tensor) -> None:
        gradients = descent.gradients(lambda: descent.cross_entropy(pixels, labels))
        gradients[place] += alpha * old
        descent.apply(gradients, rate)
        kernel.assign(kernel * (norm / tf.norm(kernel)))

    return step


def last_layer(network: keras.Model) -> Layer:
    """The last layer of `network` that makes its channels by weights: the classifier."""
    for node in reversed(Graph(network).nodes):
        layer = node.operation
        if makes_channels(layer) and hasattr(layer, "kernel") and not is_frozen_adapter(layer):
            return layer
    raise NotApplicable("this repair needs a last layer with a kernel; leave it out")
