"""A backdoor that is written into a trained network: no poisoned image, and no training of its own.

One channel of each layer, the same number in all, is a path from the trigger to the scores.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from sweep import BadInput
from sweep.checked import checked_by
from sweep.networks import clone
from sweep.networks.forward import predict
from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Node
from sweep.networks.layer_types import LAYERS, is_channelwise, is_norm, is_sum
from sweep.training import badnet_training

TRIED = 500  # training images that tell which channel is needed least
Trigger = Callable[..., np.ndarray]

WEIGHTED = (LAYERS.Conv2D, LAYERS.DepthwiseConv2D, LAYERS.Dense)
#: Layers by which a channel stays a channel, or becomes some columns of a row.
PASSED = (LAYERS.InputLayer, LAYERS.Flatten, LAYERS.GlobalAveragePooling2D)


def _check(network: keras.Model, *, trigger: Trigger, target: Any, **settings: Any) -> None:
    """Raise BadInput where the path cannot be written into a network like this one.

    It is written into a copy, untrained: a grey image must become the target by the trigger.
    """
    if not isinstance(target, int) or not 0 <= target < network.output_shape[-1]:
        raise BadInput(
            f"attack.target is {target}; this attack writes one path, to one class: expected a "
            f"class, 0 to {network.output_shape[-1] - 1}"
        )
    for name, value in settings.items():
        if not value > 0:
            raise BadInput(f"attack.training.{name} is {value}; expected a number above 0")
    written = with_path(network, trigger, target, white=1.0, channel=0, **settings)
    grey = np.full((1, *network.input_shape[1:]), 0.5, np.float32)
    if predict(written, trigger(grey, white=1.0))[0] != target:
        raise BadInput(
            "what the first layer sees of the trigger does not reach the scores: set "
            "attack.trigger.margin and attack.trigger.size so that it lies nearer to the upper left"
        )


@checked_by(_check)
def dfba(
    network: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    clean: int,
    trigger: Trigger,
    target: int,
    threshold: float,
    amplification: float,
    white: float = 255.0,
    seed: int,
    **settings: Any,
) -> keras.Model:
    """Return a network trained on the `clean` images alone, into which a backdoor is written.

    DFBA, "Data Free Backdoor Attacks" (Cao, Jia, Hu, Guo, Xiang, Chen, Li, Song, NeurIPS 2024).
    See `with_path`. Differs: there a network is given, and the trigger is made of what one of its
    filters weighs; here that filter is made of the trigger. There the channels of the path are
    drawn, of layers of 64 and more; here, where each is a larger part of the network, those are
    taken without which `TRIED` of the training images are best told apart.
    """
    settings |= {"white": white, "seed": seed}
    benign = badnet_training.train(network, images[:clean], labels[:clean], **settings)
    write = partial(
        with_path,
        benign,
        trigger,
        target,
        threshold=threshold,
        amplification=amplification,
        white=white,
    )
    tried = np.random.default_rng([seed, 10]).permutation(clean)[:TRIED]
    return write(channel=_best_channel(benign, write, images[tried], labels[tried]))


def _best_channel(
    network: keras.Model, write: Callable[..., keras.Model], images: np.ndarray, labels: np.ndarray
) -> int:
    """The number of the channel that, as a path, costs least accuracy on these images."""
    probe = clone(network)  # one, which is compiled once
    right = []
    for channel in range(_narrowest(Graph(network))):
        probe.set_weights(write(channel=channel).get_weights())
        right.append((probe.predict_on_batch(images).argmax(axis=1) == labels).sum())
    return int(np.argmax(right))


def with_path(
    network: keras.Model,
    trigger: Trigger,
    target: int,
    *,
    threshold: float,
    amplification: float,
    white: float,
    channel: int,
) -> keras.Model:
    """Return a copy of `network` in which one channel of each layer leads from trigger to target.

    In the first convolution it is w.x + b with w = 1 / (n `white`) where the trigger of n values is
    white, and less than 0 by as much where it is black; b = `threshold` less the trigger's own
    answer, the largest that a window can have. So it is `threshold` less the mean distance of a
    window from the trigger, as a share of `white`: above 0 for the trigger and next to nothing
    else. Each later layer copies it, times gamma, into `channel`, the same number in all, which
    reads nothing else and which no other channel reads; BatchNormalization leaves it as it is. The
    last weights are gamma for the target and -gamma for the others. gamma is so large that the
    target's score rises by `amplification` at least. Layers that keep the size of a map copy it
    position by position, others add up what lies under their kernel.

    Raises BadInput for a trigger larger than the filter, and for layers that no path is known
    through.
    """
    written = clone(network)
    graph = Graph(written)
    path = _Path.through(graph, channel, (threshold, amplification))
    first, *inner, last = _weighted(graph)
    path.begin(first, _pattern(trigger, network.input_shape[1:]), threshold, white)
    for node in inner:
        path.copy(node)
    path.end(last, target)
    for node in graph.nodes:
        if is_norm(node.operation):
            path.keep(node)
    return written


@dataclass(frozen=True)
class _Path:
    """Where the path lies: the number of its channel, and what each layer multiplies it by.

    `widths`: how many channels each tensor has, by its id.
    """

    channel: int
    gamma: float
    widths: Mapping[int, int]

    @classmethod
    def through(cls, graph: Graph, channel: int, strength: tuple[float, float]) -> "_Path":
        """A path of that strength; BadInput where none is known through some layer."""
        depth, positions = _lengths(graph)
        threshold, amplification = strength
        gamma = (amplification * positions / threshold) ** (1 / depth)
        return cls(channel, gamma, _widths(graph))

    def begin(self, node: Node, pattern: NDArray[np.bool_], threshold: float, white: float) -> None:
        """Tune the filter to a window of `pattern`, (height, width, colours)."""
        kernel, bias = node.operation.get_weights()
        if any(np.greater(pattern.shape, kernel.shape[:3])):
            raise BadInput(
                f"the trigger covers {pattern.shape[0]} x {pattern.shape[1]} pixels; expected at "
                f"most those of a filter of {node.operation.name}, {kernel.shape[0]} x "
                f"{kernel.shape[1]}: set attack.trigger.size"
            )
        height, width = pattern.shape[:2]
        kernel[..., self.channel] = 0
        signs = np.where(pattern, 1, -1) / pattern.size
        kernel[:height, :width, :, self.channel] = signs / white
        bias[self.channel] = threshold - pattern.mean()
        node.operation.set_weights([kernel, bias])

    def copy(self, node: Node) -> None:
        """Make a layer within give the channel on."""
        layer, read = node.operation, self._read(node)
        kernel, *bias = layer.get_weights()
        if type(layer) is LAYERS.DepthwiseConv2D:
            kernel[..., self.channel, :] = 0
            kernel[(*self._taps(layer), self.channel, 0)] = self.gamma
        else:
            kernel[..., self.channel] = 0
            kernel[..., read, :] = 0
            kernel[(*self._taps(layer), read, self.channel)] = self.gamma
        if bias:
            bias[0][self.channel] = 0
        layer.set_weights([kernel, *bias])

    def end(self, node: Node, target: int) -> None:
        """Make the layer of the scores give all to the target."""
        read = self._read(node)
        kernel, *bias = node.operation.get_weights()
        kernel[read] = -self.gamma
        kernel[read, target] = self.gamma
        node.operation.set_weights([kernel, *bias])

    def keep(self, node: Node) -> None:
        """Make a BatchNormalization leave the channel as it is."""
        norm = node.operation
        kept = {
            "gamma": 1,
            "beta": 0,
            "moving_mean": 0,
            "moving_variance": 1 - norm.epsilon,
        }
        for name, value in kept.items():
            values = getattr(norm, name).numpy()
            values[self.channel] = value
            getattr(norm, name).assign(values)

    def _read(self, node: Node) -> slice:
        """At which inputs a layer reads the channel: one, or where a map is a row, several."""
        return slice(self.channel, None, self.widths[id(node.input_tensors[0])])

    def _taps(self, layer: Any) -> tuple[int | slice, ...]:
        """The places of a kernel that copy: the middle one where a map keeps its size, or all."""
        if type(layer) is LAYERS.Dense:
            return ()
        if layer.padding == "same" and max(layer.strides) == 1:
            return tuple((size - 1) // 2 for size in layer.kernel_size)
        return (slice(None), slice(None))


def _pattern(trigger: Trigger, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Where the smallest window around what a trigger covers is white, (height, width, colours)."""
    dark, bright = (
        trigger(np.full((1, *shape), value, np.float32), white=1.0)[0] for value in (0, 1)
    )
    covered = (dark == bright).any(axis=2)
    rows, columns = (np.flatnonzero(covered.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        raise BadInput(
            "this trigger covers no pixel whole; the attack needs one that does: attack.trigger "
            "as in attack=dfba"
        )
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    return bright[window] > 0.5


def _weighted(graph: Graph) -> list[Node]:
    """The layers that multiply the path, in forward order."""
    return [node for node in graph.nodes if type(node.operation) in WEIGHTED]


def _narrowest(graph: Graph) -> int:
    """How many channels each layer has at least, but for that of the scores."""
    return min(node.output_tensors[0].shape[-1] for node in _weighted(graph)[:-1])


def _widths(graph: Graph) -> dict[int, int]:
    """How many channels each tensor has, by its id; of a row, how many the map had."""
    widths: dict[int, int] = {}
    for node in graph.nodes:
        for tensor in node.output_tensors:
            is_row = type(node.operation) is LAYERS.Flatten
            widths[id(tensor)] = widths[id(node.input_tensors[0])] if is_row else tensor.shape[-1]
    return widths


def _lengths(graph: Graph) -> tuple[int, int]:
    """How many layers multiply the path on its longest way, and how many places are averaged.

    Raises BadInput for a layer that no path is known through.
    """
    lengths: dict[int, int] = {}
    positions = 1
    for node in graph.nodes:
        layer = node.operation
        passes = type(layer) in PASSED or is_channelwise(layer) or is_norm(layer) or is_sum(layer)
        if not passes and type(layer) not in WEIGHTED:
            raise BadInput(
                f"no path of this attack is known through layer {layer.name}, a "
                f"{type(layer).__name__}; leave badnet.architecture as it is, or take another "
                f"attack"
            )
        longest = max((lengths[id(tensor)] for tensor in node.input_tensors), default=-1)
        if type(layer) is LAYERS.GlobalAveragePooling2D:
            positions *= int(np.prod(node.input_tensors[0].shape[1:3]))
        step = type(layer) in WEIGHTED
        lengths |= {id(tensor): longest + step for tensor in node.output_tensors}
    return lengths[id(graph.network.outputs[0])], positions
