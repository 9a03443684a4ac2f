"""IBD-PSC: scaled networks against weights that are multiplied by hand."""

import keras
import numpy as np
import pytest
from keras import layers
from tiny_detected import PIXELS, linear, reference, softmax

from sweep import BadInput, NotApplicable
from sweep.detectors import confidence, ibd_psc
from sweep.detectors.panel import ibd_psc as amplification
from sweep.networks import clone


def normalised(activation: str | None = None, bad: bool = False) -> keras.Model:
    """Two BatchNormalizations; with `bad`, scaling the first makes one class win on all images."""
    images = keras.Input((1, 2, 1))
    x = layers.Dense(4, name="fc_1")(layers.Flatten(name="flatten")(images))
    x = layers.ReLU(name="relu_1")(layers.BatchNormalization(name="bn_1")(x))
    x = layers.Dense(4, name="fc_2")(x)
    x = layers.ReLU(name="relu_2")(layers.BatchNormalization(name="bn_2")(x))
    network = keras.Model(images, layers.Dense(3, activation=activation, name="scores")(x))
    rng = np.random.default_rng(4)
    for variable in network.weights:
        value = rng.normal(size=variable.shape)
        variable.assign(np.abs(value) + 0.3 if "variance" in variable.name else value)
    if bad:  # 4 is common to all images, and bn_2 takes it off; what it is more goes to class 0
        gamma, beta, mean, variance = network.get_layer("bn_1").get_weights()
        gamma[0], beta[0] = 0, 4
        network.get_layer("bn_1").set_weights([gamma, beta, mean, variance])
        kernel, bias = network.get_layer("fc_2").get_weights()
        kernel[:, 0], bias[0] = [100, 0, 0, 0], 0
        network.get_layer("fc_2").set_weights([kernel, bias])
        gamma, beta, mean, variance = network.get_layer("bn_2").get_weights()
        gamma[0], beta[0], mean[0], variance[0] = 1, 0, 400, 1
        network.get_layer("bn_2").set_weights([gamma, beta, mean, variance])
        kernel, bias = network.get_layer("scores").get_weights()
        kernel[0] = [5, 0, 0]
        network.get_layer("scores").set_weights([kernel, bias])
    return balanced(network)


def balanced(network: keras.Model) -> keras.Model:
    """`network`, with biases at the end by which each class wins on some images."""
    last = network.get_layer("scores")
    last.bias.assign(last.bias - logits(network, PIXELS).mean(axis=0))
    return network


def plain() -> keras.Model:
    """No BatchNormalization: two hidden layers, with activations of their own and of a layer."""
    images = keras.Input((1, 2, 1))
    x = layers.Conv2D(4, 1, activation="tanh", name="conv")(images)
    x = layers.Dense(5, name="fc")(layers.Flatten(name="flatten")(x))
    network = keras.Model(images, layers.Dense(3, name="scores")(layers.ReLU(name="relu")(x)))
    rng = np.random.default_rng(6)
    for variable in network.weights:
        variable.assign(rng.normal(size=variable.shape))
    return balanced(network)


def scaled(network: keras.Model, **powers: float) -> keras.Model:
    """A copy in which the weights of some layers (gamma and beta of a norm) are multiplied."""
    copy = clone(network)
    for name, factor in powers.items():
        layer = copy.get_layer(name)
        for variable in layer.trainable_variables:
            variable.assign(variable * factor)
    return copy


def logits(network: keras.Model, pixels: np.ndarray) -> np.ndarray:
    scores = np.asarray(network(pixels), np.float64)
    ends_in_softmax = network.layers[-1].activation is keras.activations.softmax
    return np.log(scores) if ends_in_softmax else scores


def apart(values: np.ndarray) -> float:
    return float(np.abs(values - values.mean(axis=1, keepdims=True)).mean())


def by_hand(network: keras.Model, copies: list[keras.Model], clean=PIXELS, pixels=PIXELS):
    """-log of the mean of 1 - p, in plain probabilities."""
    said = logits(network, pixels).argmax(axis=1)
    beliefs = []
    for copy in copies:
        temperature = apart(logits(copy, clean)) / apart(logits(network, clean))
        p = softmax(logits(copy, pixels) / temperature)
        beliefs.append(p[np.arange(len(p)), said])
    return -np.log(np.mean(1 - np.array(beliefs), axis=0))


def error(network: keras.Model, of: keras.Model) -> float:
    labels = logits(network, PIXELS).argmax(axis=1)
    return float(np.mean(logits(of, PIXELS).argmax(axis=1) != labels))


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_all_rounds_are_gone_through_from_the_last_norm_on_while_the_error_is_small(activation):
    network = balanced(normalised(activation))
    steps = [
        {"bn_1": 1.02**first, "bn_2": 1.02**last}
        for first, last in [(0, 1), (1, 1), (1, 2), (2, 2), (2, 3), (3, 3), (3, 4), (4, 4)]
    ]
    copies = [scaled(network, **powers) for powers in steps]
    assert max(error(network, copy) for copy in copies) < 0.99
    scores = ibd_psc(reference(network), omega=1.02, networks=5, xi=0.99)(PIXELS)
    np.testing.assert_allclose(scores, by_hand(network, copies[-5:]), rtol=2e-4, atol=2e-5)


def test_the_first_network_is_the_one_whose_error_exceeds_xi():
    network = balanced(normalised())
    steps = [(0, 1), (1, 1), (1, 2), (2, 2), (2, 3), (3, 3), (3, 4), (4, 4)]
    copies = [scaled(network, bn_1=1.05**first, bn_2=1.05**last) for first, last in steps]
    errors = [error(network, copy) for copy in copies]
    first = int(np.argmax(np.array(errors) > errors[0]))
    xi = (errors[first] + max(errors[:first], default=0)) / 2
    assert 0 < first < 6, errors
    scores = ibd_psc(reference(network), omega=1.05, networks=2, xi=xi)(PIXELS)
    expected = by_hand(network, copies[first : first + 2])
    np.testing.assert_allclose(scores, expected, rtol=2e-4, atol=2e-5)


def test_collapsed_networks_are_left_out_and_those_before_serve():
    network = normalised(bad=True)
    collapsed = scaled(network, bn_1=1.05, bn_2=1.05)
    assert set(logits(collapsed, PIXELS).argmax(axis=1)) == {0}
    assert len(set(logits(network, PIXELS).argmax(axis=1))) > 1
    scores = ibd_psc(reference(network), omega=1.05)(PIXELS)
    expected = by_hand(network, [scaled(network, bn_2=1.05)])
    np.testing.assert_allclose(scores, expected, rtol=2e-4, atol=2e-5)


def test_if_all_collapse_b_alone_says_how_sure_it_is(monkeypatch):
    network = normalised(bad=True)
    monkeypatch.setattr(amplification, "_scalable", lambda graph: [network.get_layer("bn_1")])
    p = softmax(logits(network, PIXELS)).max(axis=1)
    scores = ibd_psc(reference(network))(PIXELS)
    np.testing.assert_allclose(scores, -np.log(1 - p), rtol=2e-4, atol=2e-5)
    order = np.argsort(confidence(reference(network))(PIXELS))
    assert (np.diff(scores[order]) >= 0).all()


def test_without_norms_kernel_and_bias_before_the_activation_are_scaled_but_the_last_ones():
    network = plain()
    copies = [
        scaled(network, conv=1.02**first, fc=1.02**last)
        for first, last in [(2, 3), (3, 3), (3, 4), (4, 4)]
    ]
    scores = ibd_psc(reference(network), omega=1.02, networks=4, xi=0.99)(PIXELS)
    np.testing.assert_allclose(scores, by_hand(network, copies), rtol=2e-4, atol=2e-5)


def test_a_layer_that_is_used_twice_is_one_layer():
    images = keras.Input((1, 2, 1))
    norm = layers.BatchNormalization(name="bn")
    x = norm(layers.Dense(2, activation="tanh", name="fc")(norm(layers.Flatten()(images))))
    network = keras.Model(images, layers.Dense(3, name="scores")(x))
    rng = np.random.default_rng(8)
    for variable in network.weights:
        variable.assign(np.abs(rng.normal(size=variable.shape)) + 0.1)
    network.get_layer("scores").kernel.assign(rng.normal(size=(2, 3)))
    scores = ibd_psc(reference(network), networks=1, xi=0.99)(PIXELS)
    expected = by_hand(network, [scaled(network, bn=1.5**4)])
    np.testing.assert_allclose(scores, expected, rtol=2e-4, atol=2e-5)


def test_factors_that_overflow_leave_finite_scores():
    scores = ibd_psc(reference(normalised()), omega=1e30, xi=0.99)(PIXELS)
    assert np.isfinite(scores).all()


def test_a_network_of_one_layer_has_nothing_to_scale():
    with pytest.raises(NotApplicable, match="scales layers before the one that makes the scores"):
        ibd_psc(reference(linear()))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"omega": 1}, "detector.omega is 1; expected a factor above 1"),
        ({"omega": "2"}, "detector.omega is '2'"),
        ({"networks": 0}, "detector.networks is 0; expected 1 or more scaled networks"),
        ({"networks": 1.5}, r"detector.networks is 1.5"),
        ({"xi": 0}, "detector.xi is 0; expected an error between 0 and 1"),
        ({"xi": 1}, "detector.xi is 1; expected"),
        ({"xi": True}, "detector.xi is True"),
    ],
)
def test_settings_that_cannot_be_get_a_sentence(settings, says):
    with pytest.raises(BadInput, match=says):
        ibd_psc(reference(normalised()), **settings)
