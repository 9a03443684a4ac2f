"""BaDExpert: a copy of B that has unlearned everything but its backdoor."""

import keras
import numpy as np
from numpy.typing import NDArray

from sweep import BadInput, NotApplicable, terminal
from sweep.detectors.panel.settings import is_number, require_counts, require_labelled
from sweep.detectors.panel.surety import Array, by_batches, log_probabilities
from sweep.detectors.reference import Reference, Score
from sweep.networks import forward
from sweep.training.trainee import Trainee

TINY = 1e-8  # the least belief of the expert that the one of B' is compared with


def badexpert(
    reference: Reference,
    *,
    accuracy: float = 0.2,
    epochs: int = 20,
    batch_size: int = 64,
    learning_rate: float = 0.01,
) -> Score:
    """Belief of a backdoor expert in the class that B says, where the repaired network has none.

    Score: `1 / (1 + t)`, `t = min(2 y / x, (1 - x) / (1/2 - y))`, of which the second counts only
    where `y < 1/2`. For the class that B says of an image, x is the probability that the expert
    gives it, at least 1e-8, and y that of B'. So the score is 1 where the expert is sure and B'
    not, or B' sure of something else, and it is 0.5 on `y = x / 2`.

    The expert is a copy of B that learns the reference images with labels that are all wrong,
    `(label + 1) mod classes`: it forgets the clean task before the backdoor. It learns by steps of
    Adam on batches of `batch_size`, shuffled by seed, BatchNormalization and dropout in training,
    until it is right on less than `accuracy` of them, or at most for `epochs`. A step at
    `learning_rate` moves a weight by about that share of the usual one of its layer.

    Needs: B', and clean images with labels. Does not apply where B is no more often right on these
    than `accuracy`. Raises BadInput where the expert stays above `accuracy`.

    Passes: 1 of B an image, 1 of the expert and 1 of B', which are as large.

    Source: Xie, Qi, He, Li, Wang, Mittal, "BaDExpert: Extracting Backdoor Functionality for
    Accurate Backdoor Input Detection", ICLR 2024, arXiv 2308.12439; labels and `-t` as in the
    authors' code.

    Differs: there y is that of B fine-tuned on clean images; here B' is any repaired network. There
    accuracy is looked at after each epoch on test images, with one epoch as the rule; here after
    each quarter of an epoch, on the reference images. There `1/2 - y` is at least 1e-8, so that an
    expert that is exactly sure is suspect whatever B' says.
    """
    require_counts(epochs=epochs, batch_size=batch_size)
    if not is_number(accuracy, 0, 1):
        raise BadInput(f"detector.accuracy is {accuracy!r}; expected a share between 0 and 1")
    if not is_number(learning_rate, 0):
        raise BadInput(f"detector.learning_rate is {learning_rate!r}; expected more than 0")
    require_labelled(reference)
    expert = backdoor_expert(reference, accuracy, epochs, batch_size, learning_rate)
    of_badnet, of_expert, of_repaired = (
        log_probabilities(network) for network in (reference.badnet, expert, reference.repaired)
    )

    def score(pixels: NDArray[np.float32]) -> Array:
        rows, said = np.arange(len(pixels)), of_badnet(pixels).argmax(axis=1)
        return suspicion(
            np.exp(of_expert(pixels)[rows, said]), np.exp(of_repaired(pixels)[rows, said])
        )

    return by_batches(reference.badnet, score)


def suspicion(expert: Array, repaired: Array) -> Array:
    """The score, (n,) in [0, 1], from the probabilities that both give the class that B says.

    >>> suspicion(np.array([1.0, 1.0, 0.0, 0.5]), np.array([0.0, 1.0, 1.0, 0.25])).round(3)
    array([1.   , 0.333, 0.   , 0.5  ])
    """
    x, y = np.maximum(expert, TINY), repaired
    margin = np.maximum(0.5 - y, 0)
    near_one = np.divide(margin, margin + (1 - expert), out=np.zeros_like(x), where=margin > 0)
    return np.maximum(x / (x + 2 * y), near_one)


def backdoor_expert(
    reference: Reference, accuracy: float, epochs: int, batch_size: int, learning_rate: float
) -> keras.Model:
    """Return a copy of B that is right on less than `accuracy` of the reference images."""
    labels, classes = reference.labels, reference.badnet.output_shape[-1]
    trainee = Trainee(reference.badnet, reference.seed)
    before = trainee.evaluate((reference.pixels, labels))[0]
    if classes < 2 or before <= accuracy:
        raise NotApplicable(
            f"B is right on {before:.1%} of {len(labels)} reference images; this detector makes it "
            f"unlearn them, and expects more than {accuracy:.1%} and 2 classes or more"
        )
    wrong = np.eye(classes, dtype=np.float32)[(labels + 1) % classes]
    rng = np.random.default_rng([reference.seed, 5])
    last = before
    with terminal.progress("training badexpert", epochs, "epochs at most") as done:
        for _ in range(epochs):
            order = rng.permutation(len(labels))
            for quarter in np.array_split(order, 4):
                for rows in forward.batches(len(quarter), batch_size):
                    taken = quarter[rows]
                    trainee.train_step(reference.pixels[taken], wrong[taken], learning_rate)
                last, likelihood = trainee.evaluate((reference.pixels, labels))
                if not np.isfinite(likelihood):
                    raise BadInput(
                        f"an expert at a learning rate of {learning_rate:g} has no finite scores; "
                        f"expected a smaller detector.learning_rate"
                    )
                if last < accuracy:
                    return trainee.network
            done(1)
    raise BadInput(
        f"after {epochs} epochs the expert is still right on {last:.1%} of the reference images; "
        f"expected less than {accuracy:.1%}: set more detector.epochs or a larger "
        f"detector.learning_rate"
    )
