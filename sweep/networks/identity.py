"""What a network is: the digest of its content, the shape of its images, its classes."""

import hashlib

import keras
import numpy as np


def digest(network: keras.Model) -> str:
    """One digest of a network's graph and weights, whatever file it came from."""
    content = hashlib.sha256(network.to_json().encode())
    for weight in network.get_weights():
        content.update(np.ascontiguousarray(weight).tobytes())
    return content.hexdigest()


def shape_and_classes(network: keras.Model) -> tuple[tuple[int, ...], int]:
    """What `network` takes and says: an image's shape, and the number of classes."""
    return tuple(network.inputs[0].shape[1:]), network.outputs[0].shape[-1]
