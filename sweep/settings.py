"""What the configuration's values may be: one table, checked before anything starts.

Unknown keys are Hydra's to refuse; what only an order, a stop or an attack knows, they check.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sweep import BadInput

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Section(BaseModel):
    """A part of the configuration; keys that are not named here pass."""

    model_config = ConfigDict(extra="allow")


class Data(Section):
    scale: Positive = 1.0
    valid_images: Count | None = None
    channels: Literal["auto", "first", "last"] = "auto"
    identities: Annotated[int, Field(ge=2)] = 2
    images_per_identity: Count = 1
    seed: Seed = 0


class Attack(Section):
    target: Seed
    rate: Share


class BadNet(Section):
    epochs: Count = 1
    batch_size: Count = 1
    learning_rate: Positive = 1.0
    seed: Seed = 0
    architecture: Literal["deepid"] | None = None


class Prune(Section):
    layer: str
    frac: Share
    keep: Literal["breaching", "safe"]
    semantics: Literal["zero", "gamma"]


class Settings(Section):
    seed: Seed
    repair: Annotated[list[Any], Field(max_length=0)]
    data: Data
    attack: Attack
    badnet: BadNet
    prune: Prune


def check(config: dict[str, Any]) -> None:
    """Raise BadInput with one line for each value of `config` that cannot be.

    >>> check({"prune": {"layer": "auto", "frac": 7, "keep": "safe", "semantics": "zero"}})
    Traceback (most recent call last):
    ...
    sweep.BadInput: prune.frac is 7; expected to be less than 1 ...
    """
    try:
        Settings.model_validate(config)
    except ValidationError as error:
        raise BadInput("\n".join(map(_sentence, error.errors()))) from None


def _sentence(error: Any) -> str:
    name = ".".join(map(str, error["loc"]))
    if error["type"] == "missing":
        return f"{name} is not set"
    expected = error["msg"].replace("Input should be", "expected").replace("a valid", "a")
    return f"{name} is {error['input']!r}; {expected}"
