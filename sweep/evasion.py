"""How an attacker trains who knows how the network will be pruned.

A way of training takes what `badnets.train` takes, and how many of the images, the first ones, are
clean; `attack.training` names it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np

from sweep import badnets, forward, orders, stops
from sweep.activations import Activations
from sweep.cuts import Cut
from sweep.data import Images
from sweep.ranking import Channels, together

Progress = Callable[[int, int, dict[str, float]], None]


def pruning_aware(
    network: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    clean: int,
    budget: float,
    epochs: int,
    progress: Progress | None = None,
    white: float = 255.0,
    **settings: Any,
) -> keras.Model:
    """Train a BadNet whose backdoor lies in the channels that pruning leaves for last.

    The pruning-aware attack of Liu et al., "Fine-Pruning" (RAID 2018, arXiv 1805.12185): train on
    the `clean` images; prune the last convolution by mean activation until that costs more than
    `budget` of their accuracy, as the defender would (mean_activation, accuracy_drop, keep=safe);
    train what is left on the whole mixture, so that signs of class and of trigger share channels;
    put the pruned channels back, silent. A defender who prunes by activation takes these first,
    and nothing changes. Both trainings take `epochs`.

    Differs: the bias of a channel put back is lowered so far that it sleeps on every training
    image, poisoned ones too; there by an amount that is not given. There the pruned part of the
    network is lost until then; here its weights behind the layer stay as they were, and unread.
    """

    def half(done: int) -> Progress | None:
        return progress and (lambda epoch, _, logs: progress(done + epoch, 2 * epochs, logs))

    told = {"epochs": epochs, "white": white, **settings}
    own = badnets.train(network, images[:clean], labels[:clean], progress=half(0), **told)
    asleep = dispensable(own, images[:clean], labels[:clean], budget)
    pruned = Cut(own).pruned(asleep)
    badnets.fold(pruned, "conv_1", gain=white, offset=white / 2)  # takes centred pixels again
    trained = badnets.train(pruned, images, labels, progress=half(epochs), **told)
    return restored(trained, own, asleep, images)


def dispensable(
    network: keras.Model, images: np.ndarray, labels: np.ndarray, budget: float
) -> Channels:
    """The channels of the last convolution that cost less than `budget` of accuracy, together.

    In order of mean activation on these images, at least one; all that are dead already are among
    them.
    """
    seen = Activations(Cut(network), Images(images.astype(np.float32), labels), ranked=True)
    channels = together([seen.scores(partial(orders.mean_activation), seed=0)]).channels
    curve = stops.ValidCurve.of(seen.answers(channels), labels)
    return channels[: max(1, stops.accuracy_drop(curve, frac=budget, keep="safe").step)]


def restored(
    network: keras.Model, before: keras.Model, channels: Channels, images: np.ndarray
) -> keras.Model:
    """A copy of `network` with `channels` of its last convolution as they were `before`.

    Their biases are as high as they can be with none of them active on any of `images`.
    """
    layer = Cut(network).layer
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    kernel, bias = copy.get_layer(layer).get_weights()
    old_kernel, old_bias = before.get_layer(layer).get_weights()
    kernel[..., channels], bias[channels] = old_kernel[..., channels], old_bias[channels]
    copy.get_layer(layer).set_weights([kernel, bias])
    making, highest = Cut(copy).making, np.full(len(channels), -np.inf)
    for rows in forward.batches(len(images), 256):
        values = making.preactivations(images[rows].astype(np.float32))[..., channels]
        highest = np.maximum(highest, values.max(axis=tuple(range(values.ndim - 1))))
    bias[channels] -= np.maximum(0, highest)
    copy.get_layer(layer).set_weights([kernel, bias])
    return copy
