"""What files of images hold, and the attack that poisons them."""

from functools import partial

import numpy as np

from sweep import attacks
from sweep.attacks import Attack

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 3, 8, 7), dtype=np.uint8)  # channels first
LABELS = np.array([0, 1, 2, 0, 1, 2])
SUNGLASSES = Attack(partial(attacks.sunglasses, white=255.0), target=1, rate=0.1)
