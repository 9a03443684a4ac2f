"""Orders that train on clean validation images.

As elsewhere an order is `(evidence, ...) -> scores`, float64 (channels,), the lowest pruned
first; these see a `Training` too, a `Defender` and the cut. They never change its network. What is
the same for every layer, as an unlearned network, is made once, see `Defender.get_or_compute`. All
training is by SGD of the same momentum, and drawn by seed alone.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep import BadInput, NotApplicable, terminal
from sweep.evaluation.curve import Scores
from sweep.networks import forward
from sweep.networks.keras_internals import Tensor
from sweep.networks.layer_types import filters
from sweep.orders import activations
from sweep.pruning import Evidence, needs
from sweep.pruning.evidence import Seed, required
from sweep.training import Defender, inversion, unlearned
from sweep.training.channel_gates import GatedNetwork
from sweep.training.inversion_search import Search
from sweep.training.unlearning import MOMENTUM

MAX_UNITS_BYTES = 2**30  # of what enters the gates that are held, not made anew for each batch

#: What a mask loses on a batch: `loss(mask, units, labels, draw)`; see `MaskTraining.learn`.
MaskLoss = Callable[[Tensor, list[Tensor], Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class MaskTraining:
    """How a mask over channels is learned: `steps` of SGD on batches of `batch_size` images.

    label: what the line of progress says. Raises BadInput for what is not above 0.
    """

    label: str
    steps: int
    batch_size: int
    learning_rate: float

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "learning_rate"):
            value = getattr(self, name)
            if not value > 0:
                raise BadInput(f"prune.order.{name} is {value!r}; expected more than 0")

    def learn(self, gated: GatedNetwork, loss: MaskLoss, defender: Defender, seed: Seed) -> Scores:
        """The mask in [0, 1], (channels,), that `loss(mask, units, labels, draw)` is lowest for.

        `draw`, (2, channels), is drawn from [-1, 1] anew for each step, as the images are. Many
        masks end at exactly 0 or 1; a millionth of their mean over all steps tells such apart.
        """
        rng = np.random.default_rng(seed)
        units = _units(gated, defender)
        mask = tf.Variable(tf.ones(gated.channels))
        velocity, total = (tf.Variable(tf.zeros(gated.channels)) for _ in range(2))

        @partial(tf.function, autograph=False)
        def step(units: list[Tensor], labels: Tensor, draw: Tensor) -> None:
            with tf.GradientTape() as tape:
                value = loss(mask, units, labels, draw)
            velocity.assign(MOMENTUM * velocity + tape.gradient(value, mask))
            mask.assign(tf.clip_by_value(mask - self.learning_rate * velocity, 0.0, 1.0))
            total.assign_add(mask)

        with terminal.progress(self.label, self.steps, "steps") as done:
            for _ in range(self.steps):
                rows = rng.integers(len(defender.images), size=self.batch_size)
                draw = rng.uniform(-1, 1, (2, gated.channels)).astype(np.float32)
                step(units(rows), defender.images.labels[rows], draw)
                done(1)
        return mask.numpy() + 1e-6 * total.numpy().astype(np.float64) / self.steps


@needs("weights", "labels", "training")
def anp(
    evidence: Evidence,
    *,
    eps: float = 0.4,
    alpha: float = 0.2,
    steps: int = 2000,
    batch_size: int = 128,
    learning_rate: float = 0.2,
) -> Scores:
    """Mask that outlives adversarial noise, lowest first.

    Score: the mask m in [0, 1] of channel c, from 1 by `steps` of SGD on batches of D, that
    minimises `alpha L(m, 0, 0) + (1 - alpha) max L(m, d, x)` over `|d|, |x| <= eps`. L is the mean
    cross-entropy when the filter is `(m + d) W_c` and its bias `(1 + x) b_c`, or gamma and beta of
    the BatchNormalization that follows. The maximum is sought by one signed step of `eps`, from a
    random start, clipped to the box (adversarial neuron pruning). Equal masks go by their mean over
    all steps.

    Source: Wu, Wang, "Adversarial Neuron Pruning Purifies Backdoored Deep Models", NeurIPS 2021,
    arXiv 2110.14430.

    Differs: there all layers have masks at once, BatchNormalization takes the batch's own
    statistics while they are learned, and channels below a threshold go; here it is one layer in
    inference, and a ranking.
    """
    sgd = MaskTraining("training anp", steps, batch_size, learning_rate)
    if not eps > 0:
        raise BadInput(f"prune.order.eps is {eps!r}; expected more than 0")
    if not 0 <= alpha <= 1:
        raise BadInput(f"prune.order.alpha is {alpha!r}; expected a share from 0 to 1")
    training = required(evidence.training)
    gated = GatedNetwork(training.defender.network, training.cut.layer)

    def loss(mask: Tensor, units: list[Tensor], labels: Tensor, draw: Tensor) -> Tensor:
        noise = eps * draw
        with tf.GradientTape() as tape:
            tape.watch(noise)
            noisy = gated.loss(mask + noise[0], 1 + noise[1], units, labels)
        noise = noise + eps * tf.sign(tape.gradient(noisy, noise))
        noise = tf.stop_gradient(tf.clip_by_value(noise, -eps, eps))
        robust = gated.loss(mask + noise[0], 1 + noise[1], units, labels)
        return alpha * gated.loss(mask, 1.0, units, labels) + (1 - alpha) * robust

    return sgd.learn(gated, loss, training.defender, evidence.seed)


@needs("weights", "labels", "training")
def rnp(
    evidence: Evidence,
    *,
    accuracy: float = 0.2,
    unlearning_rate: float = 0.01,
    steps: int = 300,
    batch_size: int = 128,
    learning_rate: float = 0.2,
) -> Scores:
    """Mask that recovers an unlearned network, lowest first.

    Score: the mask m in [0, 1] of channel c, from 1 by `steps` of SGD on batches of D, that
    minimises the mean cross-entropy of an unlearned network in which the filter is `m W_c`, or
    gamma of the BatchNormalization that follows. The network has unlearned by gradient ascent on
    the same loss, at `unlearning_rate`, until its accuracy on D is at most `accuracy`, or that of
    always naming the most common class, if that is higher: what is left then is the backdoor, and
    the mask takes it away (reconstructive neuron pruning). Equal masks go by their mean over all
    steps.

    Source: Li, Lyu, Ma, Li, Koren, Lyu, Jiang, ICML 2023, arXiv 2305.14876.

    Differs: there all layers have masks at once, and BatchNormalization takes the batch's own
    statistics also while masks are learned. Accuracy is looked at when a batch's is low, there
    after each epoch.
    """
    sgd = MaskTraining("training rnp", steps, batch_size, learning_rate)
    training = required(evidence.training)
    network = unlearned(
        training.defender, accuracy=accuracy, learning_rate=unlearning_rate, batch_size=batch_size
    )
    gated = GatedNetwork(network, training.cut.layer)

    def loss(mask: Tensor, units: list[Tensor], labels: Tensor, draw: Tensor) -> Tensor:
        return gated.loss(mask, 1.0, units, labels)

    return sgd.learn(gated, loss, training.defender, evidence.seed)


@needs("weights", "labels", "training")
def weight_change(
    evidence: Evidence,
    *,
    accuracy: float = 0.1,
    unlearning_rate: float = 0.0001,
    batch_size: int = 128,
) -> Scores:
    """Change of the filter by unlearning, highest first.

    Score: the sum of `|W_c unlearned - W_c|`, negated. The network unlearns as in `rnp`, more
    slowly: what changes most when clean images are unlearned also changes most when poisoned ones
    are.

    Source: Lin, Liu, Wang, Li, Wu, Liu, "Unveiling and Mitigating Backdoor Vulnerabilities based on
    Unlearning Weight Changes and Backdoor Activeness", NeurIPS 2024, arXiv 2405.20291.

    Differs: there the largest changes of all layers together are taken, a share of the weights of
    their channels set to 0, and the network fine-tuned.
    """
    training = required(evidence.training)
    network = unlearned(
        training.defender,
        accuracy=accuracy,
        learning_rate=unlearning_rate,
        batch_size=batch_size,
    )
    after = filters(network.get_layer(required(training.cut.producer.layer).name))
    change = np.abs(after.astype(np.float64) - required(evidence.weights))
    return -change.reshape(-1, evidence.channels).sum(axis=0)


@needs("activations", "labels", "training")
def reversed_trigger(evidence: Evidence) -> Scores:
    """Change by a trigger found by inversion, highest first.

    Score: the mean over D and positions of `a_c(stamped) - a_c(clean)`, negated. The stamp is the
    mask and pattern that Neural Cleanse finds for the class that takes the smallest mask. Among
    masks smaller than the median that one's anomaly index (MAD) is the highest, above 2 or not.

    Source: Wang, Yao, Shan, Li, Viswanath, Zheng, Zhao, "Neural Cleanse", S&P 2019.

    Differs: there a network without a class of an index above 2 is called clean, and left alone;
    here the smallest mask ranks the channels in any case.
    """
    training = required(evidence.training)
    cut, defender = training.cut, training.defender
    total = Search().total(defender.network.output_shape[-1])
    with terminal.progress("reversing triggers", total, "steps") as done:
        triggers = inversion.invert(defender, progress=done)
    if not np.isfinite(triggers.sizes).any():
        raise NotApplicable(
            "this order ranks by a reversed trigger, and none was found for any class; "
            "take another order"
        )
    target = int(triggers.ranked[0])

    def stamped() -> Iterable[NDArray[np.float32]]:
        for rows in forward.batches(len(defender.images), cut.batch_size):
            yield cut.maps(triggers.stamp(defender.images.pixels[rows], target))[0]

    clean = activations.mean_activation(evidence)
    return clean - activations.mean_activation(replace(evidence, maps=stamped()))


def _units(gated: GatedNetwork, defender: Defender) -> Callable[[NDArray[np.int64]], list[NDArray]]:
    """Look up the units of some of the images by their rows; held where that takes little."""
    pixels = defender.pixels
    if sum(tensor.nbytes for tensor in gated.units(pixels[:1])) * len(pixels) > MAX_UNITS_BYTES:
        return lambda rows: gated.units(pixels[rows])
    slices = forward.batches(len(pixels), gated.batch_size)
    batches = [gated.units(pixels[rows]) for rows in slices]
    units = [np.concatenate(tensors) for tensors in zip(*batches, strict=True)]
    return lambda rows: [tensor[rows] for tensor in units]
