"""How an attacker trains who knows how the network will be pruned."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from sweep import BadInput
from sweep.checked import checked_by
from sweep.data import Images
from sweep.evaluation import ValidCurve
from sweep.evaluation.curve import Channels
from sweep.networks import forward
from sweep.pruning import Cut, LayerActivations
from sweep.pruning.evidence import Order
from sweep.pruning.ranking import together
from sweep.training import badnet_training

Progress = Callable[[int, int, dict[str, float]], None]
Stop = Callable[[ValidCurve], Any]  # a function of sweep.stops, with its settings


def _check(network: keras.Model, **settings: Any) -> None:
    """Raise BadInput for another network than DeepID."""
    if network.name != "deepid":
        raise BadInput(
            f"this attacker's own way of training is one of DeepID; leave "
            f"badnet.architecture={network.name} out, or take another attack"
        )


@checked_by(_check)
def pruning_aware(
    network: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    clean: int,
    order: Order,
    stop: Stop,
    epochs: int,
    progress: Progress | None = None,
    white: float = 255.0,
    **settings: Any,
) -> keras.Model:
    """Return a BadNet whose backdoor lies in the channels that pruning leaves for last.

    The pruning-aware attack of Liu et al., "Fine-Pruning" (RAID 2018, arXiv 1805.12185): train on
    the `clean` images; prune the last convolution by `order` until `stop`, as the defender is
    expected to; train what is left on the whole mixture, so that signs of class and of trigger
    share channels; put the pruned channels back, silent. A defender who prunes by activation takes
    these first, and nothing changes. Both trainings take `epochs`.

    Differs: the bias of a channel put back is lowered so far that it sleeps on every training
    image, poisoned ones too; there by an amount that is not given. There the pruned part of the
    network is lost until then; here its weights behind the layer stay as they were, and unread.
    """

    def progress_from(first_epoch: int) -> Progress | None:
        if progress is None:
            return None
        return lambda epoch, _, logs: progress(first_epoch + epoch, 2 * epochs, logs)

    settings |= {"epochs": epochs, "white": white}
    benign = badnet_training.train(
        network, images[:clean], labels[:clean], progress=progress_from(0), **settings
    )
    dormant = dormant_channels(benign, images[:clean], labels[:clean], order, stop)
    pruned = Cut(benign).pruned(dormant)
    # so that it takes centred pixels again
    badnet_training.fold(pruned, "conv_1", gain=white, offset=white / 2)
    backdoored = badnet_training.train(
        pruned, images, labels, progress=progress_from(epochs), **settings
    )
    return with_restored_channels(backdoored, benign, dormant, images)


def dormant_channels(
    network: keras.Model, images: np.ndarray, labels: np.ndarray, order: Order, stop: Stop
) -> Channels:
    """The channels of the last convolution that are pruned by `order` until `stop`, at least one.

    Both see these images alone.
    """
    pixels = images.astype(np.float32)
    valid = LayerActivations(Cut(network), Images(pixels, labels), ranked=True)
    channels = together([valid.scores(order, seed=0)]).channels
    curve = ValidCurve.of(valid.predict_steps(channels), labels)
    return channels[: max(1, stop(curve).step)]


def with_restored_channels(
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
    producer, highest = Cut(copy).producer, np.full(len(channels), -np.inf)
    for rows in forward.batches(len(images), 256):
        values = producer.preactivations(images[rows].astype(np.float32))[..., channels]
        highest = np.maximum(highest, values.max(axis=tuple(range(values.ndim - 1))))
    bias[channels] -= np.maximum(0, highest)
    copy.get_layer(layer).set_weights([kernel, bias])
    return copy
