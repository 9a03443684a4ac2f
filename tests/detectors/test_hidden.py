"""Where hidden layers are found, and what a pass gives of them."""

import keras
import numpy as np
import pytest
import zoo
from keras import layers

from sweep import BadInput, NotApplicable
from sweep.detectors.panel.hidden import hidden_ends, passes
from sweep.networks import forward

ENDS = {
    zoo.lenet: ["conv_1", "conv_2", "fc_1"],
    zoo.normalised: ["conv_1", "relu_2"],
    zoo.residual: [
        "stem",
        "relu_1",
        "bn_2",
        "relu_2",
    ],  # conv_2 ends behind bn_2, the sum in relu_2
    zoo.perceptron: ["hidden_1", "hidden_2"],
    zoo.all_convolutional: ["conv_1"],
    zoo.ends_in_pool: ["conv"],  # makes the scores, and there is nothing else
    zoo.one_relu: ["relu", "relu", "relu"],
}


@pytest.mark.parametrize("build", [pytest.param(build, id=build.__name__) for build in ENDS])
def test_hidden_layers_end_behind_norm_and_activation_and_the_scores_are_not_hidden(build):
    ends = hidden_ends(build(zoo.untouched))
    assert [node.operation.name for node in ends] == ENDS[build]
    assert len({id(node) for node in ends}) == len(ends)


def test_a_network_of_layers_that_are_not_known_has_no_hidden_ones():
    images = keras.Input((4, 4, 1))
    network = keras.Model(images, layers.GlobalAveragePooling2D()(layers.MaxPooling2D()(images)))
    with pytest.raises(NotApplicable, match="has none that it knows; take another detector"):
        hidden_ends(network)


def test_a_pass_gives_what_the_nodes_make_and_the_class_batch_by_batch(monkeypatch):
    monkeypatch.setattr(forward, "MAX_BATCH", 16)
    network = zoo.randomized(zoo.lenet(zoo.untouched))
    ends = hidden_ends(network)
    batches = list(passes(network, ends)(zoo.PIXELS))
    assert [len(classes) for _, classes in batches] == [16, 16, 16, 2]
    for number, end in enumerate(ends):
        whole = keras.Model(network.inputs[0], end.output_tensors[0])(zoo.PIXELS)
        made = np.concatenate([maps[number] for maps, _ in batches])
        np.testing.assert_allclose(made, whole, rtol=1e-4, atol=1e-5)
    classes = np.concatenate([classes for _, classes in batches])
    np.testing.assert_array_equal(classes, forward.predict(network, zoo.PIXELS))


def test_what_is_not_finite_is_refused():
    network = zoo.randomized(zoo.perceptron(zoo.untouched))
    pixels = zoo.PIXELS.copy()
    pixels[3, 0, 0, 0] = np.inf
    with pytest.raises(BadInput, match="NaN or infinite"):
        list(passes(network, hidden_ends(network))(pixels))
