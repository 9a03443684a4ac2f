"""What a search is to do, read from the command line and from `conf/search/`."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf, read_write

from sweep import BadInput
from sweep.cli.configs import to_dict
from sweep.cli.grid import config_and_choices, overrides_of_cells
from sweep.cli.schema import check
from sweep.cli.settings.search import Search
from sweep.results.searches import ORACLE_OBJECTIVE, without_search
from sweep.search import Space, Values
from sweep.search.space import REPAIR

MULTIRUN = "hydra.mode=MULTIRUN"
RECHECK = "recheck=true"
TARGET = "._target_"  # how a key ends that puts a function in place of a choice


@dataclass(frozen=True)
class Request:
    """What a search is to do.

    base: the words that all its cells are given; space: without what the command line has fixed;
    fixed: the words that did; first: the words of each trial that comes first; unrepaired: those
    that say where the curve is left of a trial without repairs; the rest as in conf/search/.
    """

    base: Sequence[str]
    space: Space
    fixed: Sequence[str]
    first: Sequence[Sequence[str]]
    unrepaired: Sequence[str]
    trials: int
    minutes: float | None
    batch: int | None
    sampler: str
    seed: int
    most_lost: float
    objective: str

    @property
    def oracle(self) -> bool:
        """Whether it looks at true attack success, which no defender knows."""
        return self.objective == ORACLE_OBJECTIVE

    def overrides(self, values: Values) -> list[str]:
        """The words of the cell that has these values of the space."""
        stop = [] if self.space.repairs(values) else list(self.unrepaired)
        return [*self.base, *stop, *self.space.overrides(values)]


def read(config: DictConfig) -> Request:
    """The request of a multirun's config; BadInput where it cannot be."""
    cells = overrides_of_cells(config)
    if len(cells) > 1:
        raise BadInput(
            f"experiment=search came with a grid of {len(cells)} cells; expected one value for "
            f"each key: what is to be searched stands in search.space"
        )
    base = without_search(cells[0])
    for word in base:
        _refuse_what_fixes_all(word)
    cfg, choices = config_and_choices(config, cells[0])
    check(to_dict(cfg))
    if "search" not in cfg or choices.get("search") is None:
        raise BadInput("the sweeper search came without a space; expected experiment=search")
    given = Search.model_validate(to_dict(cfg.search))
    oracle = given.objective == ORACLE_OBJECTIVE
    if not oracle and not cfg.recheck:
        raise BadInput(
            "experiment=search came with recheck=false, and it goes by what the recheck finds; "
            f"leave it out, or set search.objective={ORACLE_OBJECTIVE}, which no defender has"
        )
    if not oracle and "recheck" not in map(_key, base):
        base.append(RECHECK)
    space = Space.of(given.space, repaired=bool(_chosen(cfg, choices, REPAIR)))
    words = {_dotted(_key(word).removesuffix(TARGET)): word for word in base}
    fixed = [setting for setting in space.settings if _dotted(setting.key) in words]
    left = space.fixing({one.name: _chosen(cfg, choices, one.key) for one in fixed})
    if not left.settings:
        raise BadInput("search.space holds nothing to be searched; expected a setting or more")
    return Request(
        base,
        left,
        [words[_dotted(setting.key)] for setting in fixed],
        [shlex.split(words) for words in given.first],
        _unrepaired(given.unrepaired, words),
        given.trials,
        given.minutes,
        given.batch,
        given.sampler,
        given.seed,
        given.most_lost,
        given.objective,
    )


def _refuse_what_fixes_all(word: str) -> None:
    """Raise BadInput for a word of the command line that leaves nothing to be searched."""
    key, _, value = word.partition("=")
    if key == "strategy":
        raise BadInput(
            f"experiment=search came with {word}, which fixes all that is searched; leave it out: "
            f"search.first has the strategies that are tried first"
        )
    if key == "experiment":
        raise BadInput(
            f"experiment={value} came with the sweeper of a search, whose trials would be searches "
            f"themselves; expected experiment=search search=NAME, and a yaml in conf/search/"
        )


def _unrepaired(words: Sequence[str], given: Mapping[str, str]) -> list[str]:
    """The words that say where the curve is left, without those that the command line has given.

    Where it gives a stop, that is left to it altogether.
    """
    if "prune.stop" in given:
        return []
    return [word for word in words if _dotted(_key(word)) not in given]


def values_of(space: Space, cfg: DictConfig, choices: Mapping[str, object]) -> Values:
    """What of the space a cell has that was not suggested, as far as it lies in the space.

    Nothing where it repairs nothing: its curve is left elsewhere than those of the space.
    """
    values: dict[str, Any] = {}
    for setting in space.settings:
        if space.is_chosen(setting, values):
            value = setting.read(_chosen(cfg, choices, setting.key))
            if value is not None:
                values[setting.name] = value
    return values if _chosen(cfg, choices, REPAIR) else {}


def _chosen(cfg: DictConfig, choices: Mapping[str, object], key: str) -> Any:
    """The value of a key of the command line, of a group its choice, of `repair` the repairs."""
    if key == REPAIR:
        return [str(name) for name, node in cfg.repair.items() if node and "_target_" in node]
    if key in choices:
        return choices[key]
    value = OmegaConf.select(cfg, key)
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def make_multirun(config: DictConfig) -> None:
    """Let cells that are composed without `experiment=search` be of a multirun all the same."""
    given = config.hydra.overrides.hydra
    if MULTIRUN not in given:
        with read_write(config):
            given.append(MULTIRUN)


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


def _dotted(key: str) -> str:
    return key.replace("/", ".")
