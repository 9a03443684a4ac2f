"""What the configuration's values may be: one table, checked before anything starts.

Unknown keys are Hydra's to refuse; what only an order, a stop or an attack knows, they check.
`register` stands in checks.py: a model of pydantic has a method of that name.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator

from sweep import BadInput
from sweep.cli.settings.fields import (
    AtLeastTwo,
    Count,
    Folder,
    Natural,
    NotNegative,
    Positive,
    Section,
    Share,
    Weight,
)
from sweep.cli.settings.probes import Probes
from sweep.cli.settings.repairs import Repairs
from sweep.cli.settings.search import Search

OURS = "sweep."

# Defaults here only say that a choice of the group need not have the key; values stand in conf/.


class Data(Section):
    """What `data=faces` and `data=h5` take."""

    folder: Folder = "outputs"
    scale: Positive = Field(1.0, description="pixels are divided by it")
    valid_images: Count | None = Field(None, description="null: all")
    valid_at_most: Count | None = Field(None, description="null: all")
    valid_per_class: Count | None = Field(None, description="null: all")
    valid_changed: Literal["brightened", "blurred", "mislabelled"] | None = None
    channels: Literal["auto", "first", "last"] = "auto"
    root: str | None = Field(None, description="a folder")
    valid: str | None = Field(None, description="a file")
    test: str | None = Field(None, description="a file")
    poisoned_valid: str | None = Field(None, description="a file")
    poisoned_test: str | None = Field(None, description="a file")
    train: str | None = Field(None, description="a file")
    identities: AtLeastTwo = Field(2, description="people to tell apart")
    images_per_identity: Count = 1
    seed: Natural = 0


class Attack(Section):
    """What every attack takes."""

    target: Natural | Annotated[list[Natural], Field(min_length=1)] | dict[str, Any] = Field(
        description="a class, 0 or higher, that the attacker wants, or a list, one for each trigger"
    )
    rate: Share = Field(description="poisoned copies as a share of the training images")
    white: Positive = Field(255.0, description="full brightness in the files")
    clean_label: bool = Field(False, description="only images of the target's class are stamped")
    decoy_rate: Share = Field(0.5, description="decoys as a share of the training images")


class BadNet(Section):
    """What `badnet=trained` and `badnet=file` take."""

    folder: Folder = "outputs"
    epochs: Count | None = Field(None, description="null: as the data say")
    batch_size: Count = 1
    learning_rate: Positive = 1.0
    seed: Natural = 0
    architecture: Literal["deepid", "preactresnet", "vgg", "mobilenet"] | None = None
    path: str | list[str] | None = Field(None, description="a file, or several to look for")
    custom_objects: str | list[str] | None = Field(
        None, description="dotted names or Python files; their code runs"
    )


class Order(Section):
    """What orders take."""

    descending: bool = Field(False, description="highest score first")
    batch_size: Count = Field(1, description="images a gradient is averaged over")
    rate: Share = Field(0.5, description="share of poisoned images in the mixture")
    eps: Positive = Field(1.0, description="how far noise may go, as a share of the weights")
    alpha: Weight = Field(0.5, description="weight of the loss without noise")
    steps: Count = Field(1, description="steps that masks are trained for")
    learning_rate: Positive = Field(1.0, description="of masks")
    unlearning_rate: Positive = Field(1.0, description="learning rate at which it unlearns")
    accuracy: Share = Field(0.5, description="clean accuracy at which it has unlearned")


class Prune(Section):
    """What is pruned, and how far."""

    layer: str | Annotated[list[str], Field(min_length=1)] = Field(
        description="a layer's name, a list of names, auto or all"
    )
    unit: Literal["channel", "head"]
    scope: Literal["global", "layer"]
    step: Count | Share = Field(
        1,
        description="channels at a time: a whole number, or a share of them between 0 and 1 "
        "(0.01 = 1 %)",
    )
    recompute: bool = Field(description="rank again after each step")
    frac: Share = Field(description="a fraction: 0.02 = 2 %")
    count: Natural = Field(description="channels")
    u: Positive = Field(description="standard deviations")
    alpha: Share = Field(description="probability of an error")
    keep: Literal["breaching", "safe"]
    semantics: Literal["zero", "gamma"]
    order: Order = Field(description="keys and values; one is chosen by prune/order=NAME")
    stop: Section = Field(
        Section(), description="keys and values; one is chosen by prune/stop=NAME"
    )

    @field_validator("order", mode="before")
    @classmethod
    def _check_ours_alone(cls, order: Any) -> Any:
        """Nothing of an order that is not ours: its settings are its own, whatever their names."""
        foreign = isinstance(order, dict) and not order.get("_target_", OURS).startswith(OURS)
        return {} if foreign else order


class GoodNetRule(Section):
    """When GoodNet flags an image."""

    false_alarm: Share = Field(0.01, description="share of clean images that may be flagged")
    answer: Literal["badnet", "repaired"] = "badnet"


class Tracking(Section):
    """Where runs are logged."""

    uri: str | None = Field(description="an MLflow tracking URI")
    experiment: str
    artifacts: str | None = Field(None, description="a folder, or an address such as s3://bucket")
    patience: NotNegative = Field(60.0, description="seconds")
    models: bool = Field(True, description="whether B' and GoodNet are logged")
    figures: bool = Field(False, description="whether each cell of a sweep is drawn")


class CacheSettings(Section):
    """How much of what was made is kept, and where."""

    folder: Folder | None = Field(None, description="null: nothing is kept")
    max_gb: NotNegative = Field(description="on disk")
    memory_gb: NotNegative = Field(description="in memory")


class Settings(Section):
    """The whole configuration."""

    seed: Natural
    verdict: bool = Field(False, description="whether it is told beside the cell")
    recheck: bool = Field(False, description="whether it is told if B' can be trusted")
    twin: bool = Field(False, description="whether B's clean twin is measured too")
    inspect: bool = Field(False, description="a verdict in place of the cell")
    rerun: bool = Field(False, description="run also what was finished before")
    fail_fast: bool = Field(False, description="stop at the first cell that fails")
    dry_run: bool = Field(False, description="list the cells and run none")
    repair: Repairs = Field(description="a list of repairs, as [finetune]")
    probe: Probes = Field(description="a list of probes, as [relearn]")
    data: Data
    attack: Attack
    badnet: BadNet
    prune: Prune
    goodnet: GoodNetRule
    tracking: Tracking
    cache: CacheSettings
    search: Search = Search()


def check(config: dict[str, Any]) -> None:
    """Raise BadInput with one sentence for each value of `config` that cannot be."""
    try:
        Settings.model_validate(config)
    except ValidationError as error:
        by_key: dict[str, list[Any]] = {}
        for details in error.errors():
            key, _ = _field(details["loc"])
            by_key.setdefault(key, []).append(details)
        # what may be of several types has an error for each, and one sentence
        lines = [_sentence(errors[0], several=len(errors) > 1) for errors in by_key.values()]
        raise BadInput("\n".join(lines)) from None


def _sentence(error: Any, several: bool) -> str:
    name, meaning = _field(error["loc"])
    if several and meaning:
        return f"{name} is {error['input']!r}; expected {meaning}"
    if error["type"] == "missing":
        return f"{name} is not set"
    if error["type"] in ("model_type", "too_short"):
        return f"{name} is {error['input']!r}; expected {meaning or 'keys and values'}"
    expected = error["msg"].replace("Input should be", "expected")
    expected = expected.replace("a valid i", "an i").replace("a valid ", "a ")
    return f"{name} is {error['input']!r}; {expected}" + (f" ({meaning})" if meaning else "")


def _field(place: tuple[str | int, ...]) -> tuple[str, str | None]:
    """The key at `place` and what the table says of it; types and positions behind it are cut."""
    section: Any = Settings
    for depth, name in enumerate(place, start=1):
        field = section.model_fields[name]
        section = field.annotation
        if depth == len(place) or not hasattr(section, "model_fields"):
            return ".".join(map(str, place[:depth])), field.description
    raise ValueError("an error that is nowhere")
