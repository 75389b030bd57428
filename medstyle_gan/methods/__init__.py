"""Ways to learn a translator: one file a method."""

from __future__ import annotations

from typing import Any

from medstyle_gan.methods.cyclegan import CycleGAN

METHODS: dict[str, Any] = {"cyclegan": CycleGAN}

__all__ = ["METHODS", "CycleGAN"]
