"""Which channels are pruned, in which order: an order asked once, or again after each channel.

All of it reads clean validation images alone; only an oracle is handed poisoned ones.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import keras
import numpy as np
from numpy.typing import NDArray

from sweep import NotApplicable, terminal
from sweep.data import Images
from sweep.evaluation.curve import Channels, Ranking, Scores
from sweep.pruning import requirements
from sweep.pruning.activations import Activations, LayerActivations, Progress, no_progress
from sweep.pruning.evidence import Order, Seed
from sweep.pruning.joint_cut import JointCut
from sweep.pruning.layer_cut import Cut
from sweep.pruning.ranking import following, together

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
            "channel; take prune.recompute=false"
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
) -> Ranking:
    """Rank the channels of all layers of the cut, on `valid`, clean validation images there.

    scope: how several layers go together, see `ranking.together`.
    recompute: rank again, in the network as it is then, after each channel.
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
        channels, scores = valid.get_or_compute(
            "ranking",
            [order, seeds, scope, names],
            lambda: _rank_again(order, valid, states, scope),
            *requirements.code_of(order),
        )
        return Ranking(channels.astype(np.int64), scores)

    defender = valid.defender(seed) if requirements.is_learned(order) else None
    with _progress(order, len(valid) * len(layers)) as done:
        scores_by_layer = [
            state.activations.scores(order, state.seed, done, state.pairs, defender)
            for state in states
        ]
    return together(scores_by_layer, scope)


class LayerState:
    """One layer while channels are pruned one by one: what an order sees of it, what is left of it.

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

    def prune(self, place: int) -> int:
        """The channel at one place among those left, which is left no more."""
        channel = int(self.left[place])
        self.left, self.scores = np.delete(self.left, place), None
        return channel

    def move_to(self, network: keras.Model) -> None:
        """See the layer in `network` from now on, a pruned copy; nothing of that is cached."""
        cut = self.activations.cut
        self._start(self.activations.with_cut(Cut(network, cut.layer, cut.semantics)))
        self.scores = None

    def _start(self, activations: LayerActivations) -> None:
        self.activations = activations
        pairs = [activations.with_images(images) for images in self._images]
        self.pairs = (pairs[0], pairs[1]) if pairs else ()


def _rank_again(
    order: Order, valid: Activations, states: Sequence[LayerState], scope: str
) -> NDArray:
    """Channels in pruning order and their scores, (2, channels), ranked anew after each."""
    channels: list[int] = []
    scores: list[float] = []
    with terminal.progress("ranking", valid.cut.channels, "channels") as done:
        while len(channels) < valid.cut.channels:
            scores_left = [_scores_left(order, state, bool(channels)) for state in states]
            layer, place, score = following(scores_left, [s.pruned for s in states], scope)
            channels.append(valid.cut.index_of(layer, states[layer].prune(place)))
            scores.append(score)

            changed = [states[place] for place in _changed(order, layer, len(states))]
            if any(len(state.left) for state in changed):
                network = valid.cut.pruned(channels)
                for state in changed:
                    state.move_to(network)
            done(1)
    return np.array([channels, scores])


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
    """The layers at which `order` sees something else when a channel of `layer` is pruned."""
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
