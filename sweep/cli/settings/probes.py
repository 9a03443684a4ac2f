"""What the settings of probes may be, `probe.NAME`."""

from typing import Annotated

from pydantic import Field

from sweep.cli.settings.fields import Count, NotNegative, Positive, Section


class Relearning(Section):
    """What `relearn` takes."""

    poisoned: Annotated[list[Count], Field(min_length=1)] = Field(
        [1], description="a list of how many poisoned images there are"
    )
    clean: Count = Field(1, description="clean images")
    epochs: Count = 1
    batch_size: Count = 1
    learning_rate: Positive = 1.0


class Dosing(Section):
    """What `dose` takes."""

    doses: Annotated[list[NotNegative], Field(min_length=1)] = Field(
        [1.0], description="a list of factors of the change that the trigger makes"
    )


class Probes(Section):
    """What is measured of B' with the means of an attacker."""

    relearn: Relearning = Relearning()
    dose: Dosing = Dosing()
