"""Repairs of other papers that fine-tune B', each to its paper, to be compared with.

The network is that of the last epoch, as there.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import keras

from sweep import NotApplicable, terminal
from sweep.networks.forward import no_progress
from sweep.networks.graph import Graph
from sweep.repairs.fine_tuning import trained_once
from sweep.training import Defender
from sweep.training.rivals.attention import distilling, group_ends, plain
from sweep.training.rivals.descent import Course, Descent, Step
from sweep.training.rivals.feature_shift import feature_shift, last_layer
from sweep.training.rivals.sharpness import sharpness_aware


def ft_sam(
    defender: Defender,
    *,
    rho: float,
    smoothing: float,
    weight_decay: float,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    held_out: float,
    shift: float,
    light: float,
    images: int | None = None,
) -> keras.Model:
    """Train B' further by sharpness-aware steps, which shrink large weights (FT-SAM).

    Each batch is learned at the weights moved to where its loss is highest, by
    `rho T^2 g / ||T g||`, g the gradient and T = diag(|w|): so those that are large, as a
    backdoor's often are, move most. SGD with momentum 0.9, the rate falling to 0 on a half cosine,
    labels smoothed by `smoothing`.

    Source: Zhu, Wei, Shen, Fan, Wu, "Enhancing Fine-Tuning Based Backdoor Defense with
    Sharpness-Aware Minimization", ICCV 2023, arXiv 2304.11823. rho is 2, and 8 on 200 classes. T,
    smoothing, weight decay and epochs are those of the published code: 100 epochs on CIFAR-10, 50
    on traffic signs.

    Differs: that code takes a step of its schedule after each batch, here after each epoch. Images
    are moved by `shift` and lit by `light`, there cropped and mirrored. A share `held_out` is not
    learned, so that it can set GoodNet's threshold. Rates are those of images from 0 to 1, also
    where they are not: kernels that read others move as they would then.
    """
    course = Course(epochs, batch_size, learning_rate, held_out, shift, light, weight_decay)
    made_of = {"rho": rho, "smoothing": smoothing}
    return _descended(
        "ft_sam",
        defender,
        course,
        images,
        lambda descent: sharpness_aware(descent, rho, smoothing),
        made_of,
    )


def fst(
    defender: Defender,
    *,
    alpha: float,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    held_out: float,
    shift: float,
    light: float,
    images: int | None = None,
) -> keras.Model:
    """Draw the last layer anew and train B' so that it stays away from its old weights (FST).

    `alpha <w, w_old>` is added to the mean cross-entropy, w the kernel of the last layer, whose
    norm is kept as it was: so the features that it reads have to shift. SGD with momentum 0.9, the
    rate falling to 0 on a half cosine. Raises NotApplicable without a last layer that has a kernel.

    Source: Min, Qin, Shen, Cheng, "Towards Stable Backdoor Purification through Feature Shift
    Tuning", NeurIPS 2023, arXiv 2310.01875. There alpha is 0.2 on CIFAR-10, 0.1 on traffic signs
    and 0.001 on 100 classes and more, at a rate of 0.01, and 0.001 on those; 10 epochs on CIFAR-10,
    15 on the others.

    Differs: images, `held_out` and rates are as in `ft_sam`. There all networks have
    BatchNormalization; one without it may not recover from a last layer drawn anew.
    """
    last_layer(defender.network)
    course = Course(epochs, batch_size, learning_rate, held_out, shift, light)
    return _descended(
        "fst",
        defender,
        course,
        images,
        lambda descent: feature_shift(descent, alpha),
        {"alpha": alpha},
    )


def nad(
    defender: Defender,
    *,
    betas: Sequence[float],
    teacher_epochs: int,
    weight_decay: float,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    held_out: float,
    shift: float,
    light: float,
    images: int | None = None,
) -> keras.Model:
    """Train B' to look where a copy of it does that was fine-tuned before (NAD).

    That teacher has learned the images for `teacher_epochs`. Then B' learns their labels, and the
    teacher's attention maps: of the last maps of each size the squares, summed over channels, of
    norm 1. What these differ by, in the mean square, is added to the loss times its beta, of the
    last sizes, the last one's last. Both learn by SGD with momentum 0.9, the rate falling to 0 on a
    half cosine. Raises NotApplicable without a convolution.

    Source: Li, Lyu, Koren, Lyu, Li, Ma, "Neural Attention Distillation: Erasing Backdoor Triggers
    from Deep Neural Networks", ICLR 2021, arXiv 2101.05930. Epochs, batch size and weight decay are
    those of the published code, betas and the rate those of BackdoorBench: the published code has a
    beta of 5,000 on the last group alone, and a rate of 0.1, which falls in steps.

    Differs: a group is known by the size of its maps. Images, `held_out` and rates are as in
    `ft_sam`. There networks have BatchNormalization, and maps of 8 x 8 at least; at these betas a
    network without it, or of smaller maps, may not recover.
    """
    if not group_ends(Graph(defender.network)):
        raise NotApplicable("this repair needs a convolution; leave it out")
    course = Course(epochs, batch_size, learning_rate, held_out, shift, light, weight_decay)

    def build(descent: Descent) -> Step:
        tutor = Descent(defender, replace(course, epochs=teacher_epochs))
        teacher = tutor.run(plain(tutor), defender.sample(images), no_progress)
        return distilling(descent, teacher, betas)

    made_of = {"betas": list(betas), "teacher_epochs": teacher_epochs}
    return _descended("nad", defender, course, images, build, made_of)


def _descended(
    name: str,
    defender: Defender,
    course: Course,
    images: int | None,
    build: Callable[[Descent], Step],
    made_of: dict[str, Any],
) -> keras.Model:
    """The defender's network when `build`'s step has learned `images`, made once, with progress."""

    def train() -> keras.Model:
        descent = Descent(defender, course)
        with terminal.progress(name, course.epochs, "epochs") as done:
            return descent.run(build(descent), defender.sample(images), done)

    return trained_once(name, defender, [images, asdict(course), made_of], train)
