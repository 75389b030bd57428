"""Settings of teaching panels: `panel`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from medstyle_gan.config.base import PositiveInt, Probability, Section

_Index = Annotated[int, Field(ge=0)]


class PanelConfig(Section):
    """What a panel shows and says (`medstyle panel`)."""

    slices: tuple[_Index, ...] | None = Field(
        None,
        description="slices shown, counted from 0 towards superior, anterior or right, as in "
        "slice_0012.png (null: `count` of them)",
    )
    count: PositiveInt = Field(
        3, description="slices null: how many, evenly over the labels, or over the body"
    )
    captions: tuple[str, ...] | None = Field(
        None,
        description="what stands above the columns: original, each stylised one, labels (null: "
        "those words)",
    )
    title: str = Field("", description="line above all")
    label_names: dict[int, str] = Field(
        default_factory=dict, description="label value → what it is called in the legend"
    )
    label_style: Literal["filled", "outline"] = Field(
        "filled", description="labels as coloured areas over the original, or as their borders"
    )
    opacity: Probability = Field(0.5, description="of coloured areas")
    tile: int = Field(
        256, ge=32, le=2048, description="least longer side of an image in the panel (pixels)"
    )
    formats: tuple[Literal["png", "pdf", "html"], ...] = Field(
        ("png", "pdf", "html"), min_length=1, description="what is written into a folder"
    )
