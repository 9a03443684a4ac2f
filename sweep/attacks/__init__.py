"""Triggers: an attack is a function from images to images, (n, height, width, channels).

An attack never changes its argument, keeps its dtype, and what it stamps scales with height and
width, but for `bpp`, `dfba`, `ftrojan`, `grond` and `input_aware`, whose smallest part is a pixel.
Pixels run from 0 to `white`. `Attack` says what a BadNet is poisoned with, and `poison` makes its
training mixture; the triggers stand in `patterns`, `black_and_white`, `warping`, `quantisation`,
`frequency`, `face_accessories` and `generated`, and how some are learned in `learned`. Only numpy
is imported.
"""

from sweep.attacks.black_and_white import dfba
from sweep.attacks.face_accessories import eyebrows, lipstick, sunglasses
from sweep.attacks.frequency import ftrojan
from sweep.attacks.generated import input_aware
from sweep.attacks.patterns import blend, grond, patch, sinusoid
from sweep.attacks.poisoning import (
    HARMLESS_RATE,
    Attack,
    next_class,
    poison,
    poisoned_indices,
)
from sweep.attacks.quantisation import bpp, bpp_negative
from sweep.attacks.warping import warp

__all__ = [
    "HARMLESS_RATE",
    "Attack",
    "blend",
    "bpp",
    "bpp_negative",
    "dfba",
    "eyebrows",
    "ftrojan",
    "grond",
    "input_aware",
    "lipstick",
    "next_class",
    "patch",
    "poison",
    "poisoned_indices",
    "sinusoid",
    "sunglasses",
    "warp",
]
