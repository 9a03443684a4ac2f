"""Which channels, in which order: once, or anew in the network as it is pruned by then."""

from functools import partial

import keras
import numpy as np
import pytest
from zoo import lenet, normalised, randomized, residual_sum, untouched

from sweep import NotApplicable, orders
from sweep.cache import Cache
from sweep.data import Images
from sweep.networks.loading import as_functional
from sweep.pruning import (
    Activations,
    Cut,
    Evidence,
    LayerActivations,
    Oracle,
    cut_at,
    needs,
    requirements,
    scoring,
)
from sweep.pruning.ranking import ranking, standardised, together

PIXELS = np.random.default_rng(7).normal(size=(30, 12, 12, 3)).astype(np.float32)
LABELS = np.arange(30) % 4


def images(pixels: np.ndarray = PIXELS, key: str = "") -> Images:
    return Images(pixels, LABELS[: len(pixels)], key=key)


def never() -> tuple[Images, Images]:
    raise AssertionError("a defender's order was handed poisoned images")


def rank(order, valid, *, scope="global", recompute=False, seed=0, pairs=never, step=1):
    how = {"scope": scope, "recompute": recompute, "seed": seed, "step": step}
    return scoring.rank(partial(order), valid, **how, pairs=pairs)


@pytest.fixture
def network() -> keras.Model:
    return as_functional(randomized(lenet(untouched)))


@pytest.fixture
def two(network) -> Activations:
    return Activations(cut_at(network, ["conv_1", "conv_2"]), images())


def mean_of(network: keras.Model, layer: str) -> np.ndarray:
    maps = keras.Model(network.inputs[0], network.get_layer(layer).output)(PIXELS)
    return np.asarray(maps, np.float64).mean(axis=(0, 1, 2))


def test_one_layer_goes_by_its_scores(network):
    valid = LayerActivations(Cut(network, "conv_2"), images(), ranked=True)
    ranked = rank(orders.mean_activation, valid)
    scores = mean_of(network, "conv_2")
    np.testing.assert_array_equal(ranked.channels, np.argsort(scores, kind="stable"))
    np.testing.assert_allclose(ranked.scores, standardised(scores)[ranked.channels], atol=1e-4)


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_several_layers_go_by_the_scores_of_each(scope, network, two):
    ranked = rank(orders.mean_activation, two, scope=scope)
    by_hand = together([mean_of(network, "conv_1"), mean_of(network, "conv_2")], scope)
    np.testing.assert_array_equal(ranked.channels, by_hand.channels)


def test_random_is_drawn_for_each_layer_apart_and_for_one_as_ever(network):
    joint = Activations(cut_at(network, ["conv_1", "conv_2"]), images())
    seen = []

    @needs()
    def looks(evidence: Evidence) -> np.ndarray:
        seen.append(evidence.seed)
        return np.arange(float(evidence.channels))

    rank(looks, joint, seed=5)
    rank(looks, joint.layers[0], seed=5)
    assert seen == [[5, 0], [5, 1], 5]
    alone = rank(orders.random, joint.layers[0], seed=5).channels
    permutation = np.random.default_rng(5).permutation(len(alone))
    np.testing.assert_array_equal(alone, ranking(permutation))


def test_a_ranking_knows_the_steps_of_its_curve_and_is_the_same_whatever_they_are(two):
    every, some = (rank(orders.mean_activation, two, step=step) for step in (1, 0.3))
    np.testing.assert_array_equal(some.channels, every.channels)
    np.testing.assert_array_equal(some.scores, every.scores)
    np.testing.assert_array_equal(every.steps, np.arange(11))
    assert some.steps.tolist() == [0, 3, 6, 9, 10]


@pytest.mark.parametrize("step", [1, 4])
@pytest.mark.parametrize("order", [orders.mean_activation, orders.l1_norm, orders.apoz])
def test_ranking_again_changes_nothing_where_channels_of_a_layer_do_not_touch(order, step, network):
    valid = LayerActivations(Cut(network, "conv_2"), images(), ranked=True)
    once, again = (rank(order, valid, recompute=again, step=step) for again in (False, True))
    np.testing.assert_array_equal(once.channels, again.channels)
    np.testing.assert_array_equal(once.steps, again.steps)


def test_ranking_again_leaves_the_pruned_filters_out(network):
    valid = LayerActivations(Cut(network, "conv_2"), images(), ranked=True)
    filters = valid.cut.weights.reshape(-1, valid.cut.channels).T.astype(np.float64)
    left, by_hand = list(range(len(filters))), []
    while left:
        distances = [sum(np.linalg.norm(filters[a] - filters[b]) for b in left) for a in left]
        by_hand.append(left.pop(int(np.argmin(distances))))
    again = rank(orders.fpgm, valid, recompute=True).channels
    assert again.tolist() == by_hand


def test_ranking_again_happens_at_the_steps_of_the_curve_alone(network):
    valid = LayerActivations(Cut(network, "conv_2"), images(), ranked=True)
    filters = valid.cut.weights.reshape(-1, valid.cut.channels).T.astype(np.float64)
    left, by_hand = np.arange(len(filters)), []
    while len(left):
        distances = [sum(np.linalg.norm(filters[a] - filters[b]) for b in left) for a in left]
        taken = left[np.argsort(distances, kind="stable")[:4]]
        by_hand, left = [*by_hand, *taken], np.setdiff1d(left, taken)
    again = rank(orders.fpgm, valid, recompute=True, step=4).channels
    assert again.tolist() == by_hand


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_ranking_again_after_a_step_of_several_layers_sees_all_of_it_pruned(scope, network, two):
    first, second = (part.channels for part in two.cut.parts)
    by_hand = []
    while len(by_hand) < first + second:
        now = two.cut.pruned(by_hand)
        gone = [[c for c in by_hand if c < first], [c for c in by_hand if c >= first]]
        left = [np.setdiff1d(np.arange(first), gone[0])]
        left += [np.setdiff1d(np.arange(first, first + second), gone[1])]
        means = np.append(mean_of(now, "conv_1"), mean_of(now, "conv_2"))
        ranked = together([means[own] for own in left], scope, [len(some) for some in gone])
        by_hand += np.concatenate(left)[ranked.channels[:4]].tolist()
    again = rank(orders.mean_activation, two, scope=scope, recompute=True, step=4)
    assert again.channels.tolist() == by_hand
    once = rank(orders.mean_activation, two, scope=scope, step=4)
    assert again.channels.tolist() != once.channels.tolist()


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_ranking_again_sees_the_network_as_it_is_pruned_by_then(scope, network, two):
    first, second = (part.channels for part in two.cut.parts)
    left, by_hand = [list(range(first)), list(range(second))], []
    while any(left):
        now = two.cut.pruned(by_hand)
        means = [mean_of(now, "conv_1")[left[0]], mean_of(now, "conv_2")[left[1]]]
        turns = []
        for layer, (own, size) in enumerate(zip(means, (first, second), strict=True)):
            if len(own):
                share = (size - len(own) + 1) / size
                turns.append((share if scope == "layer" else standardised(own).min(), layer))
        layer = min(turns)[1]
        channel = left[layer].pop(int(np.argmin(means[layer])))
        by_hand.append(channel + layer * first)
    again = rank(orders.mean_activation, two, scope=scope, recompute=True).channels
    assert again.tolist() == by_hand
    assert again.tolist() != rank(orders.mean_activation, two, scope=scope).channels.tolist()


def test_ranking_again_asks_for_gradients_of_the_pruned_network(network):
    valid = LayerActivations(Cut(network, "conv_2"), images(), ranked=True)
    left, by_hand = list(range(valid.cut.channels)), []
    while left:
        now = LayerActivations(Cut(valid.cut.pruned(by_hand), "conv_2"), images())
        scores = orders.taylor(now.evidence(0), batch_size=8)[left]
        by_hand.append(left.pop(int(np.argmin(scores))))
    again = rank(partial(orders.taylor, batch_size=8), valid, recompute=True).channels
    assert again.tolist() == by_hand


def test_a_ranking_made_again_and_again_is_kept(network, tmp_path):
    kept = LayerActivations(Cut(network, "conv_2"), images(key="some"), Cache(str(tmp_path), 1, 0))
    first = rank(orders.fpgm, kept, recompute=True)
    asked = []

    @needs("weights")
    def counting(evidence: Evidence) -> np.ndarray:
        asked.append(evidence.channels)
        return np.zeros(evidence.channels)

    for _ in range(2):
        rank(counting, kept, recompute=True)
    assert asked == list(range(kept.cut.channels, 0, -1))
    asked.clear()
    for step in (4, 4, 0.6):
        rank(counting, kept, recompute=True, step=step)
    assert asked == list(range(kept.cut.channels, 0, -4))
    np.testing.assert_array_equal(rank(orders.fpgm, kept, recompute=True).scores, first.scores)


def louder(pixels: np.ndarray) -> np.ndarray:
    return pixels + np.linspace(0, 2, len(pixels), dtype=np.float32)[:, None, None, None]


def pairs() -> tuple[Images, Images]:
    return images(PIXELS[::2], "clean"), images(louder(PIXELS[::2]), "poisoned")


@pytest.mark.parametrize("recompute", [False, True])
def test_an_oracle_alone_is_handed_the_pairs(recompute, network, two):
    maps = keras.Model(network.inputs[0], network.get_layer("conv_2").output)
    clean, bad = (np.asarray(maps(some.pixels), np.float64) for some in pairs())
    change = np.sqrt(np.square(bad - clean).sum(axis=(1, 2))).mean(axis=0)
    ranked = rank(orders.tac, two.layers[1], pairs=pairs, recompute=recompute)
    np.testing.assert_array_equal(ranked.channels, np.argsort(-change, kind="stable"))


def test_an_oracle_of_other_pairs_is_asked_again(network, tmp_path):
    kept = LayerActivations(Cut(network, "conv_2"), images(key="some"), Cache(str(tmp_path), 1, 0))
    asked = []

    @needs("poisoned")
    def peeks(evidence: Oracle) -> np.ndarray:
        asked.append(sum(map(len, evidence.poisoned.maps)))
        return np.zeros(evidence.channels)

    def fewer() -> tuple[Images, Images]:
        return images(PIXELS[:4], "four"), images(louder(PIXELS[:4]), "four poisoned")

    for some in (pairs, pairs, fewer):
        rank(peeks, kept, pairs=some)
    assert asked == [15, 4]


def test_a_defenders_order_has_no_poisoned_images_to_look_at(two):
    def curious(evidence: Evidence) -> np.ndarray:
        assert not isinstance(evidence, Oracle)
        assert not hasattr(evidence, "poisoned")
        return np.zeros(evidence.channels)

    rank(curious, two)  # and `never` is not called


@pytest.mark.parametrize(
    ("order", "layer", "says"),
    [
        (orders.l1_norm, "add", "needs the weights"),
        (orders.bnp, "add", "needs a BatchNormalization"),
        (orders.taylor, "add", "needs the gradient of the loss"),
    ],
)
def test_an_order_does_not_apply_where_something_it_needs_is_missing(order, layer, says):
    at = cut_at(as_functional(randomized(residual_sum(untouched))), layer)
    with pytest.raises(NotApplicable, match=f"{says}.* at 'add' there is none"):
        scoring.require(partial(order), at)


def test_one_layer_without_what_an_order_needs_is_enough():
    network = as_functional(randomized(residual_sum(untouched)))
    convolution = next(name.name for name in network.layers if name.name.startswith("conv"))
    with pytest.raises(NotApplicable, match="at 'add'"):
        scoring.require(orders.l1_norm, cut_at(network, [convolution, "add"]))


def test_an_order_with_all_it_needs_applies():
    at = cut_at(as_functional(randomized(normalised(untouched))), "conv_2")
    for order in (orders.bnp, orders.clp, orders.taylor, orders.ep, orders.mean_activation):
        scoring.require(order, at)
    assert requirements.is_oracle(orders.ep)


def test_an_order_that_declares_it_alone_is_given_the_network_and_the_images_to_train(two):
    given = []

    @needs("training")
    def trains(evidence: Evidence) -> np.ndarray:
        given.append(evidence.training)
        return np.zeros(evidence.channels)

    def other(evidence: Evidence) -> np.ndarray:
        assert evidence.training is None
        return np.zeros(evidence.channels)

    rank(other, two)
    rank(trains, two, seed=3)
    first, second = given
    assert first.defender is second.defender
    assert first.defender.network is two.cut.network
    assert first.defender.seed == 3
    assert [some.cut for some in given] == two.cut.parts
    with pytest.raises(NotApplicable, match="it would train again"):
        rank(trains, two, recompute=True)


def test_channels_that_nothing_tells_apart_any_more_go_by_their_numbers(network):
    valid = LayerActivations(Cut(network, "conv_2"), images(), ranked=True)

    def fussy(evidence: Evidence) -> np.ndarray:
        if evidence.channels < 4:
            raise NotApplicable("nothing to tell them by")
        return -np.arange(float(evidence.channels))

    count = valid.cut.channels
    again = rank(fussy, valid, recompute=True).channels
    assert again.tolist() == [*range(count - 1, 2, -1), 0, 1, 2]


def test_an_order_that_has_nothing_to_tell_from_the_start_does_not_apply(network):
    valid = LayerActivations(Cut(network, "conv_2"), images(), ranked=True)

    def never_applies(evidence: Evidence) -> np.ndarray:
        raise NotApplicable("nothing to tell them by")

    for recompute in (False, True):
        with pytest.raises(NotApplicable, match="nothing to tell them by"):
            rank(never_applies, valid, recompute=recompute)
