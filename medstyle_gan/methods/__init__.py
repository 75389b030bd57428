"""Ways to learn a translator, and ways to transfer a style: one file a method."""

from __future__ import annotations

from typing import Any

from medstyle_gan.methods.cyclegan import CycleGAN
from medstyle_gan.methods.gatys import Gatys
from medstyle_gan.methods.style_transfer import (
    Guidance,
    Iteration,
    StyleReference,
    StyleTransfer,
)

# What `medstyle train` can learn, and what `medstyle stylize` can use.
METHODS: dict[str, Any] = {"cyclegan": CycleGAN}
STYLE_TRANSFERS: dict[str, Any] = {"gatys": Gatys}

__all__ = [
    "METHODS",
    "STYLE_TRANSFERS",
    "CycleGAN",
    "Gatys",
    "Guidance",
    "Iteration",
    "StyleReference",
    "StyleTransfer",
]
