"""The settings of conf/detector/ are those of the functions that they name."""

import inspect
from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

import sweep
from sweep import detectors

CONF = Path(sweep.__file__).parents[1] / "conf" / "detector"


@pytest.mark.parametrize("name", [each.__name__ for each in detectors.CATALOGUE])
def test_a_file_names_the_function_and_every_setting_with_its_default(name):
    file = CONF / f"{name}.yaml"
    assert file.read_text().startswith("# ")
    built = instantiate(OmegaConf.load(file))
    assert built.func is getattr(detectors, name)
    parameters = inspect.signature(built.func).parameters
    defaults = {key: one.default for key, one in parameters.items() if key != "reference"}
    settings = OmegaConf.to_container(OmegaConf.create(dict(built.keywords)))
    plain = {key: list(one) if isinstance(one, tuple) else one for key, one in defaults.items()}
    assert settings == plain
    assert {path.stem for path in CONF.glob("*.yaml")} == {
        each.__name__ for each in detectors.CATALOGUE
    }
