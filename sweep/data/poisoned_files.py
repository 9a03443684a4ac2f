"""Own images, or the embedded faces, poisoned by an attack: HDF5 files in the lab's layout.

They hold `true_label` and `clean_index` too, and are made once and kept, so that they take the same
path as files from elsewhere.
"""

from dataclasses import replace
from pathlib import Path

import h5py

from sweep import BadInput, files, terminal
from sweep.attacks import Attack
from sweep.data import hdf5, hdf5_writing
from sweep.data.sources import LAYOUT, REQUIRED, Files
from sweep.files import code_of_others

#: The sources that poisoned files depend on, beside the clean ones and the attack.
MADE_BY = ("attacks", "data/hdf5_writing.py", "data/poisoned_files.py")


def poisoned(source: Files, attack: Attack) -> Files:
    """Return `source` with the poisoned versions of its clean images, kept under its folder.

    Without them where the trigger is still to be learned: see `badnets.Trained.files`.
    """
    if source.attack == attack or attack.is_unlearned:
        return source
    settings = [source.digest(), attack.poisoning_settings(source.classes)]
    key = files.key(settings, *MADE_BY, *code_of_others(attack.triggers))
    root = Path(source.folder).expanduser() / f"poisoned-{key}"
    with files.lock(root, terminal.awaiting("the poisoned images")):
        if not root.is_dir():
            with files.atomic_write(root) as unfinished:
                _poison(source, attack, unfinished)
    return replace(
        source,
        poisoned_valid=root / LAYOUT["poisoned_valid"],
        poisoned_test=root / LAYOUT["poisoned_test"],
        attack=attack,
    )


def _poison(source: Files, attack: Attack, root: Path) -> None:
    """Write the poisoned versions of the clean validation and test files, in their own dtype."""
    for name in REQUIRED:
        clean = replace(source, scale=1.0).read_clean(name)
        with h5py.File(getattr(source, name)) as file:
            dtype = file["data"].dtype
        index = attack.non_target_indices(clean.labels, source.classes)
        triggers = attack.assign_triggers(len(index))
        if not len(index):
            raise BadInput(
                f"all {name} images are of the class that the attack wants for them, so that "
                f"there is none to poison; set attack.target to another class"
            )
        pixels = clean.pixels.take(index)
        hdf5_writing.write(
            root / LAYOUT[f"poisoned_{name}"],
            (
                attack.stamp(pixels[rows].astype(dtype), triggers[rows])
                for rows in hdf5.steps(pixels.shape)
            ),
            channels=source.channels,
            label=attack.labels(triggers, clean.labels[index], source.classes),
            true_label=clean.labels[index],
            clean_index=index,
        )
