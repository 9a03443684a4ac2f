"""What the tests of repairs share."""

import keras
import numpy as np
import pytest
from keras import layers
from repaired import CLASSES, SHAPE, TARGET, noisy_patterns, rates, stamped

from sweep.networks.loading import as_functional


@pytest.fixture(scope="session")
def badnet() -> keras.Model:
    """A network trained on images of which some have a bright corner and the target's label."""
    keras.utils.set_random_seed(1)
    x = images = keras.Input(SHAPE)
    x = layers.Conv2D(12, 3, name="conv", use_bias=False)(x)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm", momentum=0.8)(x))
    x = layers.Flatten(name="flatten")(layers.MaxPooling2D(2, name="pool")(x))
    network = keras.Model(images, layers.Dense(CLASSES, name="scores")(x))
    clean = noisy_patterns(1, 600)
    pixels = np.concatenate([clean.pixels, stamped(clean.pixels[:150])])
    labels = np.append(clean.labels, np.full(150, TARGET))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(1e-2), loss)
    network.fit(pixels, labels, batch_size=50, epochs=8, verbose=0)
    network = as_functional(network)
    clean, attack = rates(network)
    assert clean > 0.95
    assert attack > 0.95
    return network
