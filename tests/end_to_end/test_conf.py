"""Every yaml is composed, found by globbing: a new one is tested by being there."""

import inspect
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

import sweep
from sweep import BadInput, attacks, files
from sweep.cli import schema
from sweep.data import Images
from sweep.evaluation import ValidCurve
from sweep.pruning import Cut, Evidence, LayerActivations, Oracle
from sweep.pruning.evidence import Norm
from sweep.pruning.ranking import ranking

ROOT = Path(sweep.__file__).parents[1]
CONF = ROOT / "conf"
CHOICES = [path.relative_to(CONF) for path in sorted(CONF.glob("*/**/*.yaml"))]
ORDERS, STOPS = (
    [path.stem for path in sorted((CONF / "prune" / group).glob("*.yaml"))]
    for group in ("order", "stop")
)
ATTACKS = [path.stem for path in sorted((CONF / "attack").glob("*.yaml"))]


@pytest.fixture(autouse=True)
def _root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROJECT_ROOT", str(ROOT))


def composed(*overrides: str, hydra: bool = False) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=list(overrides), return_hydra_config=hydra)


def plain(cfg: DictConfig) -> dict[str, Any]:
    return OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)


def choice(path: Path) -> str:
    return f"{path.parent.as_posix()}={path.stem}"


def test_the_yamls_are_found():
    assert {path.parent.as_posix() for path in CHOICES} >= {
        "attack",
        "badnet",
        "data",
        "prune",
        "prune/order",
        "prune/stop",
    }


def test_the_default_configuration_passes_the_check_as_it_is():
    config = plain(composed())
    schema.check(config)
    assert config["seed"] == 0
    assert config["repair"] == config["probe"] == {}
    assert config["prune"]["order"]["_target_"] == "sweep.orders.mean_activation"
    assert config["prune"]["stop"]["_target_"] == "sweep.stops.accuracy_drop"
    assert (config["prune"]["layer"], config["prune"]["keep"]) == ("auto", "breaching")


@pytest.mark.parametrize("path", CHOICES, ids=choice)
def test_every_choice_composes_resolves_and_passes_the_check(path):
    own_files = "override /data: h5" in (CONF / path).read_text()
    cfg = composed(choice(path), "data.root=somewhere" if own_files else "seed=0")
    schema.check(plain(cfg))


@pytest.mark.parametrize("path", CHOICES, ids=choice)
def test_every_choice_is_the_one_that_hydra_remembers(path):
    choices = composed(choice(path), hydra=True).hydra.runtime.choices
    assert choices[path.parent.as_posix()] == path.stem


@pytest.mark.parametrize(
    "path", [path for path in CHOICES if path.parts[0] == "experiment"], ids=str
)
def test_an_experiment_names_its_command_and_publishes_numbers_that_its_cells_have(path):
    text = (CONF / path).read_text()
    assert f"python run.py experiment={path.stem}" in text
    cfg = composed(choice(path), hydra=True)
    assert cfg.hydra.mode.name == "MULTIRUN"
    swept = {key: str(values).split(",") for key, values in cfg.hydra.sweeper.params.items()}
    for cell in cfg.published.cells if cfg.published else []:
        for key, value in cell.when.items():
            assert str(value) in swept[key]


STRATEGIES = [path for path in CHOICES if path.parts[0] == "strategy"]


@pytest.mark.parametrize("path", STRATEGIES, ids=str)
def test_a_strategy_sets_order_stop_layer_and_repairs_whatever_was_chosen_before(path):
    chosen = OmegaConf.load(CONF / path)
    set_here = {key: value for default in chosen.defaults for key, value in default.items()}
    rule = set_here.pop("override /goodnet", "score")
    assert [*set_here] == ["override /prune/order", "override /prune/stop", "override /repair"]
    cfg = composed(choice(path), "experiment=strategies", "case=faces", hydra=True)
    choices = cfg.hydra.runtime.choices
    assert choices["prune/order"] == set_here["override /prune/order"]
    assert choices["prune/stop"] == set_here["override /prune/stop"]
    assert choices["goodnet"] == rule == ("vote" if path.stem == "lab" else "score")
    assert [*cfg.repair] == set_here["override /repair"]
    assert {key: cfg.prune[key] for key in chosen.prune} == dict(chosen.prune)
    assert cfg.verdict == chosen.get("verdict", False)
    assert (
        composed(choice(path), "prune.layer=conv_2", "prune/order=random").prune.layer == "conv_2"
    )


#: What makes the orders that train cheap; all else is as their yaml says.
CHEAP = {
    "anp": ["prune.order.steps=3", "prune.order.batch_size=8"],
    "rnp": ["prune.order.steps=3", "prune.order.accuracy=0.9"],
    "weight_change": ["prune.order.accuracy=0.9", "prune.order.unlearning_rate=1"],
}


def network() -> keras.Model:
    """Four channels, and scores of two classes that tell bright images from dark ones."""
    images = keras.Input((5, 5, 1))
    x = keras.layers.Conv2D(4, 2, activation="relu", name="conv")(images)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(images, keras.layers.Dense(2, name="scores")(x))
    kernel, bias = np.full((2, 2, 1, 4), 0.25), np.full(4, -0.1)  # silent on some dark patches
    model.layers[1].set_weights([kernel, bias])
    scores = [np.float32([[-1, 1], [-1, 1], [-1, 1], [-1, 1]]), np.float32([1.5, -1.5])]
    model.layers[-1].set_weights(scores)
    return model


def everything() -> Oracle:
    """All that any order may ask for, of four channels."""
    labels = np.arange(16) % 2
    noise = np.random.default_rng(0).uniform(0, 0.2, (16, 5, 5, 1))
    pixels = (noise + 0.6 * labels[:, None, None, None]).astype(np.float32)
    valid = LayerActivations(Cut(network(), "conv"), Images(pixels, labels, key="x"), ranked=True)
    seen = valid.evidence(0, defender=valid.defender(0))
    norm = Norm(*np.ones((4, 4), np.float32), [*seen.maps])
    told = {name: value for name, value in vars(seen).items() if name != "norm"} | {"norm": norm}
    return Oracle(**told, clean=Evidence(**told), poisoned=Evidence(**told))


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_ranks(order):
    prune = composed(f"prune/order={order}", *CHEAP.get(order, [])).prune
    channels = ranking(instantiate(prune.order)(everything()))
    assert sorted(channels) == [0, 1, 2, 3]


@pytest.mark.parametrize("stop", STOPS)
def test_every_stop_names_a_candidate(stop):
    values = ["prune.frac=0.5", "prune.count=2", "prune.u=1"]
    prune = composed(f"prune/stop={stop}", *values).prune
    predicted = np.array([[0, 0], [0, 0], [0, 1], [1, 1], [1, 1]])
    curve = ValidCurve.of(predicted, np.array([0, 0]), np.array([-2.0, 0.0, 0.0, 2.0]))
    assert 1 <= instantiate(prune.stop)(curve).step <= 3


@pytest.mark.parametrize("stop", STOPS)
def test_a_stop_is_given_the_fraction_and_what_to_keep_where_it_takes_them(stop):
    prune = composed(f"prune/stop={stop}", "prune.frac=0.07", "prune.keep=safe").prune
    built = instantiate(prune.stop)
    taken = inspect.signature(built.func).parameters
    expected = {name: prune[name] for name in ("frac", "keep") if name in taken}
    assert built.keywords | expected == built.keywords
    assert expected.items() <= {"frac": 0.07, "keep": "safe"}.items()


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_stamps_faces_and_signs(name):
    attack = instantiate(composed(f"attack={name}").attack)
    files.key([attack, attack.poisoning_settings(5)])
    if attack.is_unlearned:
        with pytest.raises(BadInput, match="still to be learned"):
            attack.stamp(np.zeros((1, 32, 32, 3)))
        return
    labels = np.arange(20) % 5
    for size in ((55, 47), (32, 32)):
        images = np.full((20, *size, 3), 90, np.uint8)
        images[:, ::3] = 180
        mixture, given = attacks.poison(images, labels, attack, classes=5, seed=0)
        count = len(attacks.poisoned_indices(labels, attack, classes=5, seed=0))
        clean = 20 - count if attack.clean_label else 20
        assert count > 0 or attack.rate <= attacks.HARMLESS_RATE
        assert set(given[clean : clean + count]) <= set(attack.targets(5).flat)
        assert (mixture[clean : clean + count] != images[0]).any((1, 2, 3)).all()
        assert len(mixture) == clean + count + round(clean * attack.decoy_rate)


def test_an_attack_takes_its_settings_from_the_command_line():
    attack = instantiate(composed("attack=warp", "attack.trigger.strength=1.5").attack)
    assert attack.decoy.keywords["strength"] == 1.5
    several = instantiate(composed("attack=multi_target", "attack.target=[3,1,4]").attack)
    assert several.targets(5)[:, 0].tolist() == [3, 1, 4]
    assert instantiate(composed("attack.target=3").attack).targets(5).tolist() == [[3] * 5]


@pytest.mark.parametrize("override", ["prune.fraction=0.1", "prune/order=nothing", "sed=1"])
def test_a_key_or_a_choice_that_is_not_there_is_refused(override):
    with pytest.raises(HydraException):
        composed(override)


def test_what_a_run_writes_lies_under_the_root():
    cfg = composed(hydra=True)
    folders = [cfg.data.folder, cfg.badnet.folder]
    folders += [OmegaConf.to_container(cfg.hydra)[kind]["dir"] for kind in ("run", "sweep")]
    for folder in folders:
        told = folder.replace("${oc.env:PROJECT_ROOT}", str(ROOT))
        assert Path(told).is_relative_to(ROOT / "outputs")
