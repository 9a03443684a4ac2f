"""Triggers: an attack is a function from images to images, (n, height, width, channels).

An attack never changes its argument, keeps its dtype, and what it stamps scales with height and
width. Pixels run from 0 to `white`. `Attack` says what a BadNet is poisoned with, and `poison`
makes its training mixture; the triggers stand in `stamped`, `warped` and `worn`. Only numpy.
"""

from sweep.attacks.mixture import Attack, drawn, poison
from sweep.attacks.stamped import blend, patch, sinusoid
from sweep.attacks.warped import warp
from sweep.attacks.worn import eyebrows, lipstick, sunglasses

__all__ = [
    "Attack",
    "blend",
    "drawn",
    "eyebrows",
    "lipstick",
    "patch",
    "poison",
    "sinusoid",
    "sunglasses",
    "warp",
]
