"""Networks by name, untrained: DeepID, the lab's face classifier.

They take pixels as they are, channels last, and give softmax scores.
"""

import keras
from keras import layers

from sweep import BadInput

_SMALLEST = 31  # pixels: the side from which three poolings leave conv_4 its 2 x 2


def deepid(shape: tuple[int, ...], classes: int, *, seed: int = 0) -> keras.Model:
    """Return the untrained DeepID of the CSAW-HackML lab for images (height, width, channels).

    Four "valid" convolutions of 20, 40, 60 and 80 channels; fc_1 sees pool_3, fc_2 sees conv_4,
    their sum goes to the softmax (Sun et al., CVPR 2014). Kernels are drawn by `seed`. Raises
    BadInput for images under 31 pixels high or wide and for fewer than 2 classes.

    >>> deepid((55, 47, 3), 1283).count_params()
    601643
    """
    if len(shape) != 3 or min(shape) < 1 or min(shape[:2]) < _SMALLEST:
        raise BadInput(
            f"DeepID cannot take images of shape {tuple(shape)}; it needs "
            f"(height, width, channels) with at least {_SMALLEST} x {_SMALLEST} pixels."
        )
    if classes < 2:
        raise BadInput(f"DeepID was asked for {classes} classes; a classifier needs at least 2.")
    numbers = iter(range(7))

    def named(name: str) -> dict:
        kernel = keras.initializers.GlorotUniform(seed=7 * seed + next(numbers))
        return {"name": name, "kernel_initializer": kernel}

    image = x = keras.Input(shape, name="input")
    for number, (channels, size) in enumerate(((20, 4), (40, 3), (60, 3)), start=1):
        x = layers.Conv2D(channels, size, activation="relu", **named(f"conv_{number}"))(x)
        x = layers.MaxPooling2D(2, name=f"pool_{number}")(x)
    fc_1 = layers.Dense(160, **named("fc_1"))(layers.Flatten(name="flatten_1")(x))
    x = layers.Conv2D(80, 2, activation="relu", **named("conv_4"))(x)
    fc_2 = layers.Dense(160, **named("fc_2"))(layers.Flatten(name="flatten_2")(x))
    x = layers.Activation("relu", name="activation_1")(layers.Add(name="add_1")([fc_1, fc_2]))
    scores = layers.Dense(classes, activation="softmax", **named("output"))(x)
    return keras.Model(image, scores, name="deepid")
