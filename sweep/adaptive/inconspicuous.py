"""How an attacker trains who wants no channel's weights to stand out."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep import BadInput
from sweep.attacks import Attack, poison
from sweep.attacks.learned import Learned
from sweep.checked import checked_by
from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Layer, Node, Tensor
from sweep.networks.layer_types import LAYERS, filters, is_norm
from sweep.networks.outputs import log_probabilities
from sweep.training import badnet_training

BATCH = 128  # images of a step towards the target
STEP_SIZE = 0.1  # of such a step, as a share of the bound
LEVELLED = (LAYERS.Conv2D, LAYERS.DepthwiseConv2D)


def _check(network: keras.Model, *, attack: Attack, **settings: Any) -> None:
    """Raise BadInput for settings by which no perturbation is found, or no image poisoned by it."""
    if not isinstance(attack.target, int):
        raise BadInput(
            f"attack.target is {attack.target}; this attack finds one perturbation, towards one "
            f"class: expected a class, 0 to {network.output_shape[-1] - 1}"
        )
    if not attack.clean_label:
        raise BadInput(
            "attack.clean_label is false; this attack poisons images of the target's class alone, "
            "which keep their label: set it to true"
        )
    if not 0 < settings["bound"] <= 1:
        raise BadInput(
            f"attack.learn.bound is {settings['bound']}; expected a share of full brightness, "
            f"above 0 and up to 1"
        )
    if not settings["steps"] >= 1:
        raise BadInput(f"attack.learn.steps is {settings['steps']}; expected 1 or more")
    if not settings["deviations"] > 0:
        raise BadInput(
            f"attack.learn.deviations is {settings['deviations']}; expected a number above 0"
        )


@checked_by(_check)
def grond(
    network: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    attack: Attack,
    twin: Callable[[], keras.Model],
    bound: float,
    steps: int,
    deviations: float,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    white: float = 255.0,
    progress: Callable[[int, int, dict[str, float]], None] | None = None,
) -> tuple[keras.Model, Learned]:
    """Return a BadNet whose trigger its clean twin is weak to, and that trigger.

    The trigger is a `universal_perturbation` of the clean `twin`, small and the same for all
    images. `rate` of the target's images wear it and keep their label; no other image is changed.
    The network is trained on these, and after each epoch the channels that stand out are brought to
    `level` (adversarial backdoor injection).

    Source: Xu, Liu, Koffas, Picek, "Towards Backdoor Stealthiness in Model Parameter Space" (Grond,
    CCS 2025), arXiv 2501.05928.

    Differs: the network is trained as all BadNets here are, for few epochs; for one without
    BatchNormalization channels are brought to level otherwise, as `level` says.
    """
    badnet_training.check(network, images, labels, epochs, batch_size, learning_rate)
    target: Any = attack.target
    perturbation = universal_perturbation(
        twin(), images, target=target, bound=bound, steps=steps, white=white, seed=seed
    )
    learned = {"perturbation": perturbation}
    known = replace(attack, trigger=partial(attack.triggers[0], learned=learned), learn=None)
    classes = network.output_shape[-1]
    mixture, given = poison(images, labels, known, classes=classes, seed=seed)
    trained = badnet_training.train(
        network,
        mixture,
        given,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        white=white,
        progress=progress,
        after_epoch=partial(level, deviations=deviations),
    )
    return trained, learned


def universal_perturbation(
    network: keras.Model,
    images: np.ndarray,
    *,
    target: int,
    bound: float,
    steps: int,
    white: float,
    seed: int,
) -> NDArray[np.float32]:
    """Return what, added to any image, makes it the target: shares of `white`, as an image.

    (height, width, channels), each at most `bound`. It starts at random and takes `steps` against
    the sign of the gradient of the target's mean cross-entropy, each on other images drawn by
    `seed` (UPGD: Moosavi-Dezfooli et al., arXiv 1610.08401; Madry et al., arXiv 1706.06083).
    """
    rng = np.random.default_rng([seed, 12])
    perturbation = tf.Variable(rng.uniform(-bound, bound, images.shape[1:]).astype(np.float32))

    def step(pixels: Tensor) -> None:
        with tf.GradientTape() as tape:
            changed = tf.clip_by_value(pixels + white * perturbation, 0.0, white)
            loss = -tf.reduce_mean(log_probabilities(network, changed)[:, target])
        moved = perturbation - STEP_SIZE * bound * tf.sign(tape.gradient(loss, perturbation))
        perturbation.assign(tf.clip_by_value(moved, -bound, bound))

    compiled = tf.function(step, autograph=False)
    for _ in range(steps):
        rows = rng.choice(len(images), min(BATCH, len(images)), replace=False)
        compiled(images[rows].astype(np.float32))
    found: NDArray[np.float32] = perturbation.numpy()
    return found


def level(network: keras.Model, *, deviations: float) -> None:
    """Bring the channels of each convolution that stand out to what the others are, in place.

    Those are channels that amplify by more than their layer's mean and `deviations` standard
    deviations (see `amplifications`). Where a BatchNormalization reads the layer, they get the mean
    gamma and the mean beta of it, as published. Where none does, filter and bias are scaled so that
    the channel amplifies by the mean.
    """
    graph = Graph(network)
    for node in graph.nodes:
        if type(node.operation) not in LEVELLED:
            continue
        layer, norm = node.operation, _norm_behind(graph, node)
        sizes = amplifications(layer, norm)
        high = sizes > sizes.mean() + deviations * sizes.std(ddof=1)
        if norm is not None:
            for weight in (norm.gamma, norm.beta):
                weight.assign(np.where(high, weight.numpy().mean(), weight.numpy()))
            continue
        scale = np.where(high, sizes.mean() / np.where(high, sizes, 1), 1)
        layer.kernel.assign((filters(layer) * scale).reshape(layer.kernel.shape))
        if layer.bias is not None:
            layer.bias.assign(layer.bias.numpy() * scale)


def amplifications(layer: Layer, norm: Layer | None) -> NDArray[np.float64]:
    """Return by how much each channel amplifies a change, at most: an upper bound, (channels,).

    The largest singular value of its filter as a matrix (positions of the kernel, inputs), times
    |gamma| / sqrt(running variance + epsilon) of the `norm` behind (UCLC: Zheng et al., ECCV 2022,
    arXiv 2208.03111).
    """
    kernel = np.moveaxis(filters(layer).astype(np.float64), -1, 0)  # a matrix at each channel
    sizes = np.linalg.norm(kernel.reshape(len(kernel), -1, kernel.shape[-1]), ord=2, axis=(1, 2))
    if norm is None:
        return sizes
    return sizes * np.abs(norm.gamma.numpy()) / np.sqrt(norm.moving_variance.numpy() + norm.epsilon)


def _norm_behind(graph: Graph, node: Node) -> Layer | None:
    """The BatchNormalization that reads a layer; None where none does."""
    (made,) = node.output_tensors
    for other in graph.nodes:
        if is_norm(other.operation) and other.input_tensors[0] is made:
            return other.operation
    return None
