"""A step of sharpness-aware minimisation, which has the weights learn where they are moved to."""

import tensorflow as tf

from sweep.networks.keras_internals import Tensor
from sweep.training.rivals.descent import Descent, Step

EPSILON = 1e-12


def sharpness_aware(descent: Descent, rho: float, smoothing: float) -> Step:
    """Learn by the gradient at the weights moved to where the loss is about the highest.

    They are moved by `rho T^2 g / ||T g||`, T = diag(|w|): the highest within `||e / |w||| <= rho`
    if the loss were linear. So large weights are moved most. What BatchNormalization sees there is
    not counted in its statistics.
    """
    statistics = [variable.value for variable in descent.network.non_trainable_weights]

    def step(pixels: Tensor, labels: Tensor, rate: Tensor) -> None:
        def loss() -> Tensor:
            return descent.cross_entropy(pixels, labels, smoothing)

        gradients = descent.gradients(loss)
        kept = [tf.identity(variable) for variable in descent.variables]
        counted = [tf.identity(variable) for variable in statistics]
        norm = tf.linalg.global_norm([w * g for w, g in zip(kept, gradients, strict=True)])
        for variable, weight, gradient in zip(descent.variables, kept, gradients, strict=True):
            variable.assign_add(rho * weight**2 * gradient / (norm + EPSILON))
        gradients = descent.gradients(loss)
        for variable, value in zip([*descent.variables, *statistics], kept + counted, strict=True):
            variable.assign(value)
        descent.apply(gradients, rate)

    return step
