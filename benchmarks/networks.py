"""What the whole pruning curve costs on the networks of the field, in plain passes.

    python benchmarks/networks.py                       all rows
    python benchmarks/networks.py vit vgg19_bn          some
    python benchmarks/networks.py --images 256          fewer images
    python benchmarks/networks.py --step 0.01           fewer steps

Images of 32 x 32 x 3 and 10 classes, 1,280 of them: 480 for ranking, 400 clean, 400 poisoned, drawn
by seed as the weights are. BatchNormalization has the statistics of one batch. The curve is that of
run.py, ranking by mean activation and all rates in it; a plain pass is B's classes for the same
images. Both compile what they run. Medians of 3 turns; each row is a process of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from statistics import median

# first, as it keeps TensorFlow quiet
from curve import MEAN, peak_memory, seconds, whole_curve

# isort: split
import keras
import numpy as np
import tensorflow
from keras import layers

from sweep.cache import Cache
from sweep.data import Images
from sweep.networks import forward

SHAPE, CLASSES, IMAGES = (32, 32, 3), 10, 1280
SETS = {"valid": 0.375, "test": 0.3125, "poisoned": 0.3125}
TURNS = 3


def _block(x: keras.KerasTensor, width: int, stride: int, name: str) -> keras.KerasTensor:
    """A block of ResNet: two convolutions, and what comes in added to them."""
    shortcut = x
    for number, step in ((1, stride), (2, 1)):
        x = _convolution(x, width, step, f"{name}_conv_{number}")
        x = layers.BatchNormalization()(x)
        x = x if number == 2 else layers.ReLU()(x)
    if stride > 1 or shortcut.shape[-1] != width:
        shortcut = layers.BatchNormalization()(_convolution(shortcut, width, stride, None, side=1))
    return layers.ReLU()(layers.Add()([x, shortcut]))


def _pre_block(x: keras.KerasTensor, width: int, stride: int, name: str) -> keras.KerasTensor:
    """The same with normalisation and activation before each convolution."""
    before = layers.ReLU()(layers.BatchNormalization()(x))
    wide = stride > 1 or x.shape[-1] != width
    shortcut = _convolution(before, width, stride, None, side=1) if wide else x
    x = _convolution(before, width, stride, f"{name}_conv_1")
    x = layers.ReLU()(layers.BatchNormalization()(x))
    return layers.Add()([_convolution(x, width, 1, f"{name}_conv_2"), shortcut])


def _convolution(
    x: keras.KerasTensor, width: int, stride: int, name: str | None, side: int = 3
) -> keras.KerasTensor:
    return layers.Conv2D(width, side, strides=stride, padding="same", use_bias=False, name=name)(x)


def _of_blocks(block: Callable[..., keras.KerasTensor], *, before: bool) -> keras.Model:
    image = keras.Input(SHAPE)
    x = _convolution(image, 64, 1, "stem")
    x = x if before else layers.ReLU()(layers.BatchNormalization()(x))
    for stage, width in enumerate((64, 128, 256, 512), start=1):
        for number in (1, 2):
            stride = 2 if number == 1 and stage > 1 else 1
            x = block(x, width, stride, f"stage_{stage}_{number}")
    x = layers.ReLU()(layers.BatchNormalization()(x)) if before else x
    return _head(image, layers.GlobalAveragePooling2D()(x))


def _head(image: keras.KerasTensor, x: keras.KerasTensor) -> keras.Model:
    return keras.Model(image, layers.Dense(CLASSES, activation="softmax")(x))


def resnet18() -> keras.Model:
    return _of_blocks(_block, before=False)


def preactresnet18() -> keras.Model:
    return _of_blocks(_pre_block, before=True)


def vgg19_bn() -> keras.Model:
    """Its convolutions are conv_1 to conv_16."""
    image = x = keras.Input(SHAPE)
    count = 0
    for width, many in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)):
        for _ in range(many):
            count += 1
            x = layers.Conv2D(width, 3, padding="same", name=f"conv_{count}")(x)
            x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.MaxPooling2D()(x)
    return _head(image, layers.Flatten()(x))


def mobilenet_v2() -> keras.Model:
    return keras.applications.MobileNetV2(SHAPE, weights=None, classes=CLASSES)


def efficientnet_b0() -> keras.Model:
    return keras.applications.EfficientNetB0(input_shape=SHAPE, weights=None, classes=CLASSES)


def vit() -> keras.Model:
    """Six blocks of width 192 on patches of 4 x 4; the hidden layers of the MLPs are hidden_1 .."""
    image = keras.Input(SHAPE)
    x = layers.Conv2D(192, 4, strides=4)(image)
    x = layers.Reshape((-1, 192))(x)
    for block in range(1, 7):
        normal = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(3, 64)(normal, normal)])
        hidden = layers.Dense(768, activation="gelu", name=f"hidden_{block}")
        x = layers.Add()([x, layers.Dense(192)(hidden(layers.LayerNormalization()(x)))])
    return _head(image, layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x)))


#: Each network, and the layer to prune.
ROWS: tuple[tuple[Callable[[], keras.Model], str], ...] = (
    (preactresnet18, "stage_4_2_conv_2"),
    (resnet18, "stage_4_2_conv_2"),
    (vgg19_bn, "conv_16"),
    (vgg19_bn, "conv_12"),
    (mobilenet_v2, "block_16_project"),
    (mobilenet_v2, "Conv_1"),
    (efficientnet_b0, "top_conv"),
    (vit, "hidden_6"),
)


def measure(
    make: Callable[[], keras.Model], layer: str, count: int, step: float
) -> dict[str, float]:
    """Channels, seconds of a plain pass and of the whole curve (medians), peak memory in GB."""
    keras.utils.set_random_seed(0)
    network, images = make(), stand_ins(count)
    set_statistics(network, images["valid"].pixels[:128])

    def plain_pass() -> None:
        predict = forward.predictor(network)
        for one in images.values():
            predict(one.pixels)

    plain_pass()  # so that what is done once is not measured
    plain, curves, channels = [], [], 0
    for _ in range(TURNS):
        plain.append(seconds(plain_pass))
        with tempfile.TemporaryDirectory() as folder:
            cache = Cache(folder, max_gb=20, memory_gb=0.1)
            curve, _, stages = whole_curve(network, images, layer, MEAN, cache, step)
        curves.append(sum(stages.values()))
        channels = len(curve.channels)
    return {
        "channels": channels,
        "plain": median(plain),
        "curve": median(curves),
        "peak": peak_memory(),
    }


def stand_ins(count: int) -> dict[str, Images]:
    """So many images in all, of pixels 0 to 1 and any labels."""
    rng, found = np.random.default_rng(0), {}
    for name, share in SETS.items():
        pixels = rng.random((round(share * count), *SHAPE), dtype=np.float32)
        labels = rng.integers(0, CLASSES, len(pixels))
        found[name] = Images(pixels, labels, key=name)
    return found


def set_statistics(network: keras.Model, pixels: np.ndarray) -> None:
    """Give each BatchNormalization the mean and variance of these images, one pass of training."""
    norms = [one for one in network.layers if isinstance(one, layers.BatchNormalization)]
    for norm in norms:
        norm.momentum = 0.0
    network(pixels, training=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = list(dict.fromkeys(make.__name__ for make, _ in ROWS))
    parser.add_argument("network", nargs="*", help=f"which (default: all): {', '.join(names)}")
    parser.add_argument("--images", type=int, default=IMAGES, help=f"default {IMAGES}")
    parser.add_argument("--step", type=float, default=1, help="prune.step, default 1")
    parser.add_argument("--row", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row is not None:
        print(json.dumps(measure(*ROWS[options.row], options.images, options.step)))
        return
    unknown = set(options.network) - set(names)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: expected some of {', '.join(names)}")
    print(f"{options.images} images on {device()}")
    print(f"{'network':16}{'layer':20}{'channels':>8}{'pass':>9}{'curve':>10}{'passes':>8}  memory")
    for number, (make, layer) in enumerate(ROWS):
        if options.network and make.__name__ not in options.network:
            continue
        child = [sys.executable, __file__, "--row", str(number), "--images", str(options.images)]
        child += ["--step", str(options.step)]
        of = json.loads(subprocess.check_output(child, text=True).splitlines()[-1])
        print(
            f"{make.__name__:16}{layer:20}{of['channels']:>8}{of['plain']:>7.2f} s"
            f"{of['curve']:>8.2f} s{of['curve'] / of['plain']:>8.2f}  {of['peak']:.2f} GB",
            flush=True,
        )


def device() -> str:
    """A GPU by its name, or the cores that there are."""
    gpus = tensorflow.config.list_physical_devices("GPU")
    if gpus:
        return str(tensorflow.config.experimental.get_device_details(gpus[0])["device_name"])
    return f"{len(os.sched_getaffinity(0))} cores"


if __name__ == "__main__":
    main()
