"""Settings of the losses: `loss`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from medstyle_gan.config.base import PositiveInt, Probability, Section, Weight
from medstyle_gan.config.registration_section import RegistrationLossConfig


class ZeroCentredPenaltyConfig(Section):
    """Half the squared slope of a discriminator's mean score (Mescheder et al. 2018)."""

    weight: Weight = Field(
        0.0, description="the paper's gamma; 0 switches the penalty off, at no cost"
    )
    at: Literal["real", "fake", "between"] = Field(
        "real",
        description="where: real images (R1), translations (R2), or between them "
        "(Thanh-Tung et al. 2019)",
    )
    every_n_steps: PositiveInt = Field(
        16, description="steps between applications, each with as many times the weight"
    )


class AdversarialLossConfig(Section):
    """The game between generators and discriminators."""

    name: Literal["least_squares", "hinge", "vanilla", "wgan_gp"] = Field(
        "least_squares", description="form of the game"
    )
    weight: Weight = Field(1.0, description="weight in the generators' loss")
    gradient_penalty: Weight = Field(10.0, description="penalty weight, wgan_gp only")
    zero_centred_penalty: ZeroCentredPenaltyConfig = Field(
        default_factory=ZeroCentredPenaltyConfig,
        description="what discriminators pay for being steep, in any form of the game",
    )


class WeightedLossConfig(Section):
    """A loss with nothing to set but its weight."""

    weight: Weight = Field(0.0, description="weight; 0 switches the term off, at no cost")


class ContrastiveLossConfig(Section):
    """PatchNCE between a scan and its translation (Park et al. 2020); `cut` and `fastcut` only."""

    weight: Weight = Field(0.0, description="weight between a scan and its translation")
    identity_weight: Weight = Field(
        0.0, description="weight between a style image and itself through the generator"
    )
    temperature: float = Field(0.07, gt=0, description="what likenesses are divided by")
    patches: int = Field(256, ge=2, description="places that are contrasted, of each layer")
    region: Literal["foreground", "sample"] = Field(
        "sample",
        description="where these places are: roughly in the body, or anywhere as in the paper",
    )


class PerceptualLossConfig(Section):
    """VGG-19 content distance from a scan to its translation and its reconstruction.

    At the default weights each of the two gives about a twentieth of a generator's gradient
    (seeded random VGG-19, phantoms, after the first hundred steps).
    """

    weight: Weight = Field(0.02, description="weight between an image and its translation")
    reconstruction_weight: Weight = Field(
        0.02, description="weight between an image and its reconstruction"
    )
    layers: tuple[str, ...] = Field(("relu4_2",), description="VGG-19 layers")
    every_n_steps: PositiveInt = Field(4, description="steps between applications")


class StyleLossConfig(Section):
    """VGG-19 Gram-matrix distance from a translation to its style.

    Gram matrices are divided by C·H·W, which makes them small: at the default weight the term
    gives a few hundredths of a generator's gradient (measured as for the perceptual term).
    """

    weight: Weight = Field(5_000.0, description="weight; 0 switches the term off, at no cost")
    layers: tuple[str, ...] = Field(
        ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"), description="VGG-19 layers"
    )
    layer_weights: tuple[Weight, ...] | None = Field(
        None, description="weights of the layers, in their order (null: equal ones that sum to 1)"
    )
    target: Literal["batch", "collection", "position"] = Field(
        "collection",
        description="the sample drawn, the mean Gram of the collection, or that of its part at the "
        "scan's relative height in the body",
    )
    bins: int = Field(
        6, ge=2, le=64, description="parts of the body's height; only for target=position"
    )
    every_n_steps: PositiveInt = Field(4, description="steps between applications")

    @model_validator(mode="after")
    def _a_weight_for_each_layer(self) -> StyleLossConfig:
        weights = self.layer_weights
        if weights is not None and len(weights) != len(self.layers):
            raise ValueError(
                f"layer_weights has {len(weights)} weights for {len(self.layers)} layers; give one "
                "for each of layers"
            )
        if weights is not None and self.weight and not sum(weights):
            raise ValueError(
                "layer_weights sum to 0, so nothing is left of the style; set one above 0, or "
                "weight to 0 where none is wanted"
            )
        return self


class ScheduledLossConfig(WeightedLossConfig):
    """A term whose weight may fall as the training goes on."""

    schedule: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="how the weight falls after its constant part"
    )
    constant_fraction: Probability = Field(
        0.5, description="share of the steps at the full weight; not for schedule=constant"
    )
    final: Probability = Field(
        0.0, description="share of the weight that is left at the end; not for schedule=constant"
    )


class LocalCorrelationLossConfig(ScheduledLossConfig):
    """Correlation in windows."""

    window: int = Field(9, ge=3, description="side of a window (pixels, odd)")

    @field_validator("window")
    @classmethod
    def _odd(cls, window: int) -> int:
        if window % 2 == 0:
            raise ValueError(
                f"a window has a pixel in its middle; give {window - 1} or {window + 1}"
            )
        return window


class MutualInformationLossConfig(ScheduledLossConfig):
    """Information that a translation shares with its scan."""

    bins: int = Field(32, ge=4, le=256, description="of the intensities in [-1, 1]")


class StructureLossConfig(Section):
    """What holds a translation's structure to its scan's, whatever the contrast: any method's.

    Each term is a distance of about 0 (nothing moved) to 1 (nothing in common), in each direction
    that the method translates.
    """

    region: Literal["foreground", "sample"] = Field(
        "foreground", description="where to look: roughly the body, or all of the sample"
    )
    gradient_correlation: ScheduledLossConfig = Field(
        default_factory=ScheduledLossConfig,
        description="1 - correlation of edges' magnitudes (after Penney et al. 1998)",
    )
    mind: ScheduledLossConfig = Field(
        default_factory=ScheduledLossConfig,
        description="difference of MIND descriptors (Heinrich et al. 2012)",
    )
    ncc: LocalCorrelationLossConfig = Field(
        default_factory=LocalCorrelationLossConfig,
        description="1 - squared local normalised cross-correlation (Avants et al. 2008)",
    )
    mutual_information: MutualInformationLossConfig = Field(
        default_factory=MutualInformationLossConfig,
        description="share of the scan's information that is lost (Viola & Wells 1997)",
    )

    @property
    def terms(self) -> dict[str, ScheduledLossConfig]:
        """The terms by name."""
        return {
            "gradient_correlation": self.gradient_correlation,
            "mind": self.mind,
            "ncc": self.ncc,
            "mutual_information": self.mutual_information,
        }


def _cycle() -> WeightedLossConfig:
    return WeightedLossConfig(weight=10.0)


def _identity() -> WeightedLossConfig:
    return WeightedLossConfig(weight=5.0)


class LossConfig(Section):
    """All terms of the generators' loss, with absolute weights."""

    region: Literal["sample", "foreground"] = Field(
        "sample",
        description="where cycle and identity look and what discriminators are shown: all of a "
        "sample, or its body (after MaskGAN, Phan et al. 2023)",
    )
    adversarial: AdversarialLossConfig = Field(
        default_factory=AdversarialLossConfig, description="realism"
    )
    cycle: WeightedLossConfig = Field(
        default_factory=_cycle, description="L1 between an image and its reconstruction"
    )
    identity: WeightedLossConfig = Field(
        default_factory=_identity,
        description="L1 between an image and itself through the generator into its own domain",
    )
    perceptual: PerceptualLossConfig = Field(
        default_factory=PerceptualLossConfig, description="VGG-19 content distance"
    )
    style: StyleLossConfig = Field(
        default_factory=StyleLossConfig, description="VGG-19 Gram distance"
    )
    contrastive: ContrastiveLossConfig = Field(
        default_factory=ContrastiveLossConfig, description="contrast of patches (cut, fastcut)"
    )
    structure: StructureLossConfig = Field(
        default_factory=StructureLossConfig,
        description="what translations keep of their scans' structure",
    )
    registration: RegistrationLossConfig = Field(
        default_factory=RegistrationLossConfig,
        description="likeness to the subject's own style image, where pairs are declared",
    )
    total_variation: WeightedLossConfig = Field(
        default_factory=WeightedLossConfig, description="roughness of the translations"
    )
    continuity: WeightedLossConfig = Field(
        default_factory=WeightedLossConfig,
        description="between slices of a volume: mean square of how far what a slice's style adds "
        "to it is from what its neighbour's did (gatys only)",
    )
