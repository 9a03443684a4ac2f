"""The cells of a multirun: the overrides of each, its config, its digest, and that it can be."""

import os
import pickle
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from sweep import BadInput, NotApplicable, terminal
from sweep.cli.checks import check, check_values, checked_parts, load_parts
from sweep.cli.choices import require_unambiguous
from sweep.cli.configs import overrides_text
from sweep.cli.hydra_errors import config_error
from sweep.cli.identity import Origin, digest
from sweep.cli.jobs import connect
from sweep.launching import unsent
from sweep.tracking import run_history, store

T = TypeVar("T")

#: The sweepers that there are, as Hydra knows them: of a grid, whose cells `overrides_of_cells`
#: gives, and of a search.
SWEEPERS = {
    "basic": f"{BasicSweeper.__module__}.{BasicSweeper.__qualname__}",
    "search": "hydra_plugins.prunesweep.SearchSweeper",  # conf/hydra/sweeper/search.yaml
}

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
    cfg, _ = config_and_choices(config, overrides)
    return cfg


def config_and_choices(
    config: DictConfig, overrides: list[str]
) -> tuple[DictConfig, Mapping[str, object]]:
    """The config of one cell of a multirun, and the choice of each group, as Hydra keeps them."""
    cfg = GlobalHydra.instance().config_loader().load_sweep_config(config, overrides)
    require_unambiguous(cfg.hydra.runtime.choices)
    own = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    return own, dict(cfg.hydra.runtime.choices)


def composed(config: DictConfig, overrides: list[str]) -> tuple[DictConfig, Mapping[str, object]]:
    """As `config_and_choices`; BadInput also for what Hydra does not take."""
    try:
        return config_and_choices(config, overrides)
    except BadInput:
        raise
    except Exception as error:
        refused = config_error(error)
        if refused is None:
            raise
        raise refused from error


def require_sweeper(hydra: DictConfig, expected: str = "basic") -> None:
    """Raise BadInput where another sweeper would run other cells than those that are compared."""
    target, chosen = hydra.sweeper.get("_target_"), hydra.runtime.choices["hydra/sweeper"]
    if target != SWEEPERS[expected]:
        came = f"._target_={target}" if chosen == expected else f"={chosen}"
        raise BadInput(
            f"the sweeper came as hydra/sweeper{came}; expected hydra/sweeper={expected}, whose "
            f"cells are what is checked before and compared at the end: leave the other one out"
        )


def check_cells(
    config: DictConfig, cells: Sequence[list[str]], varying: Sequence[str]
) -> tuple[DictConfig, list[str], Collection[str]]:
    """The config of the first of `cells` (overrides), their digests, and those that are finished.

    What is finished was checked when it ran. A cell to which its order does not apply may stay;
    it will be skipped. Raises BadInput, with every sentence there is, where one can't be run.
    """
    configs: list[DictConfig] = []
    wrong: dict[str, list[str]] = {}

    def told(job: int, look: Callable[[DictConfig], T]) -> T | None:
        try:
            return look(configs[job])
        except BadInput as error:
            where = overrides_text(cells[job], varying)
            wrong.setdefault(str(error), []).append(where)
            return None

    digests: dict[int, str] = {}
    with terminal.progress("composing", len(cells), "cells") as done:
        for job, overrides in enumerate(cells):
            configs.append(config_of_cell(config, overrides))
            if cell := told(job, digest_of):
                digests[job] = cell
            done(1)
    finished = () if wrong else finished_cells(configs[0], set(digests.values()))
    todo = [job for job, cell in digests.items() if cell not in finished]
    if todo:
        load_parts()
    with terminal.progress("checking", len(todo), "cells") as done:
        for job in todo:
            told(job, _check)
            done(1)
    if wrong:
        sentences = [
            reason if len(configs) == 1 else f"{reason}\n  (in: {'; '.join(places)})"
            for reason, places in wrong.items()
        ]
        raise BadInput("nothing was started.\n" + "\n".join(sentences))
    return configs[0], list(digests.values()), finished


def digest_of(cfg: DictConfig) -> str:
    """The digest of a cell; BadInput where a value cannot be, or images are not there."""
    check_values(cfg)
    return digest(cfg, Origin.from_config(cfg))


def _check(cfg: DictConfig) -> None:
    """Raise BadInput where a cell can neither be run nor skipped."""
    parts = checked_parts(cfg)
    with suppress(NotApplicable):
        check(cfg, parts)


def finished_cells(cfg: DictConfig, digests: Collection[str]) -> Collection[str]:
    """Which of the cells are finished and need not be run; `cfg` is that of any.

    What an earlier cell could not log is logged before.
    """
    root = Path(os.environ["PROJECT_ROOT"])
    if not store.is_there(cfg.tracking.uri, root):
        return ()
    experiment = connect(cfg)
    unsent.send(experiment, root)
    if cfg.rerun:
        return ()
    return run_history.find_all_finished(experiment, digests, models=cfg.tracking.models)
