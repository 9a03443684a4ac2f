"""Which channels are pruned, in which order: an order asked once, or again after each step.

All of it reads clean validation images alone; only an oracle is handed poisoned ones.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import keras
import numpy as np
from numpy.typing import NDArray

from sweep import NotApplicable, terminal
from sweep.data import Images
from sweep.evaluation.curve import Channels, Ranking, Scores, steps_of
from sweep.networks.forward import Progress, no_progress
from sweep.pruning import requirements
from sweep.pruning.activations import Activations, LayerActivations
from sweep.pruning.evidence import Order, Seed
from sweep.pruning.joint_cut import JointCut
from sweep.pruning.layer_cut import Cut
from sweep.pruning.ranking import together

#: Needs whose values change at the layers behind one in which a channel is pruned.
CHANGED_BEHIND = {"activations", "preactivations", "norm", "poisoned"}
#: Needs whose values change at all layers then.
CHANGED_EVERYWHERE = {"gradients"}


def require(order: Order, cut: Cut | JointCut, recompute: bool = False) -> None:
    """Raise NotApplicable where `order` needs what is not there at one of the layers of `cut`.

    To `recompute` the scores is not for orders that train.
    """
    if recompute and requirements.is_learned(order):
        raise NotApplicable(
            "this order trains, and with prune.recompute=true it would train again after each "
            "step; take prune.recompute=false"
        )
    for part in cut.parts:
        producer = part.producer
        there = {
            "weights": producer.weights,
            "norm": producer.norm([]),
            "preactivations": producer.has_preactivation or None,
            "gradients": producer.differentiable or None,
        }
        requirements.require(order, part.layer, there)


def rank(
    order: Order,
    valid: Activations,
    *,
    scope: str,
    recompute: bool,
    seed: int,
    pairs: Callable[[], tuple[Images, Images]],
    step: float = 1,
) -> Ranking:
    """Rank the channels of all layers of the cut, on `valid`, clean validation images there.

    scope: how several layers go together, see `ranking.together`.
    step: channels that are pruned at a time, see `curve.steps_of`.
    recompute: rank again, in the network as it is then, after each step.
    pairs: clean images and what was poisoned of them; called for an oracle alone.
    """
    require(order, valid.cut, recompute)
    layers, images = valid.layers, pairs() if requirements.is_oracle(order) else ()
    seeds: list[Seed] = [[seed, place] for place in range(len(layers))]
    if len(layers) == 1:
        seeds = [seed]
    states = [
        LayerState(layer, of_layer, images) for layer, of_layer in zip(layers, seeds, strict=True)
    ]
    if recompute:
        names = [[image.name for image in state.pairs] for state in states]
        steps = steps_of(valid.cut.channels, step).tolist()
        channels, scores = valid.get_or_compute(
            "ranking",
            [order, seeds, scope, names, steps],
            lambda: _rank_again(order, valid, states, scope, steps),
            *requirements.code_of(order),
        )
        return Ranking(channels.astype(np.int64), scores, step)

    defender = valid.defender(seed) if requirements.is_learned(order) else None
    with _progress(order, len(valid) * len(layers)) as done:
        scores_by_layer = [
            state.activations.scores(order, state.seed, done, state.pairs, defender)
            for state in states
        ]
    return replace(together(scores_by_layer, scope), step=step)


class LayerState:
    """One layer while channels are pruned step by step: what an order sees of it, and what is left.

    activations: at that layer, in the network as it is pruned by then.
    pairs: of the same layer, on clean and on poisoned `images`; for an oracle alone.
    left: channels that are not pruned, by their numbers in the layer.
    scores: of those, (left,); None where they are to be computed anew.
    """

    def __init__(
        self, activations: LayerActivations, seed: Seed, images: Sequence[Images] = ()
    ) -> None:
        self.seed, self._images = seed, images
        self.left: Channels = np.arange(activations.cut.channels)
        self.scores: Scores | None = None
        self._start(activations)

    @property
    def pruned(self) -> int:
        """How many channels of the layer are pruned."""
        return self.activations.cut.channels - len(self.left)

    def score(self, order: Order) -> Scores:
        """The scores of the channels that are left, as if there were no others; kept."""
        if self.scores is None:
            self.scores = np.empty(0)
            if len(self.left):
                evidence = self.activations.evidence(self.seed, no_progress, self.pairs)
                self.scores = np.asarray(order(evidence.select(self.left)))
        return self.scores

    def prune(self, channels: Channels) -> None:
        """Leave `channels` no more, by their numbers in the layer."""
        if len(channels):
            self.left, self.scores = np.setdiff1d(self.left, channels), None

    def move_to(self, network: keras.Model) -> None:
        """See the layer in `network` from now on, a pruned copy; nothing of that is cached."""
        self._start(self.activations.with_cut(self.activations.cut.of_network(network)))
        self.scores = None

    def _start(self, activations: LayerActivations) -> None:
        self.activations = activations
        pairs = [activations.with_images(images) for images in self._images]
        self.pairs = (pairs[0], pairs[1]) if pairs else ()


def _rank_again(
    order: Order, valid: Activations, states: Sequence[LayerState], scope: str, steps: Sequence[int]
) -> NDArray:
    """Channels in pruning order and their scores, (2, channels), ranked anew after each step."""
    cut, ranked = valid.cut, np.empty((2, 0))
    with terminal.progress("ranking", cut.channels, "channels") as done:
        for before, after in pairwise(steps):
            scores_left = [_scores_left(order, state, before > 0) for state in states]
            of_left = together(scores_left, scope, [state.pruned for state in states])
            left = [cut.index_of(part, c) for part, state in enumerate(states) for c in state.left]
            count = after - before
            channels = np.array(left)[of_left.channels[:count]]
            ranked = np.append(ranked, [channels, of_left.scores[:count]], axis=1)

            by_layer = cut.split_by_layer(channels)
            for state, pruned in zip(states, by_layer, strict=True):
                state.prune(pruned)
            nearest = min(layer for layer, pruned in enumerate(by_layer) if len(pruned))
            changed = [states[layer] for layer in _changed(order, nearest, len(states))]
            if any(len(state.left) for state in changed):
                network = cut.pruned(ranked[0])
                for state in changed:
                    state.move_to(network)
            done(len(channels))
    return ranked


def _scores_left(order: Order, state: LayerState, is_begun: bool) -> Scores:
    """The scores of the channels left; equal ones where, once `is_begun`, nothing tells them."""
    try:
        return state.score(order)
    except NotApplicable:  # some last channels may have nothing to be told apart by
        if not is_begun:
            raise
        state.scores = np.zeros(len(state.left))
        return state.scores


def _changed(order: Order, layer: int, layers: int) -> range:
    """The layers at which `order` sees something else when channels from `layer` on are pruned."""
    needs = requirements.needs_of(order)
    if CHANGED_EVERYWHERE & needs:
        return range(layers)
    return range(layer + 1, layers) if CHANGED_BEHIND & needs else range(0)


@contextmanager
def _progress(order: Order, images: int) -> Iterator[Progress]:
    """Show how many images `order` has read; one that trains shows how far it is itself."""
    if requirements.is_learned(order):
        yield no_progress
        return
    with terminal.progress("ranking", images, "images") as done:
        yield done
