"""What the choices of a cell are called: by their yamls, or by functions put in their place.

`prune/order=clp` is called clp; with `prune.order._target_=my_package.mine` it is called mine.
"""

from collections.abc import Mapping
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.plugins.config_source import ConfigSource
from omegaconf import DictConfig, OmegaConf

from sweep import BadInput

TARGET = "_target_"
_read: dict[tuple[str, str, str], dict[str, str] | None] = {}  # of yamls, once in a process


def chosen_names(cfg: DictConfig) -> dict[str, str]:
    """The choices of a cell by their groups: the yaml's name, or the function's."""
    return {
        group: choice_name(group, choice, OmegaConf.select(cfg, group.replace("/", ".")))
        for group, choice in _own_choices(HydraConfig.get().runtime.choices)
    }


def choice_name(group: str, choice: str, node: object) -> str:
    """The name of what `node` builds: `choice`, or its functions' where the yaml names others."""
    by_yaml = _targets_of_yaml(group, choice)
    if by_yaml is None or not isinstance(node, DictConfig):
        return choice
    targets = _targets(OmegaConf.to_container(node))
    replaced = [target for place, target in targets.items() if by_yaml.get(place) != target]
    return "+".join(target.rpartition(".")[2] for target in replaced) or choice


def chosen_repairs(cfg: DictConfig) -> dict[str, str]:
    """The keys in `cfg.repair` of the repairs that are chosen, in turn, by their names."""
    return _chosen_of_list(cfg, "repair")


def chosen_probes(cfg: DictConfig) -> dict[str, str]:
    """The keys in `cfg.probe` of the probes that are chosen, in turn, by their names."""
    return _chosen_of_list(cfg, "probe")


def _chosen_of_list(cfg: DictConfig, group: str) -> dict[str, str]:
    """The keys of what is chosen of a group that is a list, by their names.

    What is set of others does not matter, as in a grid.
    """
    keys = [str(key) for key in cfg[group] if _is_built(cfg[group][key])]
    return {choice_name(group, key, cfg[group][key]): key for key in keys}


def _is_built(node: object) -> bool:
    """Whether a node of a config names a function."""
    return isinstance(node, DictConfig) and "_target_" in node


def require_unambiguous(choices: Mapping[str, object]) -> None:
    """Raise BadInput where two folders hold what is chosen: Hydra takes the first, without a word.

    `choices` are those of all groups, as Hydra keeps them.
    """
    for group, choice in _own_choices(choices):
        folders = [source.path for source in _sources() if source.is_config(f"{group}/{choice}")]
        if len(folders) > 1:
            raise BadInput(
                f"{group}={choice} stands in {' and in '.join(folders)}; expected it in one of "
                f"them: give the yaml of your own another name"
            )


def _own_choices(choices: Mapping[str, object]) -> list[tuple[str, str]]:
    """Groups that are the program's own, and the one choice of each."""
    return [
        (group, choice)
        for group, choice in choices.items()
        if isinstance(choice, str) and not group.startswith("hydra/") and group != "prune"
    ]


def _sources() -> list[ConfigSource]:
    """The folders in which Hydra looks for yamls, in turn."""
    hydra = GlobalHydra.instance()
    return hydra.config_loader().get_sources() if hydra.is_initialized() else []


def _targets_of_yaml(group: str, choice: str) -> dict[str, str] | None:
    """All `_target_` that a yaml names; None where it cannot be read, or is made of others."""
    place = f"{group}/{choice}"
    source = next((source for source in _sources() if source.is_config(place)), None)
    if source is None:
        return None
    known = (source.scheme(), source.path, place)
    if known not in _read:
        config = source.load_config(place).config
        targets = None if "defaults" in config else _targets(OmegaConf.to_container(config))
        _read[known] = targets
    return _read[known]


def _targets(node: Any, place: str = "") -> dict[str, str]:
    """All `_target_` within `node`, by where they stand."""
    targets = {}
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if key == TARGET:
            targets[place] = str(value)
        elif isinstance(value, dict | list):
            targets |= _targets(value, f"{place}.{key}")
    return targets
