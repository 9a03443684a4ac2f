"""Triggers: an attack is a function from images to images, (n, height, width, channels).

An attack never changes its argument, keeps its dtype, and what it stamps scales with height and
width. Pixels run from 0 to `white`. `Attack` says what a BadNet is poisoned with, and `poison`
makes its training mixture; the triggers stand in `patterns`, `warping` and `face_accessories`.
Only numpy is imported.
"""

from sweep.attacks.face_accessories import eyebrows, lipstick, sunglasses
from sweep.attacks.patterns import blend, patch, sinusoid
from sweep.attacks.poisoning import Attack, next_class, poison, poisoned_indices
from sweep.attacks.warping import warp

__all__ = [
    "Attack",
    "blend",
    "eyebrows",
    "lipstick",
    "next_class",
    "patch",
    "poison",
    "poisoned_indices",
    "sinusoid",
    "sunglasses",
    "warp",
]
