"""Which channels are pruned, in which order: an order asked once, or again after each channel.

All of it reads clean validation images alone; only an oracle is handed poisoned ones.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from sweep import NotApplicable, terminal
from sweep.data import Images
from sweep.evaluation.curve import Channels, Ranking, Scores
from sweep.pruning import requirements
from sweep.pruning.activations import Activations, Progress, Seed
from sweep.pruning.evidence import Order
from sweep.pruning.joint_cut import JointCut
from sweep.pruning.layer_cut import Cut
from sweep.pruning.ranking import following, together
from sweep.training import Defender

#: What of a network changes when channels are pruned: at the layers behind these, and anywhere.
FLOWS = {"activations", "preactivations", "norm", "poisoned"}
ANYWHERE = {"gradients"}


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
    several = len(valid.parts) > 1
    seeds = [[seed, place] if several else seed for place in range(len(valid.parts))]
    images = pairs() if requirements.is_oracle(order) else ()
    defender = valid.defender(seed) if requirements.is_learned(order) else None
    parts = [
        Seen(part, own, images, defender) for part, own in zip(valid.parts, seeds, strict=True)
    ]
    if not recompute:
        with _progress(order, len(valid) * len(parts)) as done:
            return together([part.scores(order, done) for part in parts], scope)

    names = [[some.name for some in part.pairs] for part in parts]
    channels, scores = valid.get_or_compute(
        "ranking",
        [order, seeds, scope, names],
        lambda: _again(order, valid, parts, scope),
        *requirements.code_of(order),
    )
    return Ranking(channels.astype(np.int64), scores)


class Seen:
    """What an order sees of one layer: clean images there, and for an oracle the poisoned pairs.

    One that trains sees a `defender` too, the same for all layers.
    """

    def __init__(
        self,
        valid: Activations,
        seed: Seed,
        images: Sequence[Images] = (),
        defender: Defender | None = None,
    ) -> None:
        self.valid, self._seed, self._images, self._defender = valid, seed, images, defender
        self.pairs = tuple(valid.of(some) for some in images)

    def scores(self, order: Order, progress: Progress) -> Scores:
        """The scores of all channels, kept for the next cell."""
        return self.valid.scores(order, self._seed, progress, self.pairs, self._defender)

    def scores_of(self, order: Order, left: Channels) -> Scores:
        """The scores of the channels that are `left`, as if there were no others."""
        if not len(left):
            return np.empty(0)
        seen = self.valid.evidence(self._seed, pairs=self.pairs)
        return np.asarray(order(seen.of(left)))

    def within(self, network: keras.Model) -> "Seen":
        """The same layer in `network`, a pruned copy; nothing of that is kept."""
        cut = Cut(network, self.valid.cut.layer, self.valid.cut.semantics)
        return Seen(self.valid.at(cut), self._seed, self._images)


@contextmanager
def _progress(order: Order, images: int) -> Iterator[Progress]:
    """Show how many images `order` has read; one that trains shows how far it is itself."""
    if requirements.is_learned(order):
        yield lambda images: None
        return
    with terminal.progress("ranking", images, "images") as done:
        yield done


def _again(order: Order, valid: Activations, parts: Sequence[Seen], scope: str) -> NDArray:
    """Channels in pruning order and their scores, (2, channels), ranked anew after each."""
    required, seen = requirements.needs_of(order), list(parts)
    left = [np.arange(part.valid.cut.channels) for part in parts]
    scores: list[Any] = [None] * len(parts)
    pruned: list[tuple[int, float]] = []
    with terminal.progress("ranking", valid.cut.channels, "channels") as done:
        stale = set(range(len(parts)))
        while any(map(len, left)):
            for layer in stale:
                try:
                    scores[layer] = seen[layer].scores_of(order, left[layer])
                except NotApplicable:  # some last channels may have nothing to be told apart by
                    if not pruned:
                        raise
                    scores[layer] = np.zeros(len(left[layer]))
            taken = [
                part.valid.cut.channels - len(own) for part, own in zip(parts, left, strict=True)
            ]
            layer, place, score = following(scores, taken, scope)
            pruned.append((valid.cut.index_of(layer, left[layer][place]), score))
            left[layer] = np.delete(left[layer], place)
            changed = _changed(required, layer, len(parts))
            if any(len(left[behind]) for behind in changed):
                network = valid.cut.pruned([channel for channel, _ in pruned])
                for behind in changed:
                    seen[behind] = parts[behind].within(network)
            stale = {layer} | changed
            done(1)
    return np.array(pruned).T


def _changed(needs: Iterable[str], layer: int, layers: int) -> set[int]:
    """The layers at which an order sees something else when a channel of `layer` is pruned."""
    if ANYWHERE & set(needs):
        return set(range(layers))
    return set(range(layer + 1, layers)) if FLOWS & set(needs) else set()
