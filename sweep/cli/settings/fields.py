"""What a section of the configuration is, and the kinds of values that settings share."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1, lt=2**31)]
AtLeastTwo = Annotated[int, Field(ge=2, lt=2**31)]
Natural = Annotated[int, Field(ge=0, lt=2**53)]
Folder = Annotated[str, Field(min_length=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
ShareOrNone = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A part of the configuration; keys that are not named here pass."""

    model_config = ConfigDict(extra="allow", strict=True)
