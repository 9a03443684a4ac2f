"""What B' says, read off the curve, is what it says when it is run on all images."""

import keras
import numpy as np
import pytest
import zoo
from zoo import CASES, randomized

from sweep import BadInput, terminal
from sweep.data import Images
from sweep.evaluation.curve import Ranking, steps_of
from sweep.networks import digest, forward
from sweep.networks.loading import as_functional
from sweep.pruning import RepairedNetwork, activations_of, joint_cut, predict_steps
from sweep.pruning.predictions import place_of

COUNTS = {"valid": 20, "test": 50, "poisoned": 13}

#: Builder, layer (None: that of `CASES`), semantics. Not one whose scores are all the same.
NETWORKS = [
    *((zoo.lenet, None, "zero"), (zoo.lenet, ["conv_1", "conv_2"], "zero")),
    *((zoo.normalised, None, "gamma"), (zoo.residual_sum, None, "zero")),
    *((zoo.sigmoid, None, "zero"), (zoo.saturated, None, "zero")),
]


def images(shape: tuple[int, ...]) -> dict[str, Images]:
    rng = np.random.default_rng(5)
    return {
        name: Images(
            rng.normal(size=(count, *shape)).astype(np.float32), np.arange(count) % 5, key=name
        )
        for name, count in COUNTS.items()
    }


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize(("builder", "layer", "semantics"), NETWORKS)
def test_the_pruned_network_says_what_the_curve_says(builder, layer, semantics, step):
    network = as_functional(randomized(builder(zoo.untouched)))
    cut = joint_cut.cut_at(network, layer or CASES[builder][0], semantics)
    some = images(network.input_shape[1:])
    at_cut = activations_of(cut, some)
    channels = np.random.default_rng(6).permutation(cut.channels)
    ranking = Ranking(channels, np.zeros(cut.channels), step)
    by_step = predict_steps(at_cut, some, ranking)
    before = digest(network)
    for count in (0, step, cut.channels // 2 // step * step):
        read = RepairedNetwork.from_curve(cut, at_cut, by_step, ranking, count)
        run = RepairedNetwork.from_pass(read.network, network, some)
        assert run.network is read.network
        assert set(read.predicted) == set(run.predicted) == set(COUNTS)
        for name, size in COUNTS.items():
            np.testing.assert_array_equal(read.predicted[name], run.predicted[name])
            np.testing.assert_array_equal(
                run.predicted[name], forward.predict(read.network, some[name].pixels)
            )
            assert read.disagreement[name].shape == run.disagreement[name].shape == (2, size)
            np.testing.assert_allclose(read.disagreement[name], run.disagreement[name], atol=1e-5)
        if count == 0:
            np.testing.assert_allclose(run.disagreement["test"][1], 0, atol=1e-6)
    if builder is not zoo.saturated:
        assert run.disagreement["test"].max() > 1e-3, "this case shows nothing"
    assert digest(network) == before


def test_how_far_two_networks_are_apart_is_told_of_the_one_that_is_repaired(small):
    badnet, network = as_functional(small()), as_functional(small(1))
    pixels = np.random.default_rng(0).normal(size=(9, 8, 7, 3)).astype(np.float32)
    some = {"test": Images(pixels, np.zeros(9, np.int64))}
    run = RepairedNetwork.from_pass(network, badnet, some)
    p, q = (keras.ops.softmax(one(pixels)).numpy().astype(float) for one in (badnet, network))
    np.testing.assert_array_equal(run.predicted["test"], q.argmax(axis=1))
    drop = p.max(axis=1) - q[np.arange(9), p.argmax(axis=1)]
    middle = (p + q) / 2
    shannon = ((p * np.log2(p / middle)).sum(axis=1) + (q * np.log2(q / middle)).sum(axis=1)) / 2
    np.testing.assert_allclose(run.disagreement["test"], [drop, shannon], atol=1e-5)


def test_a_stop_that_is_no_step_of_the_curve_is_refused_in_a_sentence():
    assert [place_of(pruned, steps_of(10, 4)) for pruned in (0, 4, 8, 10)] == [0, 1, 2, 3]
    with pytest.raises(BadInput, match=r"ends after 9 channels, .*\(0, 4, 8 \.\.\. 10, see prune"):
        place_of(9, steps_of(10, 4))


def test_each_pass_over_all_images_says_how_far_it_is(small, monkeypatch, capsys):
    monkeypatch.setattr(terminal, "EVERY", 0.0)
    network = as_functional(small())
    cut, some = joint_cut.cut_at(network), images((8, 7, 3))
    at_cut, ranking = activations_of(cut, some), Ranking(np.arange(6), np.zeros(6))
    by_step = predict_steps(at_cut, some, ranking)
    RepairedNetwork.from_curve(cut, at_cut, by_step, ranking, 2)
    RepairedNetwork.from_pass(network, network, some)
    lines = capsys.readouterr().out.splitlines()
    last = {line.partition(":")[0].strip(): line for line in lines}
    assert last == {
        "pruning": "  pruning: 83 of 83 images",
        "comparing B'": "  comparing B': 83 of 83 images",
    }
    assert lines.count("  comparing B': 83 of 83 images") == 2
