"""Ways to learn a translator, and ways to transfer a style: one file a method."""

from __future__ import annotations

from typing import Any

from medstyle_gan.methods.adain import AdaIN
from medstyle_gan.methods.adain_transfer import AdaINTransfer
from medstyle_gan.methods.cut import CUT
from medstyle_gan.methods.cyclegan import CycleGAN
from medstyle_gan.methods.feedforward import FeedForward
from medstyle_gan.methods.feedforward_transfer import FeedForwardTransfer
from medstyle_gan.methods.gatys import Gatys
from medstyle_gan.methods.style_transfer import (
    Guidance,
    Iteration,
    StyleReference,
    StyleTransfer,
    TrainedModel,
)
from medstyle_gan.methods.trained_method import TrainedMethod

# What `medstyle train` can learn, and what `medstyle stylize` can use.
METHODS: dict[str, Any] = {
    "cyclegan": CycleGAN,
    "cut": CUT,
    "fastcut": CUT,
    "feedforward": FeedForward,
    "adain": AdaIN,
}
STYLE_TRANSFERS: dict[str, Any] = {
    "gatys": Gatys,
    "feedforward": FeedForwardTransfer,
    "adain": AdaINTransfer,
}

__all__ = [
    "CUT",
    "METHODS",
    "STYLE_TRANSFERS",
    "AdaIN",
    "AdaINTransfer",
    "CycleGAN",
    "FeedForward",
    "FeedForwardTransfer",
    "Gatys",
    "Guidance",
    "Iteration",
    "StyleReference",
    "StyleTransfer",
    "TrainedMethod",
    "TrainedModel",
]
