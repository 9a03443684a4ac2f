"""What the settings of a search may be, `search.NAME`; its space is read by `sweep.search`.

Unlike elsewhere the defaults are those of conf/search/default.yaml: a yaml of one's own needs
nothing but a space.
"""

from typing import Any, Literal

from pydantic import Field

from sweep.cli.settings.fields import Count, Natural, Positive, Section, Share


class Search(Section):
    """How long a search goes on, what it looks through, and by what."""

    trials: Count = Field(40, description="at most")
    minutes: Positive | None = Field(None, description="null: all trials")
    batch: Count | None = Field(None, description="trials at a time; null: as many as run at once")
    sampler: Literal["tpe", "random"] = "tpe"
    seed: Natural = Field(0, description="of the sampler")
    most_lost: Share = Field(0.02, description="share of clean validation images")
    objective: Literal["defender", "oracle"] = "defender"
    first: list[str] = Field(
        ["strategy=answer verdict=false", "strategy=lab", "strategy=fine_pruning"],
        description="a list of what trials that come first are given",
    )
    unrepaired: list[str] = Field(
        ["prune/stop=accuracy_drop", "prune.frac=0.02", "prune.keep=safe"],
        description="a list of words of the command line",
    )
    space: dict[str, Any] = Field({}, description="settings by name, each a key and what it may be")
