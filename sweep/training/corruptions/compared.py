"""What corruptions do to a network, beside another one that has no backdoor."""

from dataclasses import dataclass

import numpy as np

from sweep import terminal
from sweep.training.corruptions.families import Corruption
from sweep.training.corruptions.heeded import Shares, Trial, most_heeded
from sweep.training.defender import Defender

TRIED = 128  # images on which a corruption is tried in both


@dataclass(frozen=True)
class Compared:
    """What the corruptions of a family turn images into, in a network and in its reference.

    shares, reference: as `Heeded.shares`, of those that the network heeds most what one does at
        most, in the network and in the reference, (classes + 1,).
    corruptions: for each of these places that which does most in the network.
    """

    shares: Shares
    reference: Shares
    corruptions: list[Corruption]


def compare(defender: Defender, reference: Defender) -> dict[str, Compared]:
    """Return by family what those corruptions do that the defender's network heeds most.

    The same are tried on the network of `reference`, which learned the same images: what a class
    looks like by nature turns images there too. Tried are clean validation images, of each network
    some that it is right on.
    """
    found, trials = most_heeded(defender), [Trial(each) for each in (defender, reference)]
    result = {}
    total = 2 * TRIED * sum(len(heeded.corruptions) for heeded in found.values())
    with terminal.progress("comparing", total, "images") as done:
        for family, heeded in found.items():
            shares, beside = (
                trial.run(heeded.corruptions, TRIED, np.random.default_rng(defender.seed), done)[0]
                for trial in trials
            )
            most = [heeded.corruptions[place] for place in shares.argmax(axis=0)]
            result[family] = Compared(shares.max(axis=0), beside.max(axis=0), most)
    return result
