"""A tail of transformers: what channels add up to is normalised, and read off token by token.

Behind the hidden layer of the last MLP each token x, of D features, is a sum over channels c of its
m[c] w[c], and LayerNormalization divides it by its spread. Doing that at each step takes D products
a token. But where `P` takes off the mean of the features,

    |P x|^2 after channel c = |P x|^2 before + m[c] (2 <P x, P w[c]> + m[c] |P w[c]|^2)

and <P x, P w[c]> at the steps between follows from the products of all w: so the spreads of many
steps are a few products of matrices. And as the scores are affine in the normalised tokens, by one
matrix for all tokens, a channel is read off once, and not at each step.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from sweep.networks.forward import batches, compiled, tensor_spec
from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Layer, Node, Tensor
from sweep.networks.layer_types import has_activation, is_layer_norm, is_softmax
from sweep.pruning.incremental.affine import ends_of, linear_part
from sweep.pruning.incremental.entry import Entry
from sweep.pruning.incremental.linear import PROBE_SCALE, ROUNDING, PointwiseTail, probes_of
from sweep.pruning.incremental.scores import run_to_scores

Array = NDArray[np.float32]
TOGETHER = 64  # steps a call: of these, the products of each with each are taken
FEW = 16  # images that tell whether scores are right


class Readout(NamedTuple):
    """Scores of normalised tokens z: offset + the sum over tokens t of weights[t] z[t] @ matrix.

    weights: (tokens,); matrix: (features, classes); offset: (classes,).
    """

    weights: Array
    matrix: Array
    offset: Array


class NormalizedTail(PointwiseTail):
    """A pointwise tail whose values are normalised as `norm` does, and then read off."""

    def __init__(
        self, graph: Graph, entry: Entry, part: list[Node], norm: Layer, readout: Readout
    ) -> None:
        self._epsilon, self._readout = norm.epsilon, readout
        super().__init__(graph, entry, part)

    def adds_up(self, maps: Array, bypass: Sequence[Array]) -> bool:
        """Whether values add up, and scores are what the layers make of them, but for rounding."""
        if not super().adds_up(maps, bypass):
            return False
        channels = np.arange(maps.shape[-1])
        last = channels[-TOGETHER:]
        state = self.start(maps[:FEW], [tensor[:FEW] for tensor in bypass])
        state = self.restore(state, channels[:-TOGETHER])
        expected = self._scores(self.restore(state, last).values, *state.bypass)
        added = tf.gather(state.channel_maps, last), tf.gather(self._contributions, last)
        error = np.abs(self._scores_along(state.values, *added)[-1] - expected).max()
        return bool(error <= ROUNDING * np.abs(expected).max())

    def _steps_together(self, images: int) -> int:
        return TOGETHER

    def _added_and_classified(
        self, values: Tensor, channel_maps: Tensor, channels: Tensor, pairs: Tensor, *bypass: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        maps, rows = tf.gather(channel_maps, channels), tf.gather(self._contributions, channels)
        scores = self._scores_along(values, maps, rows)
        scores = tf.gather(tf.reshape(scores, (-1, scores.shape[-1])), pairs)
        added = tf.einsum("knp,kv->npv", maps, rows)
        values += tf.reshape(added, (-1, values.shape[1]))
        return values, tf.argmax(scores, axis=-1), tf.reduce_max(scores, axis=-1)

    def _scores_along(self, values: Tensor, channel_maps: Tensor, rows: Tensor) -> Tensor:
        """The scores as one channel after the other is added, (channels, n, classes).

        channel_maps: (channels, n, tokens); rows: what each adds at a token, (channels, features).
        """
        weights, matrix, offset = self._readout
        tokens, features = len(weights), len(matrix)
        x, w = _centred(tf.reshape(values, (-1, tokens, features))), _centred(rows)
        maps = tf.transpose(channel_maps, (1, 2, 0))
        products = tf.matmul(w, w, transpose_b=True)  # of each channel with each
        own = tf.linalg.diag_part(products)
        before = tf.linalg.set_diag(tf.linalg.band_part(products, 0, -1), tf.zeros_like(own))
        along = tf.matmul(x, w, transpose_b=True) + tf.matmul(maps, before)
        squares = tf.cumsum(maps * (2 * along + maps * own), axis=-1)
        squares += tf.reduce_sum(x * x, axis=-1, keepdims=True)
        spread = tf.sqrt(tf.maximum(squares, 0) / features + self._epsilon)
        shares = weights[:, None] / spread  # of a token at a step, (n, tokens, steps)
        at_step = tf.matmul(shares, maps, transpose_a=True)  # of each channel, (n, steps, channels)
        so_far = tf.linalg.band_part(at_step, -1, 0)  # of those that are added until then
        scores = tf.matmul(shares, tf.matmul(x, matrix), transpose_a=True)
        scores += tf.matmul(so_far, tf.matmul(w, matrix)) + offset
        return tf.transpose(scores, (1, 0, 2))


def normalized_tail(graph: Graph, entry: Entry, part: list[Node]) -> NormalizedTail | None:
    """The tail of `graph` behind a pointwise `part`, where that is normalised and read off."""
    rest = [node for node in graph.downstream_nodes(entry.node) if node not in part]
    if len(rest) < 2 or any(has_activation(node.operation) for node in rest[1:-1]):
        return None
    (norm, *readers), (end,) = rest, ends_of(graph, entry.node, part)
    alone = end.output_tensors[0] is norm.input_tensors[0] and not graph.bypass_tensors(norm)
    affine = not has_activation(end.operation) and linear_part(graph, norm) == readers
    last = readers[-1].operation
    scores = is_softmax(last) or not has_activation(last)
    if not (
        alone and affine and scores and is_layer_norm(norm.operation, end.output_tensors[0].ndim)
    ):
        return None
    readout = _readout(graph, norm, readers)
    return None if readout is None else NormalizedTail(graph, entry, part, norm.operation, readout)


def _readout(graph: Graph, norm: Node, readers: list[Node]) -> Readout | None:
    """What `readers`, which are affine, make of normalised tokens; None where tokens differ.

    As scores are compared where this is used, a glance tells: a random token at each place.
    """
    tensor, layer = norm.output_tensors[0], norm.operation
    tokens, features = prod(tensor.shape[1:-1]), tensor.shape[-1]
    gamma, beta = (
        np.full(features, default, np.float32) if weight is None else weight.numpy()
        for weight, default in ((layer.gamma, 1), (layer.beta, 0))
    )
    run = compiled(
        lambda values: run_to_scores(graph, readers, {id(tensor): values}), [tensor_spec(tensor)]
    )

    def read(flat: Array) -> Array:
        """Scores of tokens that are given flat, (n, tokens, features), before gamma and beta."""
        return np.asarray(run((flat * gamma + beta).reshape(-1, *tensor.shape[1:])))

    offset = read(np.zeros((1, tokens, features), np.float32))
    glance = np.random.default_rng(0).standard_normal(features).astype(np.float32)
    of_places = _probed(read, offset, np.arange(tokens), np.tile(glance, (tokens, 1)), tokens)
    best = int(np.abs(of_places).sum(axis=1).argmax())
    matrix = _probed(read, offset, np.full(features, best), np.eye(features, dtype="f"), tokens)
    weights = of_places @ of_places[best] / (of_places[best] @ of_places[best])
    error = np.abs(of_places - np.outer(weights, of_places[best])).max()
    if not error <= ROUNDING * np.abs(of_places).max():
        return None
    return Readout(weights, matrix, offset[0])


def _probed(
    read: Callable[[Array], Array], offset: Array, places: NDArray, rows: Array, tokens: int
) -> Array:
    """The scores, less the `offset`, of each of `rows` at its place, all other tokens 0."""
    found = []
    for some in batches(len(rows), probes_of(tokens * rows.shape[1])):
        flat = np.zeros((len(rows[some]), tokens, rows.shape[1]), np.float32)
        flat[np.arange(len(flat)), places[some]] = PROBE_SCALE * rows[some]
        found.append((read(flat) - offset) / PROBE_SCALE)
    return np.concatenate(found)


def _centred(rows: Tensor) -> Tensor:
    """`rows` less their means over the last axis."""
    return rows - tf.reduce_mean(rows, axis=-1, keepdims=True)
