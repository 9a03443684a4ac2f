"""What a network answers after 0, 1, 2 ... channels are pruned, for one batch of images.

The steps are taken backwards: from the state in which all channels are pruned, they are put back
one by one, the last pruned first. So shares are only ever added, and those of a silent channel, or
of none, are exactly nothing. An image's answer can change only where its state does, so a channel
that is silent on an image costs nothing there.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from sweep.fronts import Front
from sweep.ranking import Channels

Array = NDArray[np.float32]


def answers(
    front: Front,
    whole: Callable[..., NDArray[np.int64]],
    maps: Array,
    beside: Sequence[Array],
    channels: Channels,
    value: Array,
) -> NDArray[np.int32]:
    """Classes of each image at each step, (len(channels) + 1, n); step 0 is the untouched network.

    `maps`, (n, ..., channels), and the tensors `beside` are what crosses the cut, and `whole` is
    the network from there; `value`, (channels,), is what the map of a pruned channel holds.
    """
    steps = len(channels)
    active = _active(maps, value)[channels]  # in pruning order
    first = np.where(active.any(axis=0), active.argmax(axis=0), steps)  # to change an image
    state = front.start(maps, beside)
    for channel in np.setdiff1d(np.arange(len(value)), channels):  # those that are never pruned
        state = front.put_back(state, channel)

    told = np.empty((steps + 1, len(maps)), dtype=np.int32)
    told[steps] = front.classes(state)
    for step in reversed(range(1, steps)):  # channels[step] is the first that is not pruned
        told[step] = told[step + 1]
        if active[step].any():
            state = front.put_back(state, channels[step])
        rows = np.flatnonzero(active[step] & (first < step))
        if len(rows):
            told[step, rows] = front.classes(state, None if len(rows) == len(maps) else rows)
    # until the first channel that is active on it is pruned, an image is as it was
    untouched = np.arange(steps + 1)[:, None] <= first
    return np.where(untouched, whole(maps, *beside), told).astype(np.int32)


def _active(maps: Array, value: Array) -> NDArray[np.bool_]:
    """On which images each channel is not as if it were pruned, (channels, n)."""
    return (maps.reshape(len(maps), -1, len(value)) != value).any(axis=1).T
