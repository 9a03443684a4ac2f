"""What a cell's config comes to in MLflow: its params, and the name of its run."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sweep import BadInput, files
from sweep.cli.choices import chosen_names, chosen_probes, chosen_repairs
from sweep.redaction import redacted
from sweep.results import cells


def _strategies() -> str:
    """The table of --help; what it is read off takes seconds to import."""
    from sweep import strategies

    return strategies.listing()


OmegaConf.register_new_resolver("strategies", _strategies, replace=True)


def to_dict(cfg: DictConfig, *, resolve: bool = True) -> dict[str, Any]:
    """Return `cfg` as dicts and lists, with what it refers to in its place where `resolve`."""
    try:
        return cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=resolve))
    except OmegaConfBaseException as error:
        raise BadInput(str(error).splitlines()[0]) from error


#: Keys that say how a sweep is gone about and where files lie; config.yaml has them.
NO_PARAMS = ("published", "search", "cache", "register", "rerun", "fail_fast", "dry_run")
NO_PARAM = re.compile(r"_partial_$|\.folder$|^tracking\.(uri|experiment|artifacts|patience)$")


def params(cfg: DictConfig) -> dict[str, Any]:
    """The flattened settings that may matter to a number, and each group's choice by its name.

    Of functions those that are not the program's own stand under `_target_`.
    """
    config = {key: value for key, value in to_dict(cfg).items() if key not in NO_PARAMS}
    params = dict(_flattened(config))
    params |= {group.replace("/", "."): name for group, name in chosen_names(cfg).items()}
    lists = {"repair": chosen_repairs(cfg), "probe": chosen_probes(cfg)}
    return params | {group: f"[{','.join(chosen)}]" for group, chosen in lists.items()}


def _flattened(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value by the keys that lead to it, joined by dots."""
    for name, value in config.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value:
            yield from _flattened(value, f"{key}.")
        elif not NO_PARAM.search(key) and not _is_ours(key, value):
            yield key, value


def _is_ours(key: str, value: Any) -> bool:
    """Whether a value names one of the program's own functions, which its choice tells already."""
    return key.endswith("_target_") and str(value).partition(".")[0] == files.OURS


def run_name(
    cfg: DictConfig, overrides: Sequence[str], varying: Sequence[str] = (), layer: str = ""
) -> str:
    """A run's name, which stands alone: its strategy, and in a sweep first what varies there.

    `layer` is where it was cut, if that is known by now.
    """
    choices = chosen_names(cfg)
    layers = cfg.prune.layer
    layer = layer or (layers if isinstance(layers, str) else "+".join(layers))
    if cfg.inspect:
        return f"inspect {layer}"
    strategy = {
        "prune/order": choices["prune/order"],
        "prune/stop": choices["prune/stop"],
        "prune.layer": layer,
        "repair": " ".join(chosen_repairs(cfg)),
    }
    (settings,) = cells.shown_settings([overrides])
    keys = [key for key in settings if key in varying and key not in strategy]
    others = cells.describe(keys, [settings[key] for key in keys])
    first = [word for key, word in strategy.items() if key in varying]
    rest = [word for key, word in strategy.items() if key not in varying]
    return " ".join(filter(None, [others, *first, *rest]))


def command(overrides: Sequence[str], *flags: str) -> str:
    """The command of a cell, or of a sweep with the flag -m, for a shell; without passwords."""
    return shlex.join(["python", "run.py", *flags, *map(redacted, overrides)])


def overrides_text(overrides: Sequence[str], keys: Sequence[str]) -> str:
    """The overrides of some keys, in one line."""
    (settings,) = cells.shown_settings([overrides])
    return ", ".join(f"{key}={value}" for key, value in settings.items() if key in keys)
