"""Networks by name, untrained: DeepID, the lab's, and three small ones with BatchNormalization.

They take pixels as they are, channels last, and give softmax scores. Each begins with `conv_1`, a
"valid" convolution with a bias, into which training folds what it did to the pixels.
"""

from collections.abc import Callable
from itertools import count
from typing import Any

import keras
from keras import layers

from sweep import BadInput

_MOMENTUM = 0.9  # of running means: few steps are taken


def deepid(shape: tuple[int, ...], classes: int, *, seed: int = 0) -> keras.Model:
    """Return the untrained DeepID of the CSAW-HackML lab for images (height, width, channels).

    Four "valid" convolutions of 20, 40, 60 and 80 channels; fc_1 sees pool_3, fc_2 sees conv_4,
    their sum goes to the softmax (Sun et al., CVPR 2014). Kernels are drawn by `seed`. Raises
    BadInput for images under 31 pixels high or wide and for fewer than 2 classes.

    >>> deepid((55, 47, 3), 1283).count_params()
    601643
    """
    _check("DeepID", shape, classes, smallest=31)  # from which poolings leave conv_4 its 2 x 2
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


def preactresnet(shape: tuple[int, ...], classes: int, *, seed: int = 0) -> keras.Model:
    """Return an untrained PreActResNet for images (height, width, channels).

    Three stages of 16, 32 and 64 channels, the later ones at half the size of the one before, two
    blocks each; before every convolution but the first stand BatchNormalization and ReLU (He et
    al., ECCV 2016, arXiv 1603.05027). Kernels are drawn by `seed`. Raises BadInput for images under
    16 pixels high or wide and for fewer than 2 classes.

    >>> preactresnet((32, 32, 3), 43).count_params()
    178155
    """
    _check("PreActResNet", shape, classes)
    layer = _numbered(seed)
    image = keras.Input(shape, name="input")
    x = layer("conv", layers.Conv2D, 16, 3)(image)
    for stage, channels in enumerate((16, 32, 64)):
        for block in range(2):
            strides = 2 if stage and not block else 1
            active = _normalised(layer, x)
            if strides == 2:
                x = layer("conv", layers.Conv2D, channels, 1, strides=2, **_INNER)(active)
            y = layer("conv", layers.Conv2D, channels, 3, strides=strides, **_INNER)(active)
            y = layer("conv", layers.Conv2D, channels, 3, **_INNER)(_normalised(layer, y))
            x = layer("add", layers.Add)([x, y])
    return _classifier("preactresnet", layer, image, _normalised(layer, x), classes)


def vgg(shape: tuple[int, ...], classes: int, *, seed: int = 0) -> keras.Model:
    """Return an untrained network like VGG, with BatchNormalization.

    Two convolutions of 32 channels, two of 64 and two of 128, each with BatchNormalization and
    ReLU, and a pooling after every two (Simonyan and Zisserman, ICLR 2015, arXiv 1409.1556); where
    that has three dense layers, here the mean over the image goes to one. `seed` and what is
    refused are those of `preactresnet`.

    >>> vgg((32, 32, 3), 43).count_params()
    293931
    """
    _check("the VGG", shape, classes)
    layer = _numbered(seed)
    image = x = keras.Input(shape, name="input")
    for channels in (32, 64, 128):
        for _ in range(2):
            how = {} if x is image else _INNER
            x = _normalised(layer, layer("conv", layers.Conv2D, channels, 3, **how)(x))
        x = layer("pool", layers.MaxPooling2D, 2)(x)
    return _classifier("vgg", layer, image, x, classes)


def mobilenet(shape: tuple[int, ...], classes: int, *, seed: int = 0) -> keras.Model:
    """Return an untrained small MobileNet: depthwise convolutions, each followed by one of 1 x 1.

    After a convolution of 16 channels five such pairs of 32, 64, 64, 128 and 128, the second and
    the fourth at half the size; BatchNormalization and ReLU behind each (Howard et al., arXiv
    1704.04861). `seed` and what is refused are those of `preactresnet`.

    >>> mobilenet((32, 32, 3), 43).count_params()
    42907
    """
    _check("the MobileNet", shape, classes)
    layer = _numbered(seed)
    image = keras.Input(shape, name="input")
    x = _normalised(layer, layer("conv", layers.Conv2D, 16, 3)(image))
    for channels, strides in ((32, 1), (64, 2), (64, 1), (128, 2), (128, 1)):
        x = layer("depthwise", layers.DepthwiseConv2D, 3, strides=strides, **_INNER)(x)
        x = layer("conv", layers.Conv2D, channels, 1, **_INNER)(_normalised(layer, x))
        x = _normalised(layer, x)
    return _classifier("mobilenet", layer, image, x, classes)


#: What `badnet.architecture` may be.
ARCHITECTURES: dict[str, Callable[..., keras.Model]] = {
    "deepid": deepid,
    "preactresnet": preactresnet,
    "vgg": vgg,
    "mobilenet": mobilenet,
}

_INNER = {"padding": "same", "use_bias": False}  # of convolutions but the first
_DRAWN = {
    "conv": "kernel_initializer",
    "depthwise": "depthwise_initializer",
    "output": "kernel_initializer",
}

Layers = Callable[..., keras.layers.Layer]


def _numbered(seed: int) -> Layers:
    """Return what makes a layer and names it after its kind, numbered from 1; kernels by `seed`."""
    numbers: dict[str, Any] = {}
    drawn = count(1000 * seed)

    def layer(kind: str, make: Layers, *args: Any, **settings: Any) -> keras.layers.Layer:
        settings = {"name": f"{kind}_{next(numbers.setdefault(kind, count(1)))}"} | settings
        if kind in _DRAWN:
            settings[_DRAWN[kind]] = keras.initializers.HeNormal(seed=next(drawn))
        return make(*args, **settings)

    return layer


def _normalised(layer: Layers, x: Any) -> Any:
    """Return `x` behind BatchNormalization and ReLU."""
    x = layer("norm", layers.BatchNormalization, momentum=_MOMENTUM)(x)
    return layer("relu", layers.Activation, "relu")(x)


def _classifier(name: str, layer: Layers, image: Any, x: Any, classes: int) -> keras.Model:
    """Return the network from `image` to scores, of the mean of `x` over the image."""
    x = layer("mean", layers.GlobalAveragePooling2D)(x)
    scores = layer("output", layers.Dense, classes, activation="softmax", name="output")(x)
    return keras.Model(image, scores, name=name)


def _check(name: str, shape: tuple[int, ...], classes: int, smallest: int = 16) -> None:
    """Raise BadInput for images and classes that a network cannot have."""
    if len(shape) != 3 or min(shape) < 1 or min(shape[:2]) < smallest:
        raise BadInput(
            f"{name} cannot take images of shape {tuple(shape)}; it needs "
            f"(height, width, channels) with at least {smallest} x {smallest} pixels."
        )
    if classes < 2:
        raise BadInput(f"{name} was asked for {classes} classes; a classifier needs at least 2.")
