"""Remove the channels that were pruned: a smaller network of the same outputs."""

import keras

from sweep.networks import shrunk
from sweep.training import Defender


def shrink(defender: Defender) -> keras.Model:
    """Remove the channels that are pruned, and cut what reads them to match.

    Outputs stay as they are, but for rounding; the file is smaller, and a pass often faster. A
    channel counts as pruned if it is the same whatever the image. Those that a sum or a layer of
    unknown kind needs may stay.
    """
    return shrunk(defender.network)
