"""Settings of highlighting a region while the rest is stylised or muted: `stylize.highlight`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medstyle_gan.config.base import PositiveInt, Probability, Section


class HighlightConfig(Section):
    """A region of interest stays faithful, the rest steps back."""

    region: Literal["off", "auto"] = Field(
        "off",
        description="auto: --mask is the region of interest, and without one what differs most in "
        "the statistics of its VGG-19 features is proposed; off: --mask is where the style goes",
    )
    bound: float | None = Field(
        None,
        ge=0,
        description="most that a voxel of the region may change by (native units, such as HU; of "
        "pictures grey levels of 255; null: a twentieth of the content's intensity range)",
    )
    emphasis: float = Field(
        0.5,
        ge=0,
        description="share of its own local contrast that the region gets on top, within the bound "
        "(0: none)",
    )
    rest: Literal["stylised", "muted"] = Field(
        "stylised", description="what the rest becomes; muted needs no --style"
    )
    muting: Probability = Field(
        0.6, description="rest muted: share of its brightness that the rest loses, down to black"
    )
    outline: int = Field(
        1,
        ge=0,
        description="width of a bright line around the region, outside it, and of a black one "
        "around that (pixels; 0: none)",
    )
    share: float = Field(
        0.03,
        gt=0,
        le=0.5,
        description="region proposed: share of the body that stands out most",
    )
    regions: PositiveInt = Field(
        1, description="region proposed: how many connected parts are kept, the strongest ones"
    )
    window: PositiveInt | None = Field(
        None,
        description="region proposed: side of the window that statistics are taken over (pixels; "
        "null: a 32nd of the shorter side, at least 4)",
    )
    margin: int | None = Field(
        None,
        ge=0,
        description="region proposed: width of the body's rim that is left out, as every edge "
        "stands out (pixels; null: a tenth of the shorter side)",
    )
