"""Settings of learning from scans and style volumes of one subject that do not align.

After RegGAN (Kong et al. 2021, "Breaking the Dilemma of Medical Image-to-image Translation",
NeurIPS 34): `loss.registration`, and `registration`, the network that it deforms by.
"""

from __future__ import annotations

from pydantic import Field

from medstyle_gan.config.base import PositiveInt, Section, Weight


class RegistrationLossConfig(Section):
    """L1 between a translation, deformed, and its subject's own style image."""

    weight: Weight = Field(
        0.0,
        description="weight (the paper's code has 20); 0 switches it off, at no cost; needs "
        "data.pairing=subject",
    )
    deform: bool = Field(
        True,
        description="deform translations before they are compared; false takes pairs as aligned, "
        "with no network",
    )
    smoothness: Weight = Field(
        10.0,
        description="weight of the deformation's roughness: mean square of what displacements "
        "(pixels) differ by from one pixel to the next",
    )


class RegistrationNetworkConfig(Section):
    """The network that finds deformations; a training needs it, and no model that is left."""

    width: PositiveInt = Field(16, description="channels of its first level, up to four times that")
    levels: int = Field(
        4, ge=1, le=8, description="resolutions, each half of the one before; the first is half"
    )
