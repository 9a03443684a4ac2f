"""The clean twin of a BadNet, beside a cell: did the attack take hold, and at what price?

The twin is the same network, trained on the same images as long and by the same seed, without the
attack. Nothing of it is given to a defender.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import keras
import numpy as np
from numpy.typing import NDArray

from sweep import BadInput, files, networks, terminal
from sweep.badnets import FromFile, Trained
from sweep.cache import Cache
from sweep.data import Files, Images
from sweep.evaluation.curve import Predictions
from sweep.evaluation.implant import implant, twin_rates
from sweep.files import VERSIONS
from sweep.networks import forward

if TYPE_CHECKING:
    from sweep.tracking import Log


def require(suspect: FromFile | Trained) -> None:
    """Raise BadInput where B has no twin: somebody else has trained it."""
    if not isinstance(suspect, Trained):
        raise BadInput(
            "twin=true came with badnet=file, and only a network that is trained here has a clean "
            "twin; leave twin out, or take badnet=trained"
        )


def of_twin(
    log: "Log",
    suspect: FromFile | Trained,
    source: Files,
    images: Mapping[str, Images],
    rates: Mapping[str, float],
) -> dict[str, float]:
    """The metrics `twin/...` of the clean twin, trained or recalled; the run is tagged `implant`.

    `source` are the files that `suspect` has poisoned, `rates` those of B. {} where B was trained
    without an attack, and so is its own twin: that is said.
    """
    assert isinstance(suspect, Trained)  # which `require` has seen to
    attack = source.attack
    assert attack is not None
    if attack.is_none:
        terminal.print_line(
            f"twin=true: with attack.rate={attack.rate:g} B is trained without the attack, so it "
            f"is its own clean twin."
        )
        return {}
    with log.stage("twin"):
        twin = suspect.twin(source, attack)
        predictions = {
            name: _predictions(twin, images[name], source.cache) for name in ("test", "poisoned")
        }
    found = twin_rates(predictions)
    log.tags({"implant": implant({**rates, **found})})
    return found


def _predictions(network: keras.Model, images: Images, cache: Cache) -> Predictions:
    """What `network` says of `images`, recalled where it has been asked before."""
    key = files.key([networks.digest(network), images.key, VERSIONS], "networks", "implants.py")
    said = cache.get_or_compute(f"twins/{key}", lambda: {"classes": _classes(network, images)})
    return Predictions(said["classes"][np.newaxis], images.labels, images.true_labels)


def _classes(network: keras.Model, images: Images) -> NDArray[np.int64]:
    with terminal.progress("asking the clean twin", len(images), "images") as done:
        return forward.scores(network, images.pixels, done).argmax(axis=1)
