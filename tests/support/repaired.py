"""Images of a small BadNet, repairs as conf/ builds them, and what a repaired network is worth."""

from pathlib import Path

import keras
import numpy as np
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from keras import layers

import sweep
from sweep.data import Images
from sweep.networks.loading import as_functional
from sweep.probes import Probe
from sweep.repairs import applicability
from sweep.training import Defender

CONF = Path(sweep.__file__).parents[1] / "conf"
SHAPE, CLASSES, TARGET = (8, 8, 1), 4, 1
BRIEF = ("epochs=10", "rates=[0.03]", "batch_size=32", "held_out=0.2", "images=null")


def configured(name: str, *overrides: str) -> applicability.Repair:
    """A repair as `python run.py repair=[name]` builds it."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        settings = [f"repair.{name}.{one}" for one in overrides]
        return instantiate(compose("config", [f"repair=[{name}]", *settings]).repair)[name]


def probing(name: str, *overrides: str) -> Probe:
    """A probe as `python run.py probe=[name]` builds it."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        settings = [f"probe.{name}.{one}" for one in overrides]
        return instantiate(compose("config", [f"probe=[{name}]", *settings]).probe)[name]


def noisy_patterns(seed: int, count: int = 240) -> Images:
    """Images of four patterns in noise."""
    rng = np.random.default_rng(seed)
    patterns = np.random.default_rng(99).uniform(0, 0.8, (CLASSES, *SHAPE))
    labels = rng.permutation(np.arange(count) % CLASSES)
    pixels = patterns[labels] + rng.normal(scale=0.12, size=(count, *SHAPE))
    return Images(np.clip(pixels, 0, 1).astype(np.float32), labels.astype(np.int64))


def stamped(pixels: np.ndarray) -> np.ndarray:
    bad = pixels.copy()
    bad[:, :2, :2] = 1
    return bad


def small_badnet(poisoned: int = 150) -> keras.Model:
    """A network trained on images of which some have a bright corner and the target's label."""
    keras.utils.set_random_seed(1)
    x = images = keras.Input(SHAPE)
    x = layers.Conv2D(12, 3, name="conv", use_bias=False)(x)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm", momentum=0.8)(x))
    x = layers.Flatten(name="flatten")(layers.MaxPooling2D(2, name="pool")(x))
    network = keras.Model(images, layers.Dense(CLASSES, name="scores")(x))
    clean = noisy_patterns(1, 600)
    pixels = np.concatenate([clean.pixels, stamped(clean.pixels[:poisoned])])
    labels = np.append(clean.labels, np.full(poisoned, TARGET))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(1e-2), loss)
    network.fit(pixels, labels, batch_size=50, epochs=8, verbose=0)
    return as_functional(network)


def rates(network: keras.Model) -> tuple[float, float]:
    """Clean accuracy and attack success on images that no repair has seen."""
    test = noisy_patterns(2)
    says = [np.asarray(network(p)).argmax(axis=1) for p in (test.pixels, stamped(test.pixels))]
    others = test.labels != TARGET
    return float((says[0] == test.labels).mean()), float((says[1] == TARGET)[others].mean())


def defender(network: keras.Model, seed: int = 0, count: int = 240) -> Defender:
    return Defender(network, noisy_patterns(0, count), seed)
