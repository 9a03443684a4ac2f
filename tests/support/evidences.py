"""Evidence for orders: by hand, or as hypothesis draws it with whatever an order may need."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sweep.pruning import Evidence, Oracle
from sweep.pruning.evidence import Norm

modest = settings(max_examples=25, deadline=None)
values = st.floats(-8, 8, width=32, allow_subnormal=False)
quarters = st.integers(-32, 32).map(lambda value: value / 4)  # sums and products are exact


def of_maps(
    maps: np.ndarray, kernel: np.ndarray | None = None, seed: int = 0, **more: object
) -> Evidence:
    """Evidence of maps (images, ..., channels) in one batch."""
    return Evidence([maps], maps.shape[-1], kernel, seed, **more)


def floats(*nested: object) -> np.ndarray:
    return np.array(nested, np.float32)


def gradients(*batches: np.ndarray) -> Callable[[int], list[np.ndarray]]:
    return lambda batch_size: list(batches)


def of_filters(*filters: object, **more: object) -> Evidence:
    """Evidence with one filter a channel, each of the shape (..., inputs)."""
    kernel = np.moveaxis(floats(*filters), 0, -1)
    return of_maps(np.zeros((1, len(filters)), np.float32), kernel, **more)


def of_norm(inputs: np.ndarray, mean: object, variance: object, gamma: object = None) -> Evidence:
    """Evidence with a BatchNormalization of `inputs`."""
    ones = np.ones(inputs.shape[-1], np.float32)
    gamma = ones if gamma is None else floats(*gamma)
    return of_maps(inputs, norm=Norm(gamma, ones, floats(*mean), floats(*variance), [inputs]))


def of_pairs(clean: np.ndarray, poisoned: np.ndarray, seed: int | Sequence[int] = 0) -> Oracle:
    """An oracle's evidence: clean and poisoned maps, which are the preactivations too."""
    of_clean, of_poisoned = (
        Evidence([maps], maps.shape[-1], None, seed, preactivations=[maps])
        for maps in (clean, poisoned)
    )
    return Oracle(
        [clean],
        clean.shape[-1],
        None,
        seed,
        preactivations=[clean],
        poisoned=of_poisoned,
        clean=of_clean,
    )


@st.composite
def any_evidence(draw: st.DrawFn, elements: st.SearchStrategy[float] = values) -> Oracle:
    """All that any order needs, of a Dense layer or of a convolution; one activation is zero."""
    channels, images = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    places = draw(st.sampled_from([(), (1, 1), (2, 3)]))

    def drawn(*shape: int) -> np.ndarray:
        return draw(arrays(np.float32, shape, elements=elements))

    clean, before, poisoned = (drawn(images, *places, channels) for _ in range(3))
    clean[..., 0] = 0
    kernel, *by_kernel = (drawn(*places, 2, channels) for _ in range(3))
    gamma, beta, mean, variance = (drawn(channels) for _ in range(4))
    norm = Norm(gamma, beta, mean, np.square(variance), [before])
    for array in (clean, before, poisoned, kernel, *by_kernel, gamma, beta, mean, norm.variance):
        array.setflags(write=False)
    seed = draw(st.integers(0, 99))
    pairs = of_pairs(clean, poisoned, seed)
    return Oracle(
        maps=[clean],
        channels=channels,
        weights=kernel,
        seed=seed,
        preactivations=[before],
        norm=norm,
        labels=np.zeros(images, np.int64),
        gradients=gradients(*by_kernel),
        poisoned=pairs.poisoned,
        clean=pairs.clean,
    )


def rebatched(
    evidence: Oracle, deal: Callable[[np.ndarray], list[np.ndarray]], **more: object
) -> Oracle:
    """The same evidence, each array of images given by `deal`."""

    def again(part: Evidence, **more: object) -> Evidence:
        (maps,), (before,) = part.maps, part.preactivations
        return replace(part, maps=deal(maps), preactivations=deal(before), **more)

    norm = replace(evidence.norm, inputs=deal(evidence.norm.inputs[0]))
    return again(
        evidence, norm=norm, poisoned=again(evidence.poisoned), clean=again(evidence.clean), **more
    )


def renumbered(evidence: Oracle, places: list[int]) -> Oracle:
    """The same evidence, its channel `places[c]` being channel c."""
    norm = evidence.norm
    moved = rebatched(evidence, lambda maps: [maps[..., places]])
    of = {name: getattr(norm, name)[places] for name in ("gamma", "beta", "mean", "variance")}
    return replace(
        moved,
        weights=evidence.weights[..., places],
        gradients=gradients(*(batch[..., places] for batch in evidence.gradients(1))),
        norm=replace(moved.norm, **of),
    )
