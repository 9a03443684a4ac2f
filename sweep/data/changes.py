"""Clean images of another kind than those in use: brighter, blurred, or some with a wrong label.

That is what a defender may have to work with; `data.valid_changed` says which. Only the clean
validation images are changed, as they are read: nothing of them is kept.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sweep import BadInput, files
from sweep.data.hdf5 import Pixels
from sweep.data.images import Images

Array = NDArray[np.float32]

BRIGHTER = 0.15  # of full brightness
BLUR = 1 / 32  # the kernel's standard deviation, of the image's shorter side
WRONG = 0.05  # of the labels


def brightened(pixels: Array, *, white: float) -> Array:
    """Return pixels, of any shape, that are brighter by `BRIGHTER` of `white`, and no brighter."""
    return _like_a_file(np.minimum(pixels + np.float32(BRIGHTER * white), white), white)


def blurred(pixels: Array, *, white: float) -> Array:
    """Return images (n, height, width, channels) under a Gaussian kernel; edges are repeated.

    Its standard deviation is `BLUR` of the shorter side: a pixel of 32 x 32.
    """
    count, height, width, channels = pixels.shape
    sigma = BLUR * min(height, width)
    down = _kernel(height, sigma) @ pixels.reshape(count, height, width * channels)
    lines = np.moveaxis(down.reshape(pixels.shape), 3, 2).reshape(count, height * channels, width)
    across = np.matmul(lines, _kernel(width, sigma).T)  # of long rows, which are fast
    return _like_a_file(np.moveaxis(across.reshape(count, height, channels, width), 2, 3), white)


def mislabelled(labels: NDArray[np.int64], *, classes: int, seed: int) -> NDArray[np.int64]:
    """Return the labels (n,), of which `WRONG`, one at least, are another class, drawn by `seed`.

    Every other class of 0..`classes` - 1 is as likely. Raises BadInput where there is none.
    """
    if classes < 2:
        raise BadInput("data.valid_changed is mislabelled; expected images of two classes at least")
    rng = np.random.default_rng([seed, 9])
    wrong = rng.choice(len(labels), max(1, round(WRONG * len(labels))), replace=False)
    given = labels.copy()
    given[wrong] = (given[wrong] + rng.integers(1, classes, len(wrong))) % classes
    return given


#: What becomes of blocks of pixels as they stand in a file, 0..`white`.
PIXELS: dict[str, Callable[..., Array]] = {"brightened": brightened, "blurred": blurred}
KINDS = (*PIXELS, "mislabelled")


def require(images: int | None, per_class: int | None, kind: str | None) -> None:
    """Raise BadInput where clean images are counted in two ways, or changed in an unknown one."""
    if images is not None and per_class is not None:
        raise BadInput(
            f"data.valid_images={images} came with data.valid_per_class={per_class}, which count "
            f"the same images; leave one out"
        )
    if kind is not None and kind not in KINDS:
        raise BadInput(f"data.valid_changed is {kind}; expected {', '.join(KINDS)}, or null")


def changed(images: Images, kind: str, *, white: float, classes: int, seed: int) -> Images:
    """Return `images` of a file as `kind` says, their key too; the file's pixels are 0..`white`."""
    pixels, labels = images.pixels, images.labels
    if kind in PIXELS:
        assert isinstance(pixels, Pixels)
        pixels = replace(pixels, change=partial(PIXELS[kind], white=white))
    else:
        labels = mislabelled(labels, classes=classes, seed=seed)
    settings = [images.key, kind, white, labels.tolist()]
    key = images.key and files.key(settings, "data/changes.py")
    return replace(images, pixels=pixels, labels=labels, key=key)


def _kernel(size: int, sigma: float) -> Array:
    """Return the matrix (size, size) that blurs along an axis; each row is the weights of a pixel.

    They sum to 1, and stand for pixels up to three sigma away.
    """
    reach = int(np.ceil(3 * sigma))
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-((offsets / sigma) ** 2) / 2)
    matrix = np.zeros((size, size))
    for offset, weight in zip(offsets, weights / weights.sum(), strict=True):
        rows = np.arange(size)
        matrix[rows, np.clip(rows + offset, 0, size - 1)] += weight
    return matrix.astype(np.float32)


def _like_a_file(pixels: Array, white: float) -> Array:
    """Return pixels as files hold them: whole numbers where `white` is 255."""
    return np.rint(pixels) if white == 255 else pixels
