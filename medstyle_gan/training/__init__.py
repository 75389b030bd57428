"""Training: from a config to a run folder."""

from __future__ import annotations

from medstyle_gan.training.exporting import export
from medstyle_gan.training.fit import train

__all__ = ["export", "train"]
