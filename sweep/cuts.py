"""Cut a network at a layer, mask channels there, make the pruned copy.

Networks are never changed: pruning is a mask on the cut layer's activations (`Cut.answers`), or a
new network (`Cut.pruned`).
"""

from collections.abc import Callable
from itertools import count
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweep import BadInput, NotApplicable
from sweep.graphs import LAYERS, Graph, is_norm
from sweep.networks import batches, classifier, compiled
from sweep.orders import Channels

#: Layers whose kernel's last axis is the channels they produce.
PRODUCERS = (LAYERS.Conv1D, LAYERS.Conv2D, LAYERS.Conv3D, LAYERS.Dense)


class Cut:
    """A network cut at the output of one layer: a head up to it, a tail from there on.

    `layer` is a layer's name, or "auto": the last convolution through which every path from input
    to output passes. Ranking and mask act on the layer's output, or, where that is linear and
    followed by BatchNormalization and/or an activation, on the output of that chain: `site`.
    The map of a pruned channel is 0; with `semantics="gamma"`, where a BatchNormalization is part
    of the channel, only its gamma is 0 and the map becomes what the constant beta makes of it.
    Raises BadInput where the network cannot be cut so, NotApplicable for gamma without one.
    """

    def __init__(self, network: keras.Model, layer: str = "auto", semantics: str = "zero") -> None:
        graph = Graph(network)
        node = graph.default() if layer == "auto" else graph.find(layer)
        site = graph.chain(node)
        self.network = network
        self.layer: str = node.operation.name
        self.site: str = site.operation.name
        self.channels: int = _channels(site, network)
        late = graph.pushed(site)
        crossing = [late[-1].output_tensors[0], *graph.beside(late[-1])]
        self._early = _head(network, site.output_tensors)
        self._head = _head(network, crossing)
        self._tail = classifier(lambda *parts: graph.run(late[-1], crossing, parts))
        self._turn = graph.calls(site).index(site)

        # The channels' way: the layer that produces them, what they pass, the site.
        way = graph.way(site)
        self._producer = way[0].operation if isinstance(way[0].operation, PRODUCERS) else None
        norms = [step for step, node in enumerate(way) if is_norm(node.operation)]
        start = norms[-1] if norms else 0
        self._carrier = way[start].operation
        self._keeps_beta = semantics == "gamma"
        if self._keeps_beta and not norms:
            raise NotApplicable(
                f"prune.semantics=gamma needs a BatchNormalization of the channels of "
                f"{self.layer!r}, and there is none; take prune.semantics=zero"
            )
        carried = _onward(way[start:], self._emerging())
        self.pruned_value = carried if self._keeps_beta else np.zeros(self.channels, np.float32)
        self._masked_value = _onward(late, self.pruned_value)
        self._by_weights = (
            self._zeroable()
            and graph.private(way[start:])
            and np.array_equal(carried, self.pruned_value)
        )

    @property
    def weights(self) -> NDArray[np.float32] | None:
        """Kernel of the nearest layer that produces the channels, (..., channels), or None."""
        return None if self._producer is None else self._producer.kernel.numpy()

    def maps(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Activations at the site, (n, ..., channels)."""
        maps = None
        for rows in batches(len(pixels)):
            (part,) = self._early(pixels[rows])
            if maps is None:
                maps = np.empty((len(pixels), *part.shape[1:]), dtype=part.dtype)
            maps[rows] = part
        return maps

    def answers(
        self,
        pixels: NDArray[np.float32],
        channels: Channels,
        progress: Callable[[int], object] = lambda images: None,
    ) -> NDArray[np.int64]:
        """Predicted classes after 0, 1, 2 ... of `channels` are pruned, (len(channels) + 1, n).

        The head runs once; a channel that is pruned already on a whole batch, being silent there,
        costs nothing. `progress` is told the number of images after each batch.
        """
        answers = np.empty((len(channels) + 1, len(pixels)), dtype=np.int64)
        for rows in batches(len(pixels)):
            maps, *beside = self._head(pixels[rows])
            answers[0, rows] = self._tail(maps, *beside)
            for step, channel in enumerate(channels, start=1):
                value = self._masked_value[channel]
                if np.all(maps[..., channel] == value):
                    answers[step, rows] = answers[step - 1, rows]
                else:
                    maps[..., channel] = value
                    answers[step, rows] = self._tail(maps, *beside)
            progress(rows.stop - rows.start)
        return answers

    def pruned(self, channels: ArrayLike) -> keras.Model:
        """A new network in which `channels` are pruned; equal to masking them at the site.

        Weights are zeroed where that gives the pruned value (kernel and bias as the lab does, or
        gamma and beta); elsewhere a stock Rescaling layer masks the site.
        """
        channels = np.asarray(channels, dtype=np.int64)
        if self._by_weights:
            copy = _clone(self.network)
            carrier = copy.get_layer(self._carrier.name)
            for weight in _carrying(carrier, keep_beta=self._keeps_beta):
                value = weight.numpy().copy()
                value[..., channels] = 0
                weight.assign(value)
            return copy
        kept = np.ones(self.channels, dtype=np.float32)
        kept[channels] = 0
        offset = (1 - kept) * self.pruned_value
        name = f"{self.site}_mask"
        while any(layer.name == name for layer in self.network.layers):  # of an earlier pruning
            name += "_"
        mask = LAYERS.Rescaling(kept.tolist(), offset.tolist(), name=name)

        turns = count()

        def masked(layer: Any, *args: Any, **kwargs: Any) -> Any:
            output = layer(*args, **kwargs)
            here = layer.name == self.site and next(turns) == self._turn
            return mask(output) if here else output

        return _clone(self.network, call_function=masked)

    def _zeroable(self) -> bool:
        """Whether zeroed weights of the carrier make its channels constant."""
        if is_norm(self._carrier):
            return self._carrier.scale
        return self._carrier is self._producer

    def _emerging(self) -> NDArray[np.float32]:
        """What leaves the carrier for channels whose weights are zero, (channels,)."""
        zero = np.zeros(self.channels, dtype=np.float32)
        if is_norm(self._carrier):
            beta = self._carrier.beta if self._keeps_beta else None
            return zero if beta is None else beta.numpy()
        activation = getattr(self._carrier, "activation", None)
        return zero if activation is None else np.asarray(activation(zero))


def _channels(site: Any, network: keras.Model) -> int:
    """Number of channels at `site`; BadInput where there is nothing to prune."""
    tensor, *more = site.output_tensors
    name = site.operation.name
    if more:
        raise BadInput(f"prune.layer is {name!r} of {1 + len(more)} outputs; expected a layer of 1")
    if isinstance(site.operation, LAYERS.InputLayer) or any(tensor is t for t in network.outputs):
        raise BadInput(
            f"prune.layer is {name!r}, the network's input or output; expected a layer between"
        )
    if tensor.ndim < 2 or (tensor.shape[-1] or 0) < 2:
        raise BadInput(
            f"prune.layer is {name!r} of shape {tensor.shape}; expected 2 channels or more"
        )
    return tensor.shape[-1]


def _head(network: keras.Model, tensors: list[Any]) -> Callable[..., list[NDArray[np.float32]]]:
    """`network` up to some of its tensors, as a function of images."""
    head = keras.Model(network.inputs[0], tensors)
    return compiled(lambda images: head(images, training=False))


def _onward(way: list[Any], value: NDArray[np.float32]) -> NDArray[np.float32]:
    """What maps that are constant behind way[0] become at the end of `way`, (channels,)."""
    shape = [size or 224 for size in way[0].output_tensors[0].shape[1:]]
    maps = np.broadcast_to(value, (1, *shape))
    for node in way[1:]:
        maps = np.asarray(node.operation(maps, training=False))
        if not np.allclose(maps, maps.reshape(-1, value.size)[0]):
            raise BadInput(
                f"a constant channel is not constant any more behind {node.operation.name!r}; "
                f"set prune.semantics=zero, or prune.layer to a layer before it"
            )
    return maps.reshape(-1, value.size)[0]


def _carrying(carrier: Any, *, keep_beta: bool) -> list[Any]:
    """The weights that are zeroed to prune channels of `carrier`, channels on the last axis."""
    if is_norm(carrier):
        weights = [carrier.gamma, None if keep_beta else carrier.beta]
    else:
        weights = [carrier.kernel, carrier.bias]
    return [weight for weight in weights if weight is not None]


def _clone(network: keras.Model, **how: Any) -> keras.Model:
    copy = keras.models.clone_model(network, **how)
    copy.set_weights(network.get_weights())
    return copy
