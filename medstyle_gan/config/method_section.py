"""Settings of each method: `method`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from medstyle_gan.config.base import PositiveInt, Probability, Section, Weight


class TrainedConfig(Section):
    """What all methods that are trained can be told."""

    name: str
    betas: tuple[Probability, Probability] = Field((0.5, 0.999), description="Adam's betas")
    constant_fraction: Probability = Field(
        0.5, description="share of the steps before the learning rates fall linearly to 0"
    )
    ema_decay: float = Field(
        0.999, ge=0, lt=1, description="generators' moving average per step (0: none)"
    )
    gradient_clip: float = Field(
        0.0, ge=0, description="largest gradient norm, for each optimiser (0: no limit)"
    )


class AdversarialConfig(TrainedConfig):
    """What all methods with discriminators can be told."""

    generator_learning_rate: float = Field(2e-4, gt=0, description="Adam's, all generators")
    discriminator_learning_rate: float = Field(2e-4, gt=0, description="Adam's, all discriminators")
    pool_size: int = Field(50, ge=0, description="past translations shown to discriminators")


class CycleGANConfig(AdversarialConfig):
    """CycleGAN (Zhu et al. 2017)."""

    name: Literal["cyclegan"] = "cyclegan"


class CutConfig(AdversarialConfig):
    """One way, by contrasting patches (Park et al. 2020); `loss.contrastive` has its weights."""

    name: Literal["cut"] = "cut"
    pool_size: int = Field(0, ge=0, description="past translations shown to discriminators")
    layers: tuple[Literal["input", "halved", "quartered", "first_block", "middle_block"], ...] = (
        Field(
            ("input", "halved", "quartered", "first_block", "middle_block"),
            min_length=1,
            description="generator's layers whose features are contrasted: the image, both strided "
            "convolutions, residual blocks",
        )
    )
    projection_width: PositiveInt = Field(
        256, description="channels that features are projected to"
    )
    flip_equivariance: bool = Field(
        False, description="translate half of the scans flipped, and flip their features back"
    )


class FastCutConfig(CutConfig):
    """CUT without its identity term, which is most of its time, held by flips instead."""

    name: Literal["fastcut"] = "fastcut"  # type: ignore[assignment]
    constant_fraction: Probability = Field(
        0.75, description="share of the steps before the learning rates fall linearly to 0"
    )
    flip_equivariance: bool = Field(
        True, description="translate half of the scans flipped, and flip their features back"
    )


class FeedforwardConfig(TrainedConfig):
    """One network for one style, in one pass an image (Johnson et al. 2016).

    The network is `generator`; `loss.perceptual` and `loss.style` are what it learns from.
    """

    name: Literal["feedforward"] = "feedforward"
    learning_rate: float = Field(1e-3, gt=0, description="Adam's")
    betas: tuple[Probability, Probability] = Field((0.9, 0.999), description="Adam's betas")


class AdainConfig(TrainedConfig):
    """One decoder for any style, shown at run time (Huang & Belongie 2017)."""

    name: Literal["adain"] = "adain"
    learning_rate: float = Field(1e-4, gt=0, description="Adam's")
    betas: tuple[Probability, Probability] = Field((0.9, 0.999), description="Adam's betas")
    width: PositiveInt = Field(
        64, description="channels of the decoder's last layers; 4 times as many of its first"
    )
    alpha: Probability = Field(
        1.0, description="stylize: how much of the style (0: the content's own features)"
    )


class GatysConfig(Section):
    """The picture itself is optimised (Gatys et al. 2016); for `medstyle stylize`."""

    name: Literal["gatys"] = "gatys"
    steps: PositiveInt = Field(300, description="iterations, at each scale")
    optimizer: Literal["lbfgs", "adam"] = Field(
        "lbfgs", description="lbfgs (with a strong Wolfe line search) or adam"
    )
    learning_rate: float | None = Field(
        None, gt=0, description="first step of a line search, or Adam's (null: 1, or 0.02)"
    )
    history: PositiveInt = Field(100, description="steps that lbfgs remembers")
    init: Literal["content", "noise", "style"] = Field(
        "content", description="the picture that the first scale begins from"
    )
    pooling: Literal["max", "average"] = Field(
        "max", description="the VGG-19's own pooling, or the smoother one of Gatys et al."
    )
    scales: int = Field(
        1, ge=1, le=8, description="resolutions, coarse to fine, each half of the one after"
    )
    tolerance: Weight = Field(
        1e-3,
        description="converged where `patience` iterations lower the loss by less than this share "
        "of it (0: all steps are done)",
    )
    patience: PositiveInt = Field(20, description="iterations that convergence is judged over")
    tile: int | None = Field(
        None,
        ge=32,
        description="side of the tiles that a picture larger than memory is seen in, with the "
        "losses and gradients of the whole (pixels; null: all at once)",
    )
    features: Literal["fp32", "bf16"] = Field(
        "fp32", description="arithmetic of the VGG-19; Gram matrices and losses are always fp32"
    )
