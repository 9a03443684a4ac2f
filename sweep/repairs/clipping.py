"""UNIT: clip what no clean image needs."""

from dataclasses import asdict

import keras

from sweep import NotApplicable, terminal
from sweep.networks.graph import Graph
from sweep.training import Defender
from sweep.training.fine_tuning import split
from sweep.training.rivals.bounds import Tightening, tightened
from sweep.training.rivals.clipped_network import activation_nodes, clipped
from sweep.training.transforms import Array


def unit(
    defender: Defender,
    *,
    steps: int,
    learning_rate: float,
    deviations: float,
    drop: float,
    held_out: float,
    images: int | None = None,
) -> keras.Model:
    """Clip every activation from above, as tightly as clean accuracy allows (UNIT).

    Each has a bound of its own, at each position: to begin with its mean and `deviations` times its
    standard deviation over clean images. Then `steps` of Adam lower the mean cross-entropy of all
    images and the mean bound of each layer, which weighs more as long as accuracy on the share
    `held_out` is at most `drop` below B' as it was, and less when not. The tightest bounds that
    keep it so are taken, those of the last step if none do. No weight of B' changes; the clips are
    stock layers of the network that is saved. Raises NotApplicable without an activation.

    Source: Cheng, Shen, Zhang, Tao, An, Guo, Ma, Zhang, "UNIT: Backdoor Mitigation via Automated
    Neural Distribution Tightening", ECCV 2024, arXiv 2407.11372. Settings, and how the weight of
    the bounds is found, are those of the published code.

    Differs: bounds are in units of the standard deviation in their layer, so that a learning rate
    serves networks of any scale; there BatchNormalization sees to that. There images are augmented,
    once.
    """
    if not activation_nodes(Graph(defender.network)):
        raise NotApplicable("this repair clips activations, and the network has none; leave it out")
    settings = Tightening(steps, learning_rate, deviations, drop)

    def compute() -> dict[str, Array]:
        learned, judges = split(defender.sample(images), held_out)
        with terminal.progress("unit", steps, "steps") as done:
            bounds = tightened(defender.network, learned, judges, settings, done)
        return {f"{place:05}": bound for place, bound in enumerate(bounds)}

    bounds = defender.get_or_compute("unit", [images, held_out, asdict(settings)], compute)
    return clipped(defender.network, [*bounds.values()])
