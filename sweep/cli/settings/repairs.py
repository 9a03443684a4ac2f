"""What the settings of repairs may be, `repair.NAME`."""

from typing import Annotated, Literal

from pydantic import Field

from sweep.cli.settings.fields import (
    AtLeastTwo,
    Count,
    NotNegative,
    Positive,
    Section,
    Share,
    ShareOrNone,
    Weight,
)

Perturbation = Literal["corruptions", "universal", "adversarial", "mask", "additive", "pursued"]


class Augmented(Section):
    """What is done to the images that are learned."""

    shift: ShareOrNone = Field(0.0, description="share of an image's size")
    light: ShareOrNone = Field(0.0, description="share of the contrast")


class Training(Augmented):
    """What repairs take that train."""

    epochs: Count = Field(1, description="at most")
    patience: Count | None = Field(1, description="epochs without a better one; null: to the end")
    held_out: Share = Field(0.5, description="share of the images that judge")
    batch_size: Count = 1
    rates: Annotated[list[Positive], Field(min_length=1)] = Field(
        [1.0], description="learning rates to try"
    )
    tolerance: Share = Field(0.5, description="accuracy that a larger rate may cost")
    teacher: Weight = Field(0.0, description="weight of what B says")
    temperature: Positive = Field(1.0, description="by which that is softened")
    images: Count | None = Field(None, description="null: all")
    by: Perturbation | Annotated[list[Perturbation], Field(min_length=1)] = Field(
        "corruptions",
        description="corruptions, universal, adversarial, mask, additive, pursued, or some of them",
    )
    enough: Count = Field(1, description="images, below which share and rates are smaller")
    batches: Count = Field(1, description="at most")
    corruption: Share = Field(0.5, description="share of the pixels' range")
    pool: AtLeastTwo = Field(2, description="corruptions at a time")
    classes: Count = Field(1, description="with the smallest triggers")
    share: Share = Field(0.5, description="share of the images that is changed")
    strength: Positive = Field(1.0, description="share of the pixels' range")
    flow: Positive = Field(1.0, description="share of the images' size")
    area: Share = Field(0.5, description="share of the image that a mask may cover")
    count: AtLeastTwo = Field(2, description="changes at a time")
    steps: Count = Field(1, description="steps of each change")


class Rival(Section):
    """What repairs of other papers take that train."""

    learning_rate: Positive = 1.0
    held_out: Share = Field(0.5, description="share of the images that is not learned")
    images: Count | None = Field(None, description="null: all")


class Descent(Rival, Augmented):
    """What those take that fine-tune."""

    epochs: Count = 1
    batch_size: Count = 1


class SharpnessAware(Descent):
    """What `ft_sam` takes."""

    rho: Positive = Field(1.0, description="how far weights are moved before a step")
    smoothing: ShareOrNone = Field(0.0, description="of labels")
    weight_decay: NotNegative = 0.0


class FeatureShift(Descent):
    """What `fst` takes."""

    alpha: NotNegative = Field(0.0, description="weight of <w, w_old>")


class Distilling(Descent):
    """What `nad` takes."""

    betas: Annotated[list[NotNegative], Field(min_length=1)] = Field(
        [1.0], description="weights of attention maps"
    )
    teacher_epochs: Count = 1
    weight_decay: NotNegative = 0.0


class Hypergradient(Rival):
    """What `i_bau` takes."""

    rounds: Count = 1
    batch_size: Count = 1
    iterations: Count = Field(1, description="of the fixed point")
    norm: Positive = Field(1.0, description="of the change, of pixels from 0 to 1")
    share: Share = Field(0.5, description="share of a batch that carries the change")


class Clipping(Rival):
    """What `unit` takes."""

    steps: Count = 1
    deviations: NotNegative = Field(1.0, description="above the mean")
    drop: Share = Field(0.5, description="of clean accuracy, at most")


class Repairs(Section):
    """What is done to the pruned network, in turn."""

    finetune: Training = Training()
    unlearn: Training = Training()
    ft_sam: SharpnessAware = SharpnessAware()
    fst: FeatureShift = FeatureShift()
    i_bau: Hypergradient = Hypergradient()
    unit: Clipping = Clipping()
    nad: Distilling = Distilling()
