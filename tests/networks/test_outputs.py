"""What scores mean, and the loss made of them, whatever a network ends in."""

import keras
import numpy as np
import pytest
from keras import layers
from zoo import randomized

from sweep.networks.graph import Graph
from sweep.networks.loading import as_functional
from sweep.networks.outputs import (
    cross_entropy,
    log_probabilities,
    probabilities,
    run_to_log_probabilities,
    score_kind,
)


def ending(kind: str) -> keras.Model:
    images = keras.Input((3,))
    x = layers.Dense(6, activation="tanh")(images)
    if kind in ("softmax", "sigmoid"):
        x = layers.Dense(4, activation=kind)(x)
    elif kind in ("one sigmoid", "one logit"):
        x = layers.Dense(1, activation="sigmoid" if kind == "one sigmoid" else None)(x)
    else:
        x = layers.Dense(4)(x)
        if kind == "softmax layer":
            x = layers.Softmax()(x)
        elif kind == "activation layer":
            x = layers.Activation("softmax")(x)
        elif kind == "softmax operation":
            x = keras.ops.softmax(x)
    return keras.Model(images, x)


def by_hand(kind: str, scores: np.ndarray) -> np.ndarray:
    """Probabilities from what the network itself gives, before it is made plain."""
    scores = scores.astype(np.float64)
    if kind == "one logit":
        scores = 1 / (1 + np.exp(-scores))
    if kind.startswith("one"):
        return np.hstack([1 - scores, scores])
    if kind == "logits":
        scores = np.exp(scores)
    return scores / scores.sum(axis=1, keepdims=True)


KINDS = ["softmax", "softmax layer", "activation layer", "softmax operation", "sigmoid", "logits"]
KINDS += ["one sigmoid", "one logit"]


@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_and_loss_are_those_by_hand(kind):
    original = randomized(ending(kind))
    pixels = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    expected = by_hand(kind, np.asarray(original(pixels)))
    network = as_functional(original)
    told = probabilities(network, np.asarray(network(pixels)))
    np.testing.assert_allclose(told, expected, rtol=1e-5, atol=1e-6)
    labels = np.arange(9) % expected.shape[1]
    loss = -np.log(expected[np.arange(9), labels]).mean()
    np.testing.assert_allclose(cross_entropy(network, pixels, labels), loss, rtol=1e-4)
    assert score_kind(network) == (
        "logits"
        if "logit" in kind
        else kind.split()[-1 if "one" in kind else 0].replace("activation", "softmax")
    )


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_continued_from_within_ends_alike(kind):
    network = as_functional(randomized(ending(kind)))
    graph, pixels = Graph(network), np.random.default_rng(1).normal(size=(9, 3)).astype(np.float32)
    _, inner, *behind = graph.nodes
    known = {id(inner.output_tensors[0]): inner.operation(pixels)}
    told = run_to_log_probabilities(graph, behind, known)
    np.testing.assert_allclose(told, log_probabilities(network, pixels), rtol=1e-5)


def test_huge_logits_are_probabilities_too():
    network = ending("logits")
    told = probabilities(network, np.array([[1e4, 0, -1e4, 0]], np.float32))
    np.testing.assert_allclose(told, [[1, 0, 0, 0]], atol=1e-12)
