"""Pictures of people: what differs from picture to picture is drawn by seed, then rendered.

Shapes are signed distances on the pixel grid, so edges are anti-aliased without supersampling.
"""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np

from sweep import BadInput
from sweep.data.faces.identities import People

SHAPE = (55, 47, 3)

_EYES = (24.0, 23.0)  # row and column of the point between the eyes, origin of the face's frame
_SKULL = 0.5  # 1: an ellipse, less: boxier
_BLOCK = 48  # images drawn at once: their planes stay in a core's cache

# fmt: off
_NORMAL = {  # standard deviations of what differs between pictures
    "across": .7, "down": .7, "turn": .05, "zoom": .03, "yaw": 1.2, "pitch": .5, "light_x": .5,
    "exposure": .13, "warmth": .035, "tint": .012, "contrast": .08, "spot": .25, "gaze": .5,
    "raise_brow": .4, "smile": .55,
}
_UNIFORM = {
    "light_y": (-.6, -.05), "ambient": (.36, .68), "angle": (0, 6.28), "wind": (0, 6.28),
    "spot_x": (-30, 30), "spot_y": (-30, 30), "collar": (24, 30), "squint": (.8, 1.1),
    "gap": (-2, 1.3), "blur": (.05, .22), "noise": (.004, .018), "blink": (0, 1),
}
# fmt: on


def photographs(people: People, who: np.ndarray, seed: int | Sequence[int]) -> np.ndarray:
    """Return one picture of each person in `who`: uint8 (n, 55, 47, 3), RGB.

    `who` holds positions in `people`, (n,); pose, light and all else that is not the person are
    drawn by `seed`. Raises BadInput where `who` names nobody.

    >>> from sweep.data.faces import people
    >>> photographs(people(3, seed=0), [2, 2, 0], seed=7).shape
    (3, 55, 47, 3)
    """
    who = np.asarray(who)
    if who.ndim != 1 or not np.isin(who, range(len(people))).all():
        raise BadInput(
            f"who came as {who.dtype} of shape {who.shape}; it must be a list of people, each a "
            f"whole number from 0 to {len(people) - 1}."
        )
    who = who.astype(int)
    images = np.empty((len(who), *SHAPE), np.uint8)

    def block(start: int) -> None:
        part = slice(start, start + _BLOCK)
        rng = np.random.default_rng([*np.atleast_1d(seed), 2, start])
        persons = {name: trait[who[part]] for name, trait in people.traits.items()}
        circumstances = _circumstances(len(who[part]), rng)
        images[part] = _render(_shaped(persons), _shaped(circumstances), rng)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(block, range(0, len(who), _BLOCK)))
    return images


def _circumstances(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return what differs between pictures: one entry an image, (n,), or (n, 3) for a colour."""

    def muted() -> np.ndarray:
        return 0.06 + 0.84 * rng.random((n, 1)) ** 1.3 * (1 + 0.15 * rng.normal(size=(n, 3)))

    c = {name: rng.uniform(*span, n) for name, span in _UNIFORM.items()}
    c |= {k: np.clip(rng.normal(0, s, n), -2.2 * s, 2.2 * s) for k, s in _NORMAL.items()}
    c["squint"] = np.where(c["blink"] < 0.04, 0.25, c["squint"])
    c["smile"], c["gap"] = c["smile"] + 0.8, np.where(c["gap"] < 0.3, 0, c["gap"])
    backdrop, cloth = muted(), muted()
    c |= {"backdrop": backdrop, "other_end": 0.5 * (backdrop + muted()), "cloth": cloth}
    return c


def _inside(depth: np.ndarray) -> np.ndarray:
    """Return the coverage 0..1 of a pixel `depth` pixels inside a shape's edge."""
    return np.clip(depth + 0.5, 0, 1)


def _bump(distance_squared: np.ndarray, radius: float | np.ndarray) -> np.ndarray:
    """A soft round spot: 1 in its middle, 0 from about 2.4 radii on, cheaper than a Gaussian."""
    spot = np.maximum(0, 1 - distance_squared * (1 / (6 * radius * radius)))
    return spot * spot * spot


def _egg(across: np.ndarray, along: np.ndarray, boxy: float | np.ndarray) -> np.ndarray:
    """Distance from a head's middle, 1 on its outline; 1 is an ellipse, `boxy` < 1 has corners."""
    across, along = across * across, along * along
    return np.sqrt(np.sqrt(across * across + along * along + 2 * boxy * across * along))


def _paint(planes: np.ndarray, cover: np.ndarray, colour: Iterable[np.ndarray | float]) -> None:
    """Lay `colour` (3, n, 1, 1) or (3, n, h, w) over planes (3, n, h, w) where `cover` is 1."""
    for plane, tone in zip(planes, colour, strict=True):
        plane += cover * (tone - plane)


def _shaped(table: dict[str, np.ndarray]) -> SimpleNamespace:
    """Columns (n,) or (n, 3) as attributes that broadcast with planes (n, h, w) or (3, n, h, w)."""
    return SimpleNamespace(
        **{k: np.asarray(v, np.float32).T[..., None, None] for k, v in table.items()}
    )


def _render(p: SimpleNamespace, c: SimpleNamespace, rng: np.random.Generator) -> np.ndarray:
    """Draw persons `p` in circumstances `c`, back to front: uint8 (n, 55, 47, 3)."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    y, x = (y - _EYES[0] - c.down) / (1 + c.zoom), (x - _EYES[1] - c.across) / (1 + c.zoom)
    x, y = x * np.cos(c.turn) + y * np.sin(c.turn), y * np.cos(c.turn) - x * np.sin(c.turn)
    planes = np.empty((3, *x.shape), np.float32)
    _scene(planes, p, c, x, y)

    nx, ny = x / p.width, (y - 3) / p.height  # the head's middle is 3 pixels below the eyes
    narrow = 1 - p.taper * np.maximum(0, ny) ** 2
    face = _inside((1 - _egg(nx / narrow, ny, np.where(ny < 0, _SKULL, p.jaw))) * p.width)
    fx = x + c.yaw * np.maximum(0, 1 - nx * nx)  # features turn with the head, its outline stays
    fy = y + c.pitch
    skin = _complexion(p, c, fx, fy, nx, ny)
    _paint(planes, face, skin)
    shade = skin[1] / p.skin[1]
    low, middle = np.s_[:, 26:], np.s_[:, 10:38]
    _nose_and_mouth(planes[:, *low], p, c, fx[low], fy[low], shade[low])
    _eyes(planes[:, *middle], p, c, fx[middle], fy[middle], shade[middle])
    _hair(planes, p, c, x, y)
    _spectacles(planes[:, *middle], p, fx[middle], fy[middle])
    return _camera(planes, c, rng)


def _scene(
    planes: np.ndarray, p: SimpleNamespace, c: SimpleNamespace, x: np.ndarray, y: np.ndarray
) -> None:
    """Background, the hair behind the head, neck, clothes and ears."""
    ramp = np.clip((x * np.cos(c.angle) + y * np.sin(c.angle)) / 60 + 0.5, 0, 1)
    spot = 1 + c.spot * _bump((x - c.spot_x) ** 2 + (y - c.spot_y) ** 2, 9.0)
    planes[:] = (c.backdrop + ramp * (c.other_end - c.backdrop)) * spot
    side = np.abs(x)
    behind = np.minimum(
        p.width + p.sides + 0.5 - 0.02 * (y - 3) - side, np.minimum(p.length - y, y + 8)
    )
    strand = 0.62 + 0.12 * np.sin(p.strands * x + 0.15 * y + c.wind)
    _paint(planes, _inside(behind), p.hair * strand)
    neck = _inside(np.minimum(0.62 * p.width - side, y - 10))
    _paint(planes, neck, p.skin * (0.55 + 0.15 * c.light_x * x / p.width))
    cloth = _inside(y - c.collar - 0.25 * np.maximum(0, 10 - side) + 0.12 * side)
    _paint(planes, cloth, c.cloth * (0.8 + 0.01 * x * c.light_x))
    ear = _inside(2 - 2 * (((side - p.width - 0.2) / p.ears) ** 2 + ((y - 3) / 5.5) ** 2))
    _paint(planes, ear, p.skin * (0.72 + 0.15 * c.light_x * np.sign(x)))


def _complexion(
    p: SimpleNamespace,
    c: SimpleNamespace,
    fx: np.ndarray,
    fy: np.ndarray,
    nx: np.ndarray,
    ny: np.ndarray,
) -> np.ndarray:
    """Return the face's colour at every pixel: light, folds, blush, freckles, beard."""
    side = np.abs(fx)
    along = np.clip((fy + 3) / 4, 0, 1) * np.clip((p.nose_length + 1 - fy) / 3, 0, 1)
    ridge = fx / (0.62 * p.nose_width)
    relief = p.nose_relief * along * ridge * np.maximum(0, 1 - ridge * ridge / 5) ** 2
    nz = np.sqrt(np.maximum(0.04, 1 - nx * nx - ny * ny))
    light = np.maximum(0, (nx + relief) * c.light_x + ny * c.light_y + nz * 0.9)
    light = c.ambient + (1.12 - c.ambient) * light
    socket, bag = (side - p.eye_apart + 1) ** 2 + (1.3 * (fy + 1.2)) ** 2, (side - p.eye_apart) ** 2
    light -= 0.16 * _bump(socket, 2.6)
    light -= (0.05 + 0.10 * p.age) * _bump(bag + (2 * (fy - 3.6)) ** 2, 1.9)
    fold = np.maximum(0, 1 - np.abs(side - p.nose_width - 0.5 - 0.42 * (fy - p.nose_length)))
    light -= (0.05 + 0.16 * p.age) * fold * _bump((fy - p.nose_length - 3) ** 2, 1.9)
    under_nose, under_lip = fy - p.nose_length - 1.6, fy - p.mouth_height - p.lower_lip - 1.6
    light -= 0.12 * _bump((0.55 * fx) ** 2 + under_nose**2, 0.9)
    light -= 0.12 * _bump((0.4 * fx) ** 2 + under_lip**2, 0.8)
    light += 0.10 * _bump(fx * fx + (under_nose + 3.2) ** 2, 0.8)
    light += 0.07 * _bump((side - 8) ** 2 + (fy - 8) ** 2, 2.0)
    speckle = np.sin(2.1 * fx + p.mole_down) * np.sin(2.4 * fy + 1.3 * fx + p.mole_across)
    light -= p.freckles * np.maximum(0, speckle) * _bump((0.6 * fx) ** 2 + (fy - 7) ** 2, 2.6)
    light -= 0.5 * p.mole * _bump((fx - p.mole_across) ** 2 + (fy - p.mole_down) ** 2, 0.45)
    colour = p.skin * light
    colour[1:] *= 1 - 0.22 * p.blush * _bump((side - 9) ** 2 + (fy - 9) ** 2, 2.8)
    jaw = _inside((under_lip + 19 * (nx * nx) ** 2) / 1.8)
    lip = np.abs(fy - 0.5 * (p.nose_length + 1.2 + p.mouth_height) - 0.06 * side)
    lip = _inside(np.minimum(1.6 - lip, p.mouth_width + 0.8 - side) / 1.3)
    beard = np.maximum(p.beard * jaw, p.goatee * jaw * _inside((5.5 - side) / 1.5))
    bristle = 0.85 + 0.15 * np.sin(2.9 * fx + 0.7 * fy) * np.sin(2.6 * fy)
    beard = np.maximum(beard, p.moustache * lip) * bristle
    return colour + beard * (p.hair * (0.35 + 0.5 * light) - colour)


def _nose_and_mouth(
    planes: np.ndarray,
    p: SimpleNamespace,
    c: SimpleNamespace,
    x: np.ndarray,
    y: np.ndarray,
    shade: np.ndarray,
) -> None:
    """Nostrils and the nose's wings; lips, closed or parted over teeth."""
    side, low = np.abs(x), y - p.nose_length
    nostril = ((side - 0.52 * p.nose_width) / 1.1) ** 2 + ((low - 0.5) / 0.7) ** 2
    _paint(planes, 0.6 * _bump(nostril, 0.55), p.skin * 0.3)
    wing = (side - p.nose_width) ** 2 * 1.6 + (low + 0.6) ** 2 * 0.5
    _paint(planes, 0.3 * _bump(wing, 0.6), p.skin * 0.45)
    across = (x / (p.mouth_width + 0.5 * c.smile)) ** 2
    arch = np.maximum(0, 1 - across)
    ends = _inside((1 - np.sqrt(across)) * p.mouth_width)
    y = y - p.mouth_height + 1.6 * c.smile * (across - 0.35)
    bow = p.upper_lip * (arch - 0.3 * np.maximum(0, 1 - 25 * across))
    lips = np.minimum(y + bow + c.gap * arch, (p.lower_lip + c.gap) * arch - y)
    _paint(planes, _inside(lips) * ends, p.lips * shade * (0.9 + 0.12 * np.clip(y, -1, 1)))
    hole, parted = c.gap * arch - np.abs(y), ends * (c.gap > 0)
    line = 0.75 * ends * _inside(0.05 - np.abs(y))
    _paint(planes, np.maximum(line, parted * _inside(hole)), p.lips * 0.32)
    teeth = parted * _inside(hole - 0.35) * _inside((0.3 * c.gap - y) * 2)
    _paint(planes, 0.9 * teeth, (0.9, 0.88, 0.84))


def _eyes(
    planes: np.ndarray,
    p: SimpleNamespace,
    c: SimpleNamespace,
    fx: np.ndarray,
    fy: np.ndarray,
    shade: np.ndarray,
) -> None:
    """Eyes with iris, pupil, glint and lids, and the brows; left and right at once, mirrored."""
    side, x = np.sign(fx), np.abs(fx) - p.eye_apart
    y = fy + p.eye_tilt * x
    almond = 1 - (x / p.eye_width) ** 2
    ends = _inside(3 * almond)
    upper, lower = y + p.eye_open * c.squint * almond, 0.62 * p.eye_open * c.squint * almond - y
    eye = _inside(np.minimum(upper, lower)) * (almond > -0.2)
    _paint(planes, eye, (0.93 * shade, 0.91 * shade, 0.9 * shade))
    iris = np.sqrt((x - c.gaze * side) ** 2 + (y + 0.15) ** 2)
    _paint(planes, eye * _inside(1.75 - iris), p.iris)
    _paint(planes, eye * _inside(0.7 - iris), p.iris * 0.2)
    glint = (x - 0.7 * side * np.sign(c.light_x)) ** 2 + (y + 0.8) ** 2
    _paint(planes, 0.8 * eye * _bump(glint, 0.33), (1, 1, 1))
    _paint(planes, 0.85 * ends * np.clip(0.75 - np.abs(upper + 0.1), 0, 1), p.brow * 0.35)
    _paint(planes, p.lid * ends * np.clip(0.8 - np.abs(upper + 1.5), 0, 1), p.skin * 0.45)
    _paint(planes, 0.3 * ends * np.clip(0.6 - np.abs(lower + 0.2), 0, 1), p.skin * 0.4)
    across = (x - 0.2) / p.brow_width
    y = fy + p.brow_height + c.raise_brow + p.brow_tilt * x
    y = y - p.brow_arch * (across * across - 0.4) * (0.6 + 0.4 * np.sign(across))
    brow = _inside(p.brow_thick * (1 - 0.45 * np.maximum(-0.3, across)) - np.abs(y))
    brow = 0.85 * brow * _inside((1 - np.abs(across)) * p.brow_width)
    _paint(planes, brow, p.brow * (0.5 + 0.4 * shade))


def _hair(
    planes: np.ndarray, p: SimpleNamespace, c: SimpleNamespace, x: np.ndarray, y: np.ndarray
) -> None:
    """The hair over forehead and temples, down to where its length ends, and its shadow."""
    reach = p.width + p.sides + 0.5
    short = np.clip((10 - p.length) / 8, 0, 1)  # short hair tapers towards the ears
    reach = reach - 0.3 * np.maximum(0, y + 3) * short
    egg = _egg(x / reach, np.minimum(0, y - 3) / (p.height + p.crown), _SKULL)
    skull = np.minimum((1 - egg) * reach, p.length - y + 0.15 * np.abs(x))
    from_parting = ((x - p.parting) / p.width) ** 2
    edge = p.temples * from_parting * (1 - p.round + p.round * from_parting) - p.hairline
    edge = edge + p.slant * x + p.ragged * np.sin(1.1 * x + 2 * p.strands + 0.3 * c.wind)
    cover = _inside(np.minimum(skull, edge - y))
    planes *= 1 - 0.2 * _inside((edge + 1.6 - y) / 2) * _inside(skull)
    shine = np.maximum(0, 1 - ((y + 17 + 6 * c.light_y) / 9) ** 2) * (0.6 + c.light_x * x / 22)
    fall = p.strands * (x + 0.0125 * np.abs(x) * y)
    strand = np.sin(fall + c.wind + 0.2 * y) * np.sin(1.7 * fall - 0.13 * y + 2 * c.wind)
    light = 0.74 + 0.3 * shine + 0.13 * strand + 0.2 * c.light_x * x / reach
    _paint(planes, cover, p.hair * light + 0.03 * shine)


def _spectacles(planes: np.ndarray, p: SimpleNamespace, fx: np.ndarray, fy: np.ndarray) -> None:
    """Clear glasses with thin frames, for those who wear them."""
    x, y = np.abs(fx) - p.eye_apart - 0.4, fy - 1
    lens = np.sqrt((x / p.lens_width) ** 2 + (y / p.lens_height) ** 2) - 1
    rim = 0.45 - np.abs(lens * p.lens_height)
    bridge = np.minimum(0.4 - np.abs(y + 1.2), -p.lens_width - x)
    temple = np.minimum(0.4 - np.abs(y + 1.4), x - p.lens_width)
    temple = np.minimum(temple, p.width - np.abs(fx))
    frame = _inside(np.maximum(np.maximum(rim, bridge), temple))
    _paint(planes, p.spectacles * frame, p.frame)


def _camera(planes: np.ndarray, c: SimpleNamespace, rng: np.random.Generator) -> np.ndarray:
    """Exposure, white balance, lens blur, sensor noise: planes of 0..1 to uint8 images."""
    gain = np.exp(c.exposure) * np.stack([1 + c.warmth, 1 + c.tint, 1 - c.warmth])
    planes = np.maximum(0, (planes * gain - 0.5) * (1 + c.contrast) + 0.5)
    planes -= 0.55 * np.maximum(0, planes - 0.6) ** 2  # highlights roll off as on film
    for p in (planes, planes.swapaxes(2, 3)):
        p[:, :, 1:-1] += c.blur * (p[:, :, :-2] + p[:, :, 2:] - 2 * p[:, :, 1:-1])
    planes += c.noise * rng.standard_normal(planes.shape, dtype=np.float32)
    return (np.clip(planes, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 3, 0)
