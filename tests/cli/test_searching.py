"""What a search is asked for: read, refused where it cannot be, narrowed to what applies."""

import re
from collections.abc import Iterator
from pathlib import Path

import hydra
import pytest
from omegaconf import DictConfig, OmegaConf, read_write

from sweep import BadInput
from sweep.cli import program
from sweep.cli.grid import config_and_choices, require_sweeper
from sweep.cli.searching import checking
from sweep.cli.searching.request import make_multirun, read, values_of
from sweep.cli.settings.search import Search
from sweep.cli.sweeps import Sweep

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("search.space.repair.choices=[[],[finetune]]", 'search.first=["strategy=lab"]')


@pytest.fixture
def composed(monkeypatch, tmp_path) -> Iterator:
    """Compose a multirun of experiment=search, as the command line would."""
    monkeypatch.setenv("PROJECT_ROOT", str(tmp_path))

    def compose(*overrides: str, search: str = "experiment=search") -> DictConfig:
        given = [search, *overrides] if search else list(overrides)
        swept = [word for word in given if "," in word and "[" not in word]
        alone = [word for word in given if word not in swept]
        config = hydra.compose("config", overrides=alone, return_hydra_config=True)
        make_multirun(config)
        with read_write(config):
            config.hydra.overrides.task += swept
        return config

    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield compose


def test_the_experiment_alone_chooses_the_sweeper_and_the_callback(composed):
    config = composed()
    require_sweeper(config.hydra, "search")
    assert config.hydra.sweeper._target_ == program.SWEEPERS["search"]
    assert config.hydra.callbacks.sweep._target_ == "sweep.cli.Search"
    assert config.hydra.mode.name == "MULTIRUN"
    with pytest.raises(BadInput, match="came as hydra/sweeper=search; expected hydra/sweeper=basi"):
        require_sweeper(config.hydra, Sweep.sweeper)
    with pytest.raises(BadInput, match="hydra/sweeper=basic; expected hydra/sweeper=search"):
        require_sweeper(composed("hydra/sweeper=basic").hydra, "search")


def test_cells_are_given_all_but_the_search_and_are_rechecked(composed):
    request = read(composed("seed=3", "search.trials=7", "case=faces"))
    assert request.base == ["seed=3", "case=faces", "recheck=true"]
    assert (request.trials, request.minutes, request.batch) == (7, None, None)
    assert (request.sampler, request.most_lost, request.oracle) == ("tpe", 0.02, False)
    assert request.first[0] == ["strategy=answer", "verdict=false"]


def test_what_the_command_line_fixes_is_not_searched(composed):
    request = read(composed("prune.layer=conv_3", "prune/order=clp"))
    assert {"layer", "order"} & {setting.name for setting in request.space.settings} == set()
    assert request.fixed == ["prune.layer=conv_3", "prune/order=clp"]


def test_a_setting_can_be_taken_out_and_choices_changed_on_the_command_line(composed):
    request = read(composed("~search.space.layer", "search.space.order.choices=[clp,anp]"))
    (order,) = (setting for setting in request.space.settings if setting.name == "order")
    assert [*order.choices] == ["clp", "anp"]
    assert "layer" not in {setting.name for setting in request.space.settings}
    assert request.base == ["recheck=true"]


def test_a_cell_without_repairs_is_left_at_the_reading_that_the_yaml_says(composed):
    request = read(composed())
    values = {"layer": "auto", "order": "clp", "semantics": "zero", "repair": "[]"}
    stop = ["prune/stop=accuracy_drop", "prune.frac=0.02", "prune.keep=safe"]
    assert request.overrides(values)[:4] == ["recheck=true", *stop]
    assert "prune.keep=safe" not in request.overrides({**values, "repair": "[finetune]"})


@pytest.mark.parametrize(
    ("given", "stop"),
    [
        ("prune.frac=0.01", ["prune/stop=accuracy_drop", "prune.keep=safe"]),
        ("prune/stop=knee", []),
        ("prune.stop._target_=sweep.stops.knee", []),
    ],
)
def test_a_stop_that_the_command_line_gives_is_where_the_curve_is_left(composed, given, stop):
    request = read(composed(given))
    assert request.fixed == ([given] if given.startswith("prune.frac") else [])
    words = request.overrides({"repair": "[]"})
    assert words[:2] == [given, "recheck=true"]
    assert words[2 : 2 + len(stop)] == stop


def test_a_function_in_the_place_of_a_choice_fixes_it(composed):
    request = read(composed("prune.order._target_=sweep.orders.clp"))
    assert "order" not in {setting.name for setting in request.space.settings}
    assert request.fixed == ["prune.order._target_=sweep.orders.clp"]


def test_a_yaml_of_ones_own_needs_a_space_alone(composed):
    assert read(composed("search=default")).trials == 40
    bare = Search.model_validate({"space": {"order": {"key": "prune/order", "choices": ["clp"]}}})
    whole = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "search" / "default.yaml"))
    assert bare.model_dump(exclude={"space"}) == {k: v for k, v in whole.items() if k != "space"}


def test_a_repair_that_the_command_line_gives_makes_the_stop_a_part_of_the_trial(composed):
    fixed = read(composed("repair=[unlearn]")).space
    chosen = [setting.name for setting in fixed.settings if fixed.is_chosen(setting, {})]
    assert {"frac", "share", "corruption"} <= set(chosen)
    assert "rho" not in {setting.name for setting in fixed.settings}
    fixed = read(composed("repair=[]")).space
    assert "frac" not in [one.name for one in fixed.settings if fixed.is_chosen(one, {})]


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["seed=0,1"], "came with a grid of 2 cells; expected one value for each key"),
        (["recheck=false"], "came with recheck=false, and it goes by what the recheck finds"),
        (["strategy=lab"], "came with strategy=lab, which fixes all that is searched"),
        (["search.trials=0"], "search.trials is 0; expected"),
        (["search.sampler=grid"], "search.sampler is 'grid'; expected 'tpe' or 'random'"),
        (["search.objective=asr"], "search.objective is 'asr'; expected 'defender' or 'oracle'"),
        (["search.most_lost=2"], "search.most_lost is 2"),
        (["search.minutes=-1"], "search.minutes is -1"),
        (["search.first=3"], "search.first is 3; expected a list (a list of what trials that come"),
        (["search.space.frac.choices=7"], "search.space.frac: expected a list of choices"),
        (["search.space=null"], "search.space is None; expected a dictionary (settings by name"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_a_sentence(composed, overrides, says):
    with pytest.raises(BadInput, match=re.escape(says)):
        read(composed(*overrides))


def test_the_sweeper_without_the_experiment_is_refused(composed):
    with pytest.raises(BadInput, match="came without a space; expected experiment=search"):
        read(composed("hydra/sweeper=search", search=""))


def test_an_experiment_that_builds_on_a_search_is_refused(composed):
    config = composed()
    with read_write(config):
        config.hydra.overrides.task.append("experiment=mine")
    with pytest.raises(BadInput, match="expected experiment=search search=NAME, and a yaml in"):
        read(config)


def test_an_oracle_search_needs_no_recheck(composed):
    request = read(composed("search.objective=oracle"))
    assert request.oracle
    assert request.base == []


def test_a_strategy_that_comes_first_is_placed_in_the_space_as_far_as_it_lies_there(composed):
    config = composed()
    request = read(config)
    cfg, choices = config_and_choices(config, [*request.base, *request.first[0]])
    values = values_of(request.space, cfg, choices)
    assert values["order"] == "mean_activation"
    assert (values["repair"], values["frac"], values["keep"]) == ("[unlearn]", "0.002", "safe")
    cfg, choices = config_and_choices(config, [*request.base, "strategy=lab"])
    assert values_of(request.space, cfg, choices) == {}  # its curve is left elsewhere


def test_what_does_not_apply_is_left_out_and_the_rest_is_kept(composed):
    config = composed(*SMALL, "search.space.order.choices=[clp,bnp]")
    request, left_out = checking.checked(config, read(config))
    kept = {setting.name: [*setting.choices] for setting in request.space.settings}
    assert kept["semantics"] == ["zero"]  # DeepID has no BatchNormalization
    assert any("prune.semantics=gamma" in line for line in left_out)
    never = "search.space.rho is left out: it is chosen where repair is ft_sam, which never is"
    assert never in left_out
    assert not {"rho", "alpha", "share"} & set(kept)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["search.space.order.choices=[clp,tac]"],
         ["an order that looks at poisoned images", "(in: prune/order=tac)"]),
        (["search.space.layer.choices=[auto,conv_9]"], ["conv_9", "(in: prune.layer=conv_9)"]),
        (['search.first=["strategy=lab prune.frac=2"]'],
         ["prune.frac is 2", "(in: strategy=lab prune.frac=2)"]),
        (["search.space.order.choices=[clp,nonsense]"],
         ["there is no prune/order=nonsense", "(in: prune/order=nonsense)"]),
        (["search.space.semantics.choices=[gamma,zero]"],
         ["needs a BatchNormalization", "prune.semantics=gamma"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_all_at_once_and_nothing_starts(composed, overrides, says):
    config = composed(*SMALL, *overrides)
    with pytest.raises(BadInput) as refused:
        checking.checked(config, read(config))
    assert str(refused.value).startswith("nothing was started.\n")
    for words in says:
        assert words in str(refused.value)


def test_an_oracle_search_without_poisoned_images_is_refused(composed, monkeypatch):
    monkeypatch.setattr("sweep.cli.parts.Parts.poisoned", property(lambda parts: False))
    config = composed(*SMALL, "search.objective=oracle")
    with pytest.raises(BadInput, match="there are no poisoned test images"):
        checking.checked(config, read(config))


def test_an_oracle_search_may_have_oracles_in_its_space(composed):
    config = composed(*SMALL, "search.objective=oracle", "search.space.order.choices=[clp,tac]")
    request, _ = checking.checked(config, read(config))
    (order,) = (setting for setting in request.space.settings if setting.name == "order")
    assert [*order.choices] == ["clp", "tac"]
