"""The cells of a multirun: the overrides of each, and its config."""

import pickle

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from sweep import BadInput
from sweep.cli.choices import require_unambiguous

#: The sweeper whose cells `overrides_of_cells` gives.
SWEEPER = f"{BasicSweeper.__module__}.{BasicSweeper.__qualname__}"

_compose = ConfigLoaderImpl.load_sweep_config


def compose_once() -> None:
    """Let Hydra compose each cell of a multirun once: it takes longer than many a cell.

    Hydra does it to see whether the cells can be, and again to launch them.
    """
    composed: dict[tuple[str, ...], bytes] = {}

    def load(
        self: ConfigLoaderImpl, master_config: DictConfig, sweep_overrides: list[str]
    ) -> DictConfig:
        key = tuple(sweep_overrides)
        if key not in composed:
            composed[key] = pickle.dumps(_compose(self, master_config, sweep_overrides))
        config: DictConfig = pickle.loads(composed[key])
        OmegaConf.copy_cache(from_config=master_config, to_config=config)
        return config

    ConfigLoaderImpl.load_sweep_config = load  # type: ignore[method-assign]


def overrides_of_cells(config: DictConfig) -> list[list[str]]:
    """The overrides of each cell that Hydra's own sweeper makes of a multirun."""
    params = dict(config.hydra.sweeper.get("params") or {})
    arguments = [f"{key}={value}" for key, value in params.items()]
    arguments += config.hydra.overrides.task
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    (cells,) = BasicSweeper.split_arguments(parser.parse_overrides(arguments), max_batch_size=None)
    return [list(overrides) for overrides in cells]


def config_of_cell(config: DictConfig, overrides: list[str]) -> DictConfig:
    """The config of one cell of a multirun."""
    cfg = GlobalHydra.instance().config_loader().load_sweep_config(config, overrides)
    require_unambiguous(cfg.hydra.runtime.choices)
    return OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])


def require_sweeper(hydra: DictConfig) -> None:
    """Raise BadInput where another sweeper would run other cells than those that are compared."""
    target, chosen = hydra.sweeper.get("_target_"), hydra.runtime.choices["hydra/sweeper"]
    if target != SWEEPER:
        came = f"._target_={target}" if chosen == "basic" else f"={chosen}"
        raise BadInput(
            f"the sweeper came as hydra/sweeper{came}; expected hydra/sweeper=basic, whose grid is "
            f"what is checked before and compared at the end: leave the other one out"
        )
