"""Settings of a training's start by filling holes in images: `training.warm_start`, inpainting."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medstyle_gan.config.base import Section


class InpaintingStartConfig(Section):
    """The first steps, in which generators learn images by filling holes (Torbunov et al. 2023).

    It needs no registration, so pictures and any two collections can begin so. The defaults are
    the paper's but for the length.
    """

    name: Literal["inpainting"] = "inpainting"
    steps: int = Field(
        0, ge=0, description="of training.steps, those at the beginning that it takes (0: none)"
    )
    blocks: int = Field(
        8,
        ge=2,
        description="blocks along each side of a sample, one along a shorter one at least a pixel "
        "(the paper's: 32 of 256 pixels)",
    )
    masked: float = Field(0.4, gt=0, lt=1, description="share of the blocks that are masked")
    learning_rate: float = Field(
        5e-4, gt=0, description="Adam's, all generators; falls to 0 in the second half of the steps"
    )

    @property
    def kept(self) -> bool:
        """Whether the steps after the start are of pseudo-pairs: there are none."""
        return False
