"""What a network answers after 0, 1, 2 ... channels are pruned, for one batch of images.

The steps are taken backwards: from the state in which all channels are pruned, they are put back
one by one, the last pruned first. So shares are only ever added, and those of a silent channel, or
of none, are exactly nothing. An image's answer can change only where its state does, so a channel
that is silent on an image costs nothing there; the states that do change are answered together.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sweep.fronts import Linear, Masked
from sweep.orders import Channels

Array = NDArray[np.float32]
Answers = NDArray[np.int32]
Change = tuple[int, NDArray[np.int64], Array]  # a step, the images it changes, their states
SAME = -1  # as at the step after


def answers(
    front: Masked | Linear,
    whole: Callable[..., NDArray[np.int64]],
    maps: Array,
    beside: Sequence[Array],
    channels: Channels,
    value: Array,
    at_once: int,
) -> Answers:
    """Classes of each image at each step, (len(channels) + 1, n); step 0 is the untouched network.

    `maps`, (n, ..., channels), and the tensors `beside` are what crosses the cut, and `whole` the
    network from there; `value` holds what a pruned channel's map is, `at_once` how many states are
    answered together.
    """
    by_channel = np.moveaxis(maps.reshape(len(maps), -1, maps.shape[-1]), -1, 0)[channels]
    by_channel = np.ascontiguousarray(by_channel)
    active = (by_channel != value[channels, None, None]).any(axis=2)
    first = np.where(active.any(axis=0), active.argmax(axis=0), len(channels))

    told = np.full((len(channels) + 1, len(maps)), SAME, dtype=np.int32)
    state = front.start(maps, beside)
    everyone = np.arange(len(maps))
    for channel in np.setdiff1d(np.arange(maps.shape[-1]), channels):  # those that stay
        kept = np.ascontiguousarray(maps[..., channel]).reshape(len(maps), -1)
        front.put_back(state, everyone, channel, kept)
    changes = _changes(front, state, by_channel, active, first, channels)
    for some in _together(changes, at_once):
        rows = np.concatenate([images for _, images, _ in some])
        states = np.concatenate([state for _, _, state in some])
        classes = front.classes(states, [tensor[rows] for tensor in beside])
        for step, images, _ in some:
            told[step, images], classes = np.split(classes, [len(images)])
    for step in reversed(range(len(channels))):
        same = told[step] == SAME
        told[step, same] = told[step + 1, same]
    untouched = np.arange(len(channels) + 1)[:, None] <= first
    return np.where(untouched, whole(maps, *beside), told).astype(np.int32)


def _changes(
    front: Masked | Linear,
    state: Array,
    by_channel: Array,
    active: NDArray[np.bool_],
    first: NDArray[np.int64],
    channels: Channels,
) -> Iterator[Change]:
    """Every change of an image's state, but the last, behind which it is the untouched network's.

    `by_channel`, (channels, n, positions), and `active`, (channels, n), stand in pruning order;
    `first` is the first channel that is active, by image.
    """
    steps = len(channels)
    yield steps, np.flatnonzero(first < steps), state[first < steps]
    for step in range(steps - 1, 0, -1):
        rows = np.flatnonzero(active[step])
        if len(rows):
            front.put_back(state, rows, channels[step], by_channel[step][rows])
            rows = rows[first[rows] < step]
            yield step, rows, state[rows]


def _together(changes: Iterator[Change], at_once: int) -> Iterator[list[Change]]:
    """Gather changes until they are at least `at_once` states."""
    waiting, states = [], 0
    for change in changes:
        waiting.append(change)
        states += len(change[1])
        if states >= at_once:
            yield waiting
            waiting, states = [], 0
    if states:
        yield waiting
