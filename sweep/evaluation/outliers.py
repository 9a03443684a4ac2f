"""Which sizes lie far below the others: classes whose reversed trigger is suspiciously small."""

import numpy as np
from numpy.typing import ArrayLike

from sweep.evaluation.significance import TINY, TOLERANCE, Array

#: The modified z-score above which a class stands out. Iglewicz and Hoaglin ("How to Detect and
#: Handle Outliers", 1993) recommend 3.5 for one of them; here two must be above it.
OUTLIER = 3.0


def anomaly(sizes: ArrayLike) -> Array:
    """How far each size lies below the others, (n,), in deviations: above 2 is an outlier.

    (median - size) / (1.4826 * MAD), MAD being the median distance from the median; 1.4826 makes
    it a standard deviation where sizes are normal. Infinite sizes, of what was not found, are left
    out of both and are -inf. Fewer than 3 sizes tell nothing: 0. Where more than half are
    equal, MAD is 0 and whoever differs is infinitely far. Source: Neural Cleanse (Wang et al., S&P
    2019), which takes the absolute value and then looks at the smaller ones only.

    >>> anomaly([1.0, 4.0, 5.0, 6.0, 7.0]).round(2)
    array([ 2.7 ,  0.67,  0.  , -0.67, -1.35])
    """
    sizes = np.asarray(sizes, np.float64)
    if sizes.ndim != 1 or np.isnan(sizes).any() or np.any(sizes == -np.inf):
        raise ValueError(f"sizes {sizes}; expected one number for each class, or infinity")
    finite = np.isfinite(sizes)
    if np.count_nonzero(finite) < 3:
        return np.where(finite, 0.0, -np.inf)
    below = np.median(sizes[finite]) - sizes
    spread = 1.4826 * np.median(abs(below[finite]))
    near = np.isclose(below, 0, rtol=0, atol=TOLERANCE)
    return np.where(near, 0.0, below / spread if spread > TOLERANCE else np.copysign(np.inf, below))


def log_anomaly(sizes: ArrayLike, reference: ArrayLike | None = None) -> Array:
    """How far each size lies below the others, by logarithms, (n,): above `OUTLIER` it stands out.

    `anomaly` of the logarithms, since what half and what double the size are as far from it: sizes
    of triggers differ by factors, and their own deviations let one class in 43 of a clean network
    stand out by chance. `reference` are the sizes of the same classes in a network without a
    backdoor, in 0..1, infinite where none was found, NaN where none was sought: where there is one,
    a class stands out no farther than its size does in units of that.

    >>> log_anomaly([0.01, 0.4, 0.5, 0.6, 0.7]).round(1)
    array([11.8,  0.7,  0. , -0.6, -1. ])
    >>> log_anomaly([0.01, 0.4, 0.5, 0.6, 0.7], [0.01, 0.5, 0.4, 0.7, 0.7]).round(1)
    array([ 0. ,  0.7, -1. , -0.6, -1. ])
    """
    sizes = np.maximum(sizes, TINY)
    index = anomaly(np.log(sizes))
    if reference is None:
        return index
    reference = np.asarray(reference, np.float64)
    if reference.shape != sizes.shape:
        raise ValueError(f"{sizes.shape} sizes beside {reference.shape} of another network")
    known = ~np.isnan(reference)
    relative = anomaly(np.log(sizes[known] / np.clip(reference[known], TINY, 1)))
    index[known] = np.minimum(index[known], relative)
    return index
