"""Which images a probe needs: looked at before anything long starts."""

from dataclasses import dataclass

from sweep import BadInput, checked
from sweep.attacks import Attack
from sweep.data import Faces, Files
from sweep.probes.attacker import Probe, counted


@dataclass(frozen=True)
class Supply:
    """Where an attacker's images will come from.

    `attack` poisons all images of `source`, unless the network is somebody's file beside files of
    one's own: then these are all there is (`files`).
    """

    source: Files | Faces
    attack: Attack
    trains: bool

    @property
    def files(self) -> Files | None:
        """The files whose poisoned images somebody else made; None where `attack` makes them."""
        return self.source if isinstance(self.source, Files) and not self.trains else None

    @property
    def clean(self) -> int:
        """How many clean validation images there will be."""
        return len(self.source.validation_labels())

    @property
    def poisoned(self) -> int:
        """How many poisoned validation images, without those of the target's class."""
        if self.files is None:
            labels, classes = self.source.validation_labels(), self.source.classes
            return len(self.attack.non_target_indices(labels, classes))
        images = self.files.read("poisoned_valid")
        return 0 if images is None else len(counted(images))


def require(probe: Probe, supply: Supply) -> None:
    """Raise BadInput where the images that `probe` needs will not be there."""
    if supply.files is not None and supply.files.poisoned_test is None:
        raise BadInput(
            "a probe measures an attack, and there are no poisoned test images: bd/bd_test.h5 "
            "under data.root or data.poisoned_test; leave probe out"
        )
    checked.check(probe, supply)
