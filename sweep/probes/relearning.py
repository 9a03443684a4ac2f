"""How soon B' learns the trigger again, beside a network that never knew it."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from sweep import BadInput, terminal
from sweep.checked import checked_by
from sweep.networks import forward
from sweep.probes.attacker import Attacker, counted
from sweep.probes.requirements import Supply
from sweep.training.defender import Batch
from sweep.training.rivals.attention import plain
from sweep.training.rivals.descent import Course, Descent


def _require_enough(
    supply: Supply, *, poisoned: Sequence[int], clean: int, **course: object
) -> None:
    """Raise BadInput where there are fewer images than B' is to learn."""
    if not supply.poisoned:
        raise BadInput(
            "probe=[relearn] teaches B' poisoned validation images, and there are none: "
            "bd/bd_valid.h5 under data.root or data.poisoned_valid; leave relearn out"
        )
    for key, value, most in (
        ("clean", clean, supply.clean),
        ("poisoned", list(poisoned), supply.poisoned),
    ):
        if np.max(value) > most:
            raise BadInput(
                f"probe.relearn.{key} is {value}; expected 1 to {most}, as many {key} validation "
                f"images as there are"
            )


@checked_by(_require_enough)
def relearn(
    attacker: Attacker,
    *,
    poisoned: Sequence[int],
    clean: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
) -> dict[str, float]:
    """Fine-tune a copy of B' with a few poisoned images among `clean` ones, and see what it does.

    For each number in `poisoned` anew. A network that never knew the trigger learns it too, the
    sooner the more images there are; so the same is done to the clean twin of B, the network
    trained without the attack, where it can be: only what B' is ahead of it was left of the
    backdoor. The images are validation images, all there are and not the defender's alone, drawn by
    seed: the smaller numbers are part of the larger, and the clean images the same. The poisoned
    ones have the target's label, also where B was attacked with right labels alone.

    SGD with momentum 0.9, nothing augmented, the rate falling to 0 on a half cosine. The attacker
    is bound by no rule of the defender's: weights that are 0 because a channel was pruned may
    change like all others. Just before a ReLU they have no gradient and stay; before a sum they
    come back. What was masked, clipped or shrunk stays so.

    Source: Min, Qin, Zhang, Shen, Cheng, "Uncovering, Explaining, and Mitigating the Superficial
    Safety of Backdoor Defense", NeurIPS 2024, arXiv 2410.09838, whose retuning attack takes five
    epochs at a rate of 0.01 and a momentum of 0.9.

    Differs: there the poisoned images are 5 of 1,000, a batch has 128, the rate stays, and clean
    images are augmented. Rates are those of images from 0 to 1, as in `ft_sam`.
    """
    course = Course(epochs, batch_size, learning_rate, 0.0, 0.0, 0.0, keeps_pruned=False)
    networks = {"": attacker.repaired}
    if attacker.make_twin is not None:
        networks["twin/"] = attacker.make_twin()
    mixtures = _mixtures(attacker, poisoned, clean)
    learned = sum(epochs * len(labels) for _, labels in mixtures.values())
    total = len(networks) * (learned + len(mixtures) * attacker.judging)
    rates: dict[str, float] = {}
    with terminal.progress("relearning", total, "images") as done:
        for name, network in networks.items():
            for count, images in mixtures.items():
                descent = Descent(_Pupil(network, images[0], attacker.seed), course)
                epoch = forward.scaled(done, len(images[1]))
                taught = descent.run(plain(descent), images, epoch)
                found = attacker.rates(taught, done)
                rates |= {f"{name}{count}/{rate}": value for rate, value in found.items()}
    return rates


@dataclass(frozen=True)
class _Pupil:
    """A network, the images that it is to learn, and the seed."""

    network: keras.Model
    pixels: NDArray[np.float32]
    seed: int


def _mixtures(attacker: Attacker, poisoned: Sequence[int], clean: int) -> dict[int, Batch]:
    """The images of each number of poisoned ones, which stand behind the `clean` ones."""
    rng = np.random.default_rng([attacker.seed, 10])
    valid, stamped = attacker.files.read_clean("valid"), attacker.files.read("poisoned_valid")
    assert stamped is not None  # `_require_enough`
    stamped = counted(stamped)
    rows, behind = rng.permutation(len(valid))[:clean], rng.permutation(len(stamped))
    pixels, labels = valid.pixels.take(rows, axis=0)[:], valid.labels[rows]
    mixtures = {}
    for count in poisoned:
        more = behind[:count]
        mixtures[count] = (
            np.concatenate([pixels, stamped.pixels.take(more, axis=0)[:]]),
            np.concatenate([labels, stamped.labels[more]]),
        )
    return mixtures
