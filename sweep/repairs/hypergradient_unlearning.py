"""I-BAU: unlearn one change of all images, by a gradient that goes through the change."""

from dataclasses import asdict

import keras

from sweep import terminal
from sweep.repairs.fine_tuning import trained_once
from sweep.training import Defender
from sweep.training.fine_tuning import split
from sweep.training.rivals.hypergradient import Rounds, minimax_unlearned


def i_bau(
    defender: Defender,
    *,
    rounds: int,
    iterations: int,
    norm: float,
    share: float,
    batch_size: int,
    learning_rate: float,
    held_out: float,
    images: int | None = None,
) -> keras.Model:
    """Unlearn the one change of all images that does most, in rounds (I-BAU).

    In each a change of at most `norm` (L2, pixels from 0 to 1) is found anew that turns images
    away from what B' says of them: a pass of gradient ascent. Then B' learns all images by Adam, in
    inference; a `share` carries the change, labels kept. The gradient goes through the change too,
    which moves with the weights: an implicit hypergradient, by `iterations` of the fixed point.

    Source: Zeng, Chen, Park, Mao, Jin, Jia, "Adversarial Unlearning of Backdoors via Implicit
    Hypergradient", ICLR 2022, arXiv 2110.03735. All settings are those of the published code, the
    norm and the clipping of changed images those of its notebook for traffic signs.

    Differs: in a batch of less than 1 / `share` images one still carries the change. A share
    `held_out` is not learned, so that it can set GoodNet's threshold. Rates are those of images
    from 0 to 1, as in `ft_sam`.
    """
    settings = Rounds(rounds, iterations, norm, share, batch_size, learning_rate)

    def train() -> keras.Model:
        learned, _ = split(defender.sample(images), held_out)
        with terminal.progress("i_bau", rounds, "rounds") as done:
            return minimax_unlearned(defender, learned, settings, done)

    return trained_once("i_bau", defender, [images, held_out, asdict(settings)], train)
