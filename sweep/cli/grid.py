"""The cells of a multirun: the overrides of each, and its config."""

from collections.abc import Iterable
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from sweep.cli.choices import require_unambiguous
from sweep.redaction import redacted

#: The sweeper whose cells `overrides_of_cells` gives.
SWEEPER = f"{BasicSweeper.__module__}.{BasicSweeper.__qualname__}"


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


def redact_files(paths: Iterable[Path]) -> None:
    """Take the passwords out of files that Hydra itself has written."""
    for path in paths:
        text = path.read_text() if path.is_file() else ""
        if redacted(text) != text:
            path.write_text(redacted(text))
