"""What a trigger has learned: arrays by their names, in a file beside the network that knows it.

The other triggers are functions of images alone; that of an attack with a `learn` step,
`input_aware` and `grond`, also takes arrays, `learned`, that come of a training:

1. `badnets.Trained` trains where nothing is kept yet. `Attack.learn`, of `adaptive`, is given clean
   images and poisons them itself; `twin` gives it the clean twin, which is trained only if it asks.
   It returns the network and the arrays. They are written to `NAME` first and the network last, so
   that beside a network the arrays are there.
2. `badnets.Trained.files` poisons validation and test images by the attack with its `learned`, the
   path of that file; so they are made after the training. Their folder is named by the file's
   content, as by everything else that they depend on.
3. `Attack.stamp` reads the arrays and hands them to the trigger.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

#: Arrays by their names.
Learned = Mapping[str, np.ndarray]
#: Of the file, in the folder of the BadNet.
NAME = "trigger.npz"


def write(path: Path, learned: Learned) -> None:
    """Write the arrays, under their names, to a file .npz."""
    np.savez(path, **dict[str, Any](learned))


def read(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of such a file."""
    with np.load(path) as file:
        return dict(file)


def digest(path: Path) -> str:
    """Return the SHA-256 of the file, which equal arrays make equal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
