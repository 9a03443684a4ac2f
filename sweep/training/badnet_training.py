"""How an attacker trains a BadNet.

Training runs on centred pixels of unit range and is folded into the first convolution afterwards,
so a trained network takes raw pixels, 0..`white`, like the lab's. Equal seeds give bit-identical
weights on one machine.
"""

from collections.abc import Callable

import keras
import numpy as np

from sweep import BadInput


def train(
    network: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    white: float = 255.0,
    progress: Callable[[int, int, dict[str, float]], None] | None = None,
    after_epoch: Callable[[keras.Model], None] | None = None,
) -> keras.Model:
    """Return a trained copy of an untrained `network` of `architectures`; it takes raw pixels.

    Images are (n, height, width, channels) of 0..`white`, labels (n,) ints. Adam, the learning rate
    falling to 0 on a half cosine; `seed` draws the order of the images. After every epoch
    `after_epoch` may change the weights, and `progress(epoch, epochs, logs)` is called, epoch from
    1, logs the mean `loss` and `accuracy` over it. Raises BadInput for settings or labels that
    cannot be trained with.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    check(network, images, labels, epochs, batch_size, learning_rate)
    trained = keras.models.clone_model(network)
    trained.set_weights(network.get_weights())
    steps = -(-len(images) // batch_size)
    trainer = keras.Model(trained.inputs, trained.outputs)  # keeps Adam's state out of `trained`
    trainer.compile(
        optimizer=keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(learning_rate, epochs * steps)
        ),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    rng = np.random.default_rng([seed, 4])
    for epoch in range(1, epochs + 1):
        logs = {"loss": 0.0, "accuracy": 0.0}
        order = rng.permutation(len(images))
        for start in range(0, len(images), batch_size):
            drawn = order[start : start + batch_size]
            pixels = images[drawn].astype(np.float32) / np.float32(white) - np.float32(0.5)
            batch = trainer.train_on_batch(pixels, labels[drawn], return_dict=True)
            for name in logs:
                logs[name] += float(batch[name]) * len(drawn) / len(images)
        if after_epoch is not None:
            after_epoch(trained)
        if progress is not None:
            progress(epoch, epochs, logs)
    fold(trained, "conv_1", gain=1 / white, offset=-0.5)
    return trained


def fold(network: keras.Model, layer: str, *, gain: float, offset: float) -> None:
    """Make a "valid" convolution do itself what was done to its input: x -> `gain` * x + `offset`.

    Changes the layer's kernel and bias in place; the network's scores on x are then those that it
    had on gain * x + offset, up to rounding.
    """
    kernel, bias = network.get_layer(layer).get_weights()
    shift = offset * kernel.sum((0, 1, 2), dtype=np.float64)
    network.get_layer(layer).set_weights([kernel * gain, bias + shift])


def check(
    network: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    epochs: int,
    batch_size: int,
    learning_rate: float,
) -> None:
    """Raise BadInput for images, labels or settings that `network` cannot be trained with."""
    shape, classes = network.input_shape[1:], network.output_shape[-1]
    if images.shape[1:] != shape or len(images) == 0:
        raise BadInput(
            f"Images of shape {images.shape} came; the network takes {('n', *shape)}, n > 0."
        )
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        raise BadInput(
            f"Labels came as {labels.dtype} of shape {labels.shape}; {len(images)} ints are needed."
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise BadInput(
            f"Labels run from {labels.min()} to {labels.max()}; the network has classes 0 to "
            f"{classes - 1}."
        )
    if epochs < 1 or batch_size < 1 or not learning_rate > 0:
        raise BadInput(
            f"epochs={epochs}, batch_size={batch_size}, learning_rate={learning_rate} came; "
            "all three must be above 0."
        )
