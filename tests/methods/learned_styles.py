"""Feedforward and AdaIN as small as they get, for tests of how they learn and what they give."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from medstyle_gan.config import Config
from medstyle_gan.methods import METHODS
from medstyle_gan.methods.vgg_regularizer import VGGRegularizer
from medstyle_gan.networks import VGG19Features
from tests.methods.training_steps import settings

OWN = {
    "feedforward": (
        "loss.perceptual.layers=[relu1_2]",
        "loss.style.layers=[relu1_1,relu2_1]",
        "loss.style.target=batch",
        "method.learning_rate=3e-3",
    ),
    "adain": ("method.width=4", "method.learning_rate=3e-3"),
}


@cache
def vgg(dtype: torch.dtype = torch.float32) -> VGG19Features:
    """Down to relu4_1, with seeded random weights."""
    layers = ["relu1_1", "relu1_2", "relu2_1", "relu3_1", "relu4_1"]
    return VGG19Features("random:0", layers).to(dtype)


def learning(name: str, *overrides: str) -> Config:
    """Settings of a short training."""
    return settings(f"method.name={name}", *OWN[name], *overrides)


def method_of(
    config: Config, scan: int = 1, style: int = 1, dtype: torch.dtype = torch.float32
) -> Any:
    """The method, from a seed."""
    torch.manual_seed(0)
    regularizer = VGGRegularizer(vgg(dtype), config.loss)
    return METHODS[config.method.name](config, scan, style, regularizer).to(dtype)


def pictures(seed: int, channels: int = 1, size: tuple[int, int] = (32, 32)) -> Tensor:
    """Smooth noise `(1, C, H, W)` in [-1, 1]."""
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, channels, 5, 5, generator=rng) * 2 - 1
    return torch.nn.functional.interpolate(coarse, size, mode="bicubic").clamp(-1, 1)
