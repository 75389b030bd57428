"""Settings of the networks: `generator`, `discriminator` and `vgg`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from medstyle_gan.config.base import PositiveInt, Probability, Section


class _GeneratorSection(Section):
    name: str
    background: Literal["free", "clamp"] = Field(
        "free",
        description="while training, translations outside the input's body: the generator's own, "
        "or the background value that whole volumes get there anyway",
    )
    guide_radius: int = Field(
        0,
        ge=0,
        le=16,
        description="half side of the windows in which each translation becomes an affine map of "
        "its input (guided filter, the last layer): edges are then the input's (pixels; 0: none)",
    )
    guide_epsilon: float = Field(
        1e-3,
        gt=0,
        description="variance of the input below which such a window is flat ([-1, 1] units "
        "squared)",
    )


class _ResNetSection(_GeneratorSection):
    ngf: PositiveInt = Field(64, description="channels of the first layer")
    blocks: PositiveInt = Field(9, description="residual blocks (the papers' 6 or 9)")
    upsampling: Literal["transpose", "resize", "linear"] = Field(
        "resize",
        description="transposed convolution, or doubling (nearest, or bilinear or trilinear) then "
        "convolution",
    )
    checkpoint_activations: bool = Field(
        False,
        description="compute the residual blocks again in the backward pass instead of keeping "
        "what is in them: less memory, about a fifth more time",
    )
    residual: bool = Field(
        False,
        description="learn how far each value goes from the input's towards 1 or -1, where "
        "contrasts are close",
    )
    attention: int = Field(
        0,
        ge=0,
        description="heads of self-attention behind the middle residual block (0: none); they "
        "must divide 4 x ngf",
    )

    @model_validator(mode="after")
    def _heads_of_equal_width(self) -> _ResNetSection:
        if self.attention and 4 * self.ngf % self.attention:
            raise ValueError(
                f"{self.attention} heads of attention do not divide {4 * self.ngf} channels "
                "(4 x ngf); set attention to 1, 2 or 4"
            )
        return self


class ResNetGeneratorConfig(_ResNetSection):
    """ResNet generator (Johnson et al. 2016, as used by CycleGAN)."""

    name: Literal["resnet"] = "resnet"


class SwitchableGeneratorConfig(_ResNetSection):
    """One ResNet for both directions, steered by AdaIN codes (Gu and Ye 2021)."""

    name: Literal["switchable"] = "switchable"
    code_size: PositiveInt = Field(
        32, description="numbers that a direction's scales and shifts are made of"
    )


class UNetGeneratorConfig(_GeneratorSection):
    """U-Net generator (MONAI's)."""

    name: Literal["unet"] = "unet"
    ngf: PositiveInt = Field(64, description="channels of the first level")
    levels: int = Field(4, ge=2, le=8, description="resolutions, each half of the one before")


GeneratorConfig = ResNetGeneratorConfig | UNetGeneratorConfig | SwitchableGeneratorConfig


class ScoreAugmentationConfig(Section):
    """What discriminators see of images, real and translated alike (Zhao et al. 2020).

    Intensities stay as they are: they mean something.
    """

    translation: Probability = Field(
        0.0, description="largest shift along each axis (share of the side; the paper's is 0.125)"
    )
    cutout: Probability = Field(
        0.0, description="side of a box of air (share of the image's side; the paper's is 0.5)"
    )


class PatchGANConfig(Section):
    """PatchGAN discriminator (Isola et al. 2017); three layers see 70x70 pixels."""

    name: Literal["patchgan"] = "patchgan"
    ndf: PositiveInt = Field(64, description="channels of the first layer")
    layers: PositiveInt = Field(3, description="strided layers: 1, 2, 3 see 16, 34, 70 pixels")
    scales: int = Field(1, ge=1, le=4, description="discriminators, each at half the size before")
    spectral_norm: bool = Field(False, description="spectral normalisation of each convolution")
    augmentation: ScoreAugmentationConfig = Field(
        default_factory=ScoreAugmentationConfig,
        description="differentiable augmentation of all that they are shown",
    )


class VGGConfig(Section):
    """The frozen VGG-19 that perceptual and style losses look through."""

    weights: str = Field(
        "imagenet", description="imagenet (downloaded once), a file's path, or random:SEED"
    )
    crop: PositiveInt | None = Field(
        None,
        description="side of a random square that it sees of each image, the same of an image, its "
        "translation and its reconstruction (pixels; null: all of it)",
    )
    scale: float = Field(
        1.0, gt=0, le=1, description="reduction of what it sees (1: full resolution)"
    )
    slices: PositiveInt = Field(
        3, description="random slices that it sees of each 3-D sample, the planes in turn"
    )
