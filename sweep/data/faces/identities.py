"""Identities as tables of traits, sampled by seed."""

from dataclasses import dataclass

import numpy as np

from sweep import BadInput

# fmt: off
_COLOURS = {  # between which a person's are mixed
    "skin": "fcdeca f0c8ac deac88 b88460 865a40 583a2c", "grey": "706c6a cecbc6",
    "hair": "120f0f 2c1d15 543622 845a34 cea66a 924220", "frame": "181618 58301e 969492 7c1c24",
    "iris": "281810 4e301a 68582c 486846 4c7498 78848c",
}
# Lengths in pixels (half ones for a shape's width and height), heights from the eyes, slopes.
_TRAITS = {
    "width": (14.6, 18), "height": (24, 27), "taper": (-.1, .34), "jaw": (.5, 1.1),
    "ears": (1.8, 3.4), "blush": (0, .5), "eye_apart": (7.5, 9.3), "eye_width": (3.2, 4.2),
    "eye_open": (1.35, 2.2), "eye_tilt": (-.12, .16), "lid": (.1, .45), "brow_height": (4.4, 6.4),
    "brow_width": (4.2, 6), "brow_thick": (.45, 1.35), "brow_tilt": (-.16, .1),
    "brow_arch": (.2, 1.9), "nose_length": (9.8, 13), "nose_width": (2.6, 4.8),
    "nose_relief": (.5, 1), "mouth_height": (17.6, 20.2), "mouth_width": (5.2, 7.8),
    "upper_lip": (.6, 1.7), "lower_lip": (1, 2.3), "mole_down": (7, 19), "mole_across": (-11, 11),
    "lens_width": (5.4, 6.6), "lens_height": (3.6, 5.2),
}
_OPTIONAL = {  # what only a share of the people have, and how much of it
    "beard": (.45, .25, .95), "goatee": (.35, .4, .95), "moustache": (.5, .3, .95),
    "freckles": (.15, .1, .3), "mole": (.2, .5, .9), "spectacles": (.2, .75, 1),
}
_STYLES = {  # of hair: short, with a fringe, long, bald, curly
    "hairline": ((13, 18), (5.5, 8), (12, 18), (26, 34), (11, 16)),
    "temples": ((13, 22), (12, 20), (28, 44), (27, 36), (14, 20)),
    "round": ((.3, 1), (.8, 1), (.2, .9), (.6, 1), (.3, .8)),
    "parting": ((-6, 6), (-3, 3), (-4, 4), (-1, 1), (-2, 2)),
    "slant": ((-.25, .25), (-.12, .12), (-.1, .1), (0, 0), (-.05, .05)),
    "ragged": ((0, 1), (.3, 1.4), (0, .7), (0, .2), (.6, 1.2)),
    "crown": ((.5, 4), (1, 3.5), (1, 4), (-.8, 0), (3, 7)),
    "sides": ((0, 1.2), (.6, 2.4), (1.5, 5), (-.3, .4), (2, 6)),
    "length": ((-4, 3), (-2, 30), (14, 50), (-2, 5), (2, 14)),
    "strands": ((.9, 2), (.8, 1.7), (.6, 1.6), (1, 2), (1.6, 2.4)),
}
# fmt: on


@dataclass(frozen=True)
class People:
    """Identities: `traits` maps a name to one entry a person, (n,), or (n, 3) for a colour."""

    traits: dict[str, np.ndarray]

    def __len__(self) -> int:
        """How many people."""
        return len(self.traits["skin"])


def people(count: int, seed: int) -> People:
    """Return `count` identities, drawn by `seed`; equal arguments give equal people.

    >>> len(people(5, seed=0))
    5
    """
    if count < 1:
        raise BadInput(f"{count} people were asked for; at least 1 is needed.")
    rng = np.random.default_rng([seed, 1])

    def mixed(name: str, at: np.ndarray, jitter: float) -> np.ndarray:
        palette = np.array([list(bytes.fromhex(code)) for code in _COLOURS[name].split()]) / 255
        at = np.clip(at, 0, 1) * (len(palette) - 1)
        colour = np.stack([np.interp(at, range(len(palette)), c) for c in palette.T], 1)
        return np.clip(colour * (1 + rng.normal(0, jitter, (count, 3))), 0, 1)

    tone, age = rng.beta(1, 1.4, count), rng.random(count)
    style = rng.choice(5, count, p=(0.42, 0.14, 0.24, 0.10, 0.10))
    p = {name: rng.uniform(*span, count) for name, span in _TRAITS.items()}
    p |= {k: rng.uniform(*np.array(spans, float)[style].T) for k, spans in _STYLES.items()}
    for name, (share, low, high) in _OPTIONAL.items():
        p[name] = np.where(rng.random(count) < share, rng.uniform(low, high, count), 0)
    bearded = (p["length"] < 14) & (rng.random(count) < 0.5)
    p |= {name: p[name] * bearded for name in ("beard", "goatee", "moustache")}
    fair = np.clip(1.2 - 1.5 * tone, 0.15, 1)  # dark skin comes with dark hair and eyes
    grey = ((age > 0.75) & (rng.random(count) < 0.7))[:, None]
    skin, hair = mixed("skin", tone, 0.02), mixed("hair", rng.random(count) * fair, 0.06)
    hair = np.where(grey, mixed("grey", rng.random(count), 0.03), hair)
    iris, frame = mixed("iris", rng.random(count) * fair, 0.08), mixed("frame", age, 0.03)
    lips = skin * (0.86, 0.60, 0.60) * rng.uniform(0.85, 1.1, (count, 1))
    p |= {"skin": skin, "hair": hair, "brow": 0.75 * hair + 0.05 * skin, "iris": iris}
    p |= {"lips": lips, "frame": frame, "age": np.clip(1.5 * age - 0.4, 0, 1)}
    return People(p)
