"""What the configuration's values may be: one table, checked before anything starts.

Unknown keys are Hydra's to refuse; what only an order, a stop or an attack knows, they check.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sweep import BadInput

Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Section(BaseModel):
    """A part of the configuration; keys that are not named here pass."""

    model_config = ConfigDict(extra="allow", strict=True)


# Defaults here only say that a choice of the group need not have the key; values stand in conf/.


class Data(Section):
    """What `data=faces` and `data=h5` take."""

    scale: Positive = Field(1.0, description="pixels are divided by it")
    valid_images: Count | None = Field(None, description="null: all")
    channels: Literal["auto", "first", "last"] = "auto"
    identities: Annotated[int, Field(ge=2)] = Field(2, description="people to tell apart")
    images_per_identity: Count = 1
    seed: Natural = 0


class Attack(Section):
    """What every attack takes."""

    target: Natural = Field(description="the class that the attacker wants")
    rate: Share = Field(description="share of the training images that are poisoned")


class BadNet(Section):
    """What `badnet=trained` and `badnet=file` take."""

    epochs: Count = 1
    batch_size: Count = 1
    learning_rate: Positive = 1.0
    seed: Natural = 0
    architecture: Literal["deepid"] | None = None


class Prune(Section):
    """What is pruned, and how far."""

    layer: str = Field(description="a layer's name, or auto")
    frac: Share = Field(description="a fraction: 0.02 = 2 %")
    keep: Literal["breaching", "safe"]
    semantics: Literal["zero", "gamma"]


class Settings(Section):
    """The whole configuration."""

    seed: Natural
    repair: Annotated[list[Any], Field(max_length=0)] = Field(description="none is shipped yet")
    data: Data
    attack: Attack
    badnet: BadNet
    prune: Prune


def check(config: dict[str, Any]) -> None:
    """Raise BadInput with one sentence for each value of `config` that cannot be."""
    try:
        Settings.model_validate(config)
    except ValidationError as error:
        raise BadInput("\n".join(map(_sentence, error.errors()))) from None


def _sentence(error: Any) -> str:
    name = ".".join(map(str, error["loc"]))
    if error["type"] == "missing":
        return f"{name} is not set"
    expected = "expected []" if error["type"] == "too_long" else error["msg"]
    expected = (
        expected.replace("Input should be", "expected")
        .replace("a valid i", "an i")
        .replace("a valid ", "a ")
    )
    meaning = _description(error["loc"])
    return f"{name} is {error['input']!r}; {expected}" + (f" ({meaning})" if meaning else "")


def _description(place: tuple[str, ...]) -> str | None:
    """What the table says of the key at `place`."""
    section: Any = Settings
    for name in place[:-1]:
        section = section.model_fields[name].annotation
    return section.model_fields[place[-1]].description
