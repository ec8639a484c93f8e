"""What every section of the settings is built on: the strict base class, and the value types sections share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]  # becomes part of a path: never "." or ".."
# YAML and JSON have lists and text keys where the sections have tuples and numbers; their elements stay strict.
FromList = Field(strict=False)


class Section(BaseModel):
    """Base of all sections: unknown keys refused, frozen, no silent conversion of text to numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=(), validate_default=True)
