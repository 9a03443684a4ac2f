"""What Hydra refuses, and what it cannot build, told in a sentence."""

import importlib
import inspect
import os
import re
import sys
import traceback
from functools import partial
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.errors import HydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sweep import BadInput

KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY

#: Modules of earlier versions, and where what they held is found now.
MOVED = {
    "sweep.attacks.stamped": "sweep.attacks",
    "sweep.attacks.warped": "sweep.attacks",
    "sweep.attacks.worn": "sweep.attacks",
    "sweep.callback": "sweep.cli",
    "sweep.datasets": "sweep.data",
    "sweep.evasion": "sweep.adaptive",
    "sweep.learned": "sweep.orders",
    "sweep.shrinking": "sweep.repairs",
    "sweep.suspects": "sweep.badnets",
}
#: Choices that a plugin brings, and the extra that installs it.
EXTRAS = {
    "hydra/launcher=joblib": "joblib",
    "hydra/launcher=submitit_local": "slurm",
    "hydra/launcher=submitit_slurm": "slurm",
}
WHERE = "a module beside the command, on PYTHONPATH, or installed"


def config_error(error: BaseException) -> BadInput | None:
    """BadInput that says in a sentence what Hydra does not take; None for all other errors."""
    raised_in = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
    composing = raised_in.is_relative_to(Path(hydra.__file__).parent)
    message = str(error)
    if not message or not (composing or isinstance(error, HydraException | OmegaConfBaseException)):
        return None
    unknown = re.search(r"Could not override '(.*)'", message)
    if unknown:
        having = _choices_having(unknown[1])
        hint = (
            f"{' and '.join(having)} {'have' if len(having) > 1 else 'has'} it; " if having else ""
        )
        return BadInput(f"there is no key {unknown[1]}; {hint}python run.py --help shows all")
    choice = re.search(r"Could not (?:find|load) '(.*)/(.*?)'", message)
    if choice:
        folder = Path(os.environ["PROJECT_ROOT"]) / "conf" / choice[1]
        listed = re.findall(r"^\t(\S+)$", message.partition("Config search path")[0], re.MULTILINE)
        known = listed or sorted(path.stem for path in folder.glob("*.yaml"))
        extra = EXTRAS.get(f"{choice[1]}={choice[2]}")
        if extra:
            install = f'pip install -e ".[{extra}]" -c constraints.txt'
            return BadInput(f"{choice[1]}={choice[2]} needs the extra {extra}: {install}")
        return BadInput(f"there is no {choice[1]}={choice[2]}; expected one of {', '.join(known)}")
    if "Config group override" in message:
        overrides = [word for word in sys.argv[1:] if re.search(r"\bnull\b", word)]
        return BadInput(f"{' '.join(overrides)}: a group is not to be null; python run.py --help")
    if isinstance(error, InstantiationException):
        message = " ".join(message.split())
    return BadInput(message)


def _choices_having(key: str) -> list[str]:
    """The choices that bring a key which is not there, as they are given: badnet=file."""
    conf = Path(os.environ["PROJECT_ROOT"]) / "conf"
    first, *rest = key.split(".")
    if first == "search":
        return ["experiment=search"]
    if first in ("repair", "probe") and len(rest) > 1:  # a list; each has a section of its own
        names, group, inner = [rest[0]], first, rest[1]
    elif first == "prune" and len(rest) > 1:
        names, group, inner = ["*"], f"prune/{rest[0]}", rest[1]
    else:
        names, group, inner = ["*"], first, ".".join(rest[:1])
    files = [path for name in names for path in sorted((conf / group).glob(f"{name}.yaml"))]
    having = [path.stem for path in files if inner in [*cast(DictConfig, OmegaConf.load(path))]]
    if first in ("repair", "probe"):
        return [f"{group}=[{name}]" for name in having]
    return [f"{group}={name}" for name in having]


def reason_not_built(error: InstantiationException) -> str:
    """Why Hydra could not build what a `_target_` names; "" where that is not known."""
    message = str(error)
    key = re.search(r"full_key: (\S+)", message)
    where = f"{key[1] if key else ''}._target_".lstrip(".")
    missing = re.search(r"Error locating target '(.*?)'", message)
    if missing:
        return f"{where} is {missing[1]}: {_why_not_found(missing[1])}"
    uncallable = re.search(r"Expected a callable target, got '(.*?)' of type '(.*?)'", message)
    if uncallable:
        name, kind = uncallable.groups()
        return f"{where} is {name}, of type {kind}; expected the dotted name of a function"
    early = re.search(r"Error in call to target '(.*?)'", message)
    if early and "required positional argument" in message:
        return (
            f"{where} is {early[1]}, which was called at once, without what it is to be given; "
            f"set _partial_: true beside _target_"
        )
    return ""


def _why_not_found(target: str) -> str:
    """Why there is nothing of that dotted name."""
    module, _, name = target.rpartition(".")
    if module in MOVED:
        return f"that is {MOVED[module]}.{name} now; write this in its place"
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and f"{module}.".startswith(f"{error.name}."):
            return f"there is no module {error.name}; expected a function in {WHERE}"
        return f"{module} imports {error.name}, and there is no such module; install it"
    except Exception as error:
        return f"{module} cannot be imported ({type(error).__name__}: {error}); mend it"
    return f"{module} has no {name}; expected the name of a function there"


def build(node: DictConfig, **more: Any) -> Any:
    """Return what Hydra builds of `node`; BadInput of the target comes through as it is.

    Raises BadInput also where a function does not take what is set for it.
    """
    try:
        built = instantiate(node, **more)
    except InstantiationException as error:
        if isinstance(error.__cause__, BadInput):
            raise error.__cause__ from None
        reason = reason_not_built(error)
        if reason:
            raise BadInput(reason) from error
        raise
    if isinstance(built, partial):
        _require_settings(built)
    return built


def _require_settings(function: partial) -> None:
    """Raise BadInput where `function`, which is called later, does not take its settings."""
    signature = inspect.signature(function.func)
    try:
        signature.bind_partial(*function.args, **function.keywords)
    except TypeError as error:
        parameters = signature.parameters.values()
        names = [parameter.name for parameter in parameters if parameter.kind is KEYWORD_ONLY]
        known = f"; it takes {', '.join(names)}" if names else ""
        raise BadInput(f"{function.func.__name__} {error}{known}") from None
