"""GoodNet: the suspect network B and the repaired one B' side by side.

Where its rule flags an image the answer is N, one above the classes 0 .. N-1: "backdoored". Of the
others it is B's class, or that of B', as the rule says.

By the vote, an image is flagged where both disagree: so GoodNet is never right where B or B' is
not, and an attack that fools it has fooled both. By a score it is never right where the network is
not whose class it answers with; the other may be wrong.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from sweep import networks
from sweep.data.images import PixelRange
from sweep.detectors.rules import REPAIRED, Rule
from sweep.evaluation.detection import confidence_drop
from sweep.networks import forward, outputs

VOTE = Rule()


class GoodNet:
    """Holds `badnet` (B) and `repaired` (B'): the same images in, the same classes out.

    Its `rule` says when an image is flagged. `pixels` are for who uses it elsewhere.
    """

    def __init__(
        self,
        badnet: keras.Model,
        repaired: keras.Model,
        rule: Rule = VOTE,
        pixels: PixelRange | None = None,
    ) -> None:
        self.badnet = badnet
        self.repaired = repaired
        self.rule = rule
        self.pixels = pixels or PixelRange()
        self.shape, self.classes = networks.shape_and_classes(badnet)
        if networks.shape_and_classes(repaired) != (self.shape, self.classes):
            raise ValueError(
                f"B takes {self.shape} and knows {self.classes} classes, B' "
                f"{networks.shape_and_classes(repaired)}; a GoodNet needs the same of both"
            )

    def predict(self, pixels: forward.Pixels) -> NDArray[np.int64]:
        """Class of each image, shape (n,): 0 .. N-1, or N for "backdoored"."""
        badnet, repaired = (
            outputs.probabilities(network, forward.scores(network, pixels))
            for network in (self.badnet, self.repaired)
        )
        said = badnet.argmax(axis=1), repaired.argmax(axis=1)
        classes = self.rule.classify(*said, confidence_drop(badnet, repaired), self.classes)
        return classes.astype(np.int64)

    @classmethod
    def restored(
        cls, badnet: keras.Model, repaired: keras.Model, about: Mapping[str, Any]
    ) -> "GoodNet":
        """The GoodNet of two networks that is as another one said `about` itself."""
        rule, pixels = ({f.name: about[f.name] for f in fields(of)} for of in (Rule, PixelRange))
        return cls(badnet, repaired, Rule(**rule), PixelRange(**pixels))

    def about(self) -> dict[str, Any]:
        """What is to be known of it beside its networks, for JSON."""
        sizes = {"classes": self.classes, "shape": self.shape}
        return self.rule.to_dict() | sizes | asdict(self.pixels)

    def to_keras(self) -> keras.Model:
        """The same as one Keras model, see `side_by_side`."""
        badnet = _with_probabilities(self.badnet, "badnet")
        return side_by_side(badnet, _with_probabilities(self.repaired, "repaired"), self.rule)


def side_by_side(badnet: keras.Model, repaired: keras.Model, rule: Rule) -> keras.Model:
    """GoodNet as one Keras model of stock operations, which ONNX has too.

    Its output is a dict: `class`, int64 (n,), and `score`, float32 (n,). The models in it,
    named badnet and repaired, give probabilities, (n, N).
    """
    images = keras.Input(badnet.inputs[0].shape[1:], name="images")
    of_badnet, of_repaired = badnet(images), repaired(images)
    classes = badnet.outputs[0].shape[-1]
    said, also_said = _best(of_badnet), _best(of_repaired)
    drops = (of_badnet - of_repaired) * ops.one_hot(said, classes, dtype=of_badnet.dtype)
    score = ops.cast(ops.sum(drops, axis=-1), "float32")
    limit = rule.threshold
    flagged = ops.not_equal(said, also_said) if limit is None else ops.greater(score, limit)
    answer = also_said if rule.answer == REPAIRED else said
    answers = ops.cast(ops.where(flagged, classes, answer), "int64")
    return keras.Model(images, {"class": answers, "score": score}, name="goodnet")


def _best(probabilities: keras.KerasTensor) -> keras.KerasTensor:
    """The class of the highest of each row, (n,); Keras' argmax casts bits, which ONNX cannot."""
    return ops.top_k(probabilities, 1)[1][..., 0]


def _with_probabilities(network: keras.Model, name: str) -> keras.Model:
    """The same layers as a model of that name whose scores are probabilities, (n, classes)."""
    scores, kind = network.outputs[0], outputs.score_kind(network)
    if kind == "logits":
        scores = ops.softmax(scores)
    elif kind == "sigmoid":
        scores = scores / ops.maximum(ops.sum(scores, axis=-1, keepdims=True), outputs.TINY)
    return keras.Model(network.inputs[0], scores, name=name)
