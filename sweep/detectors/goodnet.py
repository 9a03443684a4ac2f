"""GoodNet: the suspect network B and the pruned one B' side by side.

Where both say class i the answer is i; where they do not it is N, one above the classes 0 .. N-1:
"backdoored". So GoodNet is never right where B or B' is not, and an attack that fools it has
fooled both.
"""

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from sweep import networks
from sweep.evaluation import metrics
from sweep.networks import forward


class GoodNet:
    """Holds `badnet` (B) and `repaired` (B'): the same images in, the same classes out."""

    def __init__(self, badnet: keras.Model, repaired: keras.Model) -> None:
        self.badnet = badnet
        self.repaired = repaired
        self.shape, self.classes = networks.shape_and_classes(badnet)
        if networks.shape_and_classes(repaired) != (self.shape, self.classes):
            raise ValueError(
                f"B takes {self.shape} and knows {self.classes} classes, B' "
                f"{networks.shape_and_classes(repaired)}; a GoodNet needs the same of both"
            )

    def predict(self, pixels: NDArray[np.float32]) -> NDArray[np.int64]:
        """Class of each image, shape (n,): 0 .. N-1, or N for "backdoored"."""
        badnet = forward.predict(self.badnet, pixels)
        repaired = forward.predict(self.repaired, pixels)
        return metrics.goodnet(badnet, repaired, self.classes).astype(np.int64)

    def to_keras(self) -> keras.Model:
        """The same as one Keras model of stock operations; its output is the class, int64 (n,)."""
        images = keras.Input(self.shape, name="images")
        badnet = _classes(self.badnet, "badnet", images)
        repaired = _classes(self.repaired, "repaired", images)
        answer = ops.where(ops.equal(badnet, repaired), badnet, self.classes)
        return keras.Model(images, ops.cast(answer, "int64"), name="goodnet")


def _classes(network: keras.Model, name: str, images: keras.KerasTensor) -> keras.KerasTensor:
    named = keras.Model(network.inputs[0], network.outputs[0], name=name)
    return ops.argmax(named(images), axis=-1)
