"""Settings of a training's start on roughly registered scans: `training.warm_start`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medstyle_gan.config.base import PositiveInt, Probability, Section, Weight


class WarmStartConfig(Section):
    """The first steps, in which generators learn contrast from pseudo-pairs, without a game.

    Scans are registered to style volumes of other subjects: right in contrast, and in detail where
    edges could be matched.
    """

    name: Literal["registered"] = "registered"
    steps: int = Field(
        0, ge=0, description="of training.steps, those at the beginning that it takes (0: none)"
    )
    pairs: PositiveInt = Field(
        20, description="registrations at most, spread over scans and subjects (about 10 s each)"
    )
    align: bool = Field(
        True,
        description="after a registration, deform until the edges of both volumes meet (some "
        "seconds a pair)",
    )
    refine: bool = Field(
        True,
        description="then align once more, to what a small generator expects that learns from all "
        "pairs (a minute, and some seconds a pair)",
    )
    low_pass: float = Field(
        0.0,
        ge=0,
        description="deviation of the Gaussian that a translation and its pseudo-pair are compared "
        "through in these steps (pixels; 0: as they are; 1 to 2 where they are not aligned)",
    )
    structure: Weight = Field(
        0.2, description="weight of 1 - correlation of a translation's edges with its scan's"
    )
    kept_weight: Weight = Field(
        0.0,
        description="weight of the distance from the pseudo-pairs in the steps after the warm "
        "start, which are then of pseudo-pairs too (0: the game is played without them)",
    )
    kept_low_pass: float = Field(
        0.0,
        ge=0,
        description="deviation of the Gaussian that this distance is measured through (pixels; 0: "
        "none): what is finer is left to the discriminators and to loss.structure",
    )
    learning_rate: float = Field(
        5e-4, gt=0, description="Adam's, all generators; falls to 0 in the second half of the steps"
    )
    least_overlap: Probability = Field(
        0.8, description="registrations whose bodies overlap less are dropped (Dice)"
    )
    least_information: Probability = Field(
        0.6,
        description="registrations that share less than this part of what the median one shares "
        "are dropped (normalised mutual information above 1)",
    )

    @property
    def kept(self) -> bool:
        """Whether the steps after the warm start are of pseudo-pairs too."""
        return self.steps > 0 and self.kept_weight > 0
