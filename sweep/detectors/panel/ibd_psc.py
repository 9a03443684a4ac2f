"""IBD-PSC: what a trigger says is said however large the last layers' weights are made."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray

from sweep import BadInput, NotApplicable
from sweep.detectors.panel.settings import is_count, is_number
from sweep.detectors.panel.surety import Array, by_batches, log_odds
from sweep.detectors.reference import Reference, Score
from sweep.networks import forward, outputs
from sweep.networks.graph import Graph
from sweep.networks.keras_internals import Layer, Node, Tensor
from sweep.networks.layer_types import PRODUCERS, is_norm

ROUNDS = 4  # how often the layers are gone through, from the last to the first


def ibd_psc(
    reference: Reference, *, omega: float = 1.5, networks: int = 5, xi: float = 0.6
) -> Score:
    """IBD-PSC: scaled copies of B stay sure of what B says.

    Score: `-log(mean of 1 - p)` over scaled networks, p the probability of the class that B says;
    it rises with the mean probability. In the k-th, gamma and beta of the last k
    BatchNormalizations are multiplied by `omega`. The networks are the k-th and those after it,
    `networks` in all; k is the first whose error on the clean reference images exceeds `xi`.

    Needs: B and clean images with labels.

    Passes: 1 + `networks` of B an image (6); before, of the clean images, one for each k tried.

    Source: Hou, Feng, Hua, Luo, Zhang, Li, "IBD-PSC: Input-level Backdoor Detection via
    Parameter-oriented Scaling Consistency", ICML 2024, arXiv 2405.09786.

    Differs: the score is not rounded: scaled networks give nearly all images a p of 1 in float32,
    ties that leave an AUROC near 0.5. Each one's logits are divided by how much farther apart they
    lie on clean images than B's (the mean absolute deviation from an image's mean), so that p
    means the same in all. Where all BatchNormalizations are scaled and the error is still below
    `xi`, they are scaled once more from the last on, up to 4 times; if it never exceeds it, the
    last networks are taken. A network has collapsed where the share of its most frequent class on
    clean images is nearer to 1 than to that in B, or where its scores are not finite; it is left
    out, and the ones before it serve. If none is left, B alone does, as in `confidence`.
    Without a BatchNormalization, kernel and bias of convolutions and Dense layers are scaled, all
    but the last one's.
    """
    if not is_number(omega, 1):
        raise BadInput(f"detector.omega is {omega!r}; expected a factor above 1")
    if not is_count(networks):
        raise BadInput(f"detector.networks is {networks!r}; expected 1 or more scaled networks")
    if not is_number(xi, 0, 1):
        raise BadInput(f"detector.xi is {xi!r}; expected an error between 0 and 1")
    amplified = _Amplified(reference.badnet, omega)
    chosen = _chosen(amplified, reference, networks, xi)

    def score(pixels: NDArray[np.float32]) -> Array:
        logs = amplified(0, pixels)
        if not np.isfinite(logs).all():
            raise BadInput(forward.NOT_FINITE)
        said = logs.argmax(axis=1)
        doubts = []  # log(1 - p) in each network
        for network in chosen:
            logs = np.nan_to_num(amplified(network.step, pixels), nan=-1e38)
            doubts.append(-np.logaddexp(0, log_odds(logs / network.temperature, said)))
        return np.log(len(chosen)) - np.logaddexp.reduce(doubts, axis=0)

    return by_batches(reference.badnet, score)


class _Amplified:
    """B, with what some layers give before their activation multiplied; B itself is not changed.

    That is what larger weights of theirs give. In step k that is the last k layers by omega, and
    where there are no more, the last ones once more.
    """

    def __init__(self, network: keras.Model, omega: float) -> None:
        self._graph, self._omega = Graph(network), omega
        self.layers = _scalable(self._graph)
        spec = forward.tensor_spec(keras.KerasTensor((None,), "float32"))
        self._run = forward.compiled(self._forward, [spec, forward.image_spec(network)])

    def __call__(self, step: int, pixels: NDArray[np.float32]) -> Array:
        """The logarithm of each class' probability, (n, classes); may not be finite."""
        full, more = divmod(step, len(self.layers))
        exponents = full + (np.arange(len(self.layers))[::-1] < more)
        with np.errstate(over="ignore"):
            factors = (float(self._omega) ** exponents).astype(np.float32)
        return np.asarray(self._run(factors, pixels), np.float64)

    def _forward(self, factors: Tensor, pixels: Tensor) -> Tensor:
        graph = self._graph
        known = {id(graph.network.inputs[0]): pixels}
        nodes = graph.nodes[1:]  # the first is the input
        end = max(place for place, node in enumerate(nodes) if node.operation in self.layers) + 1
        for node in nodes[:end]:
            if node.operation in self.layers:
                self._run_scaled(node, factors[self.layers.index(node.operation)], known)
            else:
                graph.run([node], known)
        return outputs.run_to_log_probabilities(graph, nodes[end:], known)

    def _run_scaled(self, node: Node, factor: Tensor, known: dict[int, Tensor]) -> None:
        self._graph.run([node], known, without_activation=True)
        activation = getattr(node.operation, "activation", None) or keras.activations.linear
        output = id(node.output_tensors[0])
        known[output] = activation(known[output] * factor)


def _scalable(graph: Graph) -> list[Layer]:
    """The layers to scale, first to last; none that makes the scores."""
    layers = [node.operation for node in graph.nodes[:-1]]
    norms = [layer for layer in layers if is_norm(layer)]
    if norms:
        return list(dict.fromkeys(norms))
    layers = [node.operation for node in graph.nodes if type(node.operation) in PRODUCERS]
    own = [layer for layer in layers if not outputs.is_frozen_adapter(layer)]
    scalable = [layer for layer in dict.fromkeys(own) if layer is not own[-1]]
    if not scalable:
        raise NotApplicable(
            "this detector scales layers before the one that makes the scores, and there are none; "
            "take another detector"
        )
    return scalable


@dataclass(frozen=True)
class _Scaled:
    """A step, what its logits are divided by, and on clean images its error and largest share."""

    step: int
    temperature: float
    error: float
    share: float


def _chosen(
    amplified: _Amplified, reference: Reference, count: int, xi: float
) -> Sequence[_Scaled]:
    """The scaled networks whose probabilities are averaged: at most `count`, at least B."""
    size = forward.batch_size(Graph(reference.badnet).tensors)
    pixels, labels = reference.pixels, reference.labels

    def measured(step: int, spread: float | None = None) -> _Scaled | None:
        logs = np.concatenate(
            [amplified(step, pixels[rows]) for rows in forward.batches(len(pixels), size)]
        )
        if not np.isfinite(logs).all():
            return None
        said = logs.argmax(axis=1)
        apart = max(np.abs(logs - logs.mean(axis=1, keepdims=True)).mean(), outputs.TINY)
        share = np.bincount(said).max() / len(said)
        error = float(np.mean(said != labels))
        return _Scaled(step, apart if spread is None else apart / spread, error, share)

    badnet = measured(0)
    if badnet is None:
        raise BadInput(forward.NOT_FINITE)
    kept, beyond = [], 0
    for step in range(1, ROUNDS * len(amplified.layers) + 1):
        scaled = measured(step, badnet.temperature)
        if scaled is None:  # larger ones are no better
            break
        if scaled.share <= (1 + badnet.share) / 2:
            kept.append(scaled)
        beyond += bool(beyond) or scaled.error > xi
        if beyond == count:
            break
    return kept[-count:] or [_Scaled(0, 1.0, badnet.error, badnet.share)]
