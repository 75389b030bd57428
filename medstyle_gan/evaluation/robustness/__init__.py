"""How a translation suffers when its scan is worse than those of the training."""

from __future__ import annotations

from medstyle_gan.evaluation.robustness.chapter_run import run
from medstyle_gan.evaluation.robustness.corruptions import CORRUPTIONS, SEVERITIES, Corruption
from medstyle_gan.evaluation.robustness.scoring import Curve, curves

__all__ = ["CORRUPTIONS", "SEVERITIES", "Corruption", "Curve", "curves", "run"]
