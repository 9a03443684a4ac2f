"""What Hydra refuses, told in a sentence."""

import os
import re
import sys
import traceback
from pathlib import Path

import hydra
from hydra.errors import HydraException, InstantiationException
from omegaconf.errors import OmegaConfBaseException

from sweep import BadInput


def refused(error: BaseException) -> BadInput | None:
    """What Hydra says where it does not take what it is given, in a sentence; None: all else."""
    raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    composing = raised_in.is_relative_to(Path(hydra.__file__).parent)
    told = str(error)
    if not told or not (composing or isinstance(error, HydraException | OmegaConfBaseException)):
        return None
    unknown = re.search(r"Could not override '(.*)'", told)
    if unknown:
        return BadInput(f"there is no key {unknown[1]}; python run.py --help shows all")
    choice = re.search(r"Could not (?:find|load) '(.*)/(.*?)'", told)
    if choice:
        folder = Path(os.environ["PROJECT_ROOT"]) / "conf" / choice[1]
        listed = re.findall(r"^\t(\S+)$", told.partition("Config search path")[0], re.MULTILINE)
        known = listed or sorted(path.stem for path in folder.glob("*.yaml"))
        return BadInput(f"there is no {choice[1]}={choice[2]}; expected one of {', '.join(known)}")
    if "Config group override" in told:
        given = [word for word in sys.argv[1:] if re.search(r"\bnull\b", word)]
        return BadInput(f"{' '.join(given)}: a group is not to be null; python run.py --help")
    return BadInput(" ".join(told.split()) if isinstance(error, InstantiationException) else told)
