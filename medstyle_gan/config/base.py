"""What the sections of the config are made of: their base and the types of their fields."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Weight = Annotated[float, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]


def _known_dims(dims: object) -> object:
    if isinstance(dims, bool) or dims not in (2, 2.5, 3):
        shown = f"{dims:g}" if isinstance(dims, float) else dims
        raise ValueError(f"must be one of 2, 2.5, 3, not {shown}")
    return 2.5 if dims == 2.5 else int(dims)


Dims = Annotated[int | float, BeforeValidator(_known_dims)]


def listed(values: tuple[float | None, ...]) -> str:
    """A list as it is given in YAML."""
    return f"[{', '.join('null' if v is None else f'{v:g}' for v in values)}]"


class Section(BaseModel):
    """Base of all sections: unknown keys are mistakes, and values cannot change later."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )
