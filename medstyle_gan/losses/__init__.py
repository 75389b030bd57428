"""Loss terms, each a mean over images in fp32, so that ranks average like one larger batch."""

from __future__ import annotations

from medstyle_gan.losses.adversarial import AdversarialLoss
from medstyle_gan.losses.contrastive import patch_nce
from medstyle_gan.losses.cycle import l1
from medstyle_gan.losses.deformation import deformed, roughness
from medstyle_gan.losses.low_pass import low_pass_l1
from medstyle_gan.losses.perceptual import content_distance
from medstyle_gan.losses.statistics import statistics_distance
from medstyle_gan.losses.style import gram_matrix, style_distance
from medstyle_gan.losses.total_variation import total_variation

__all__ = [
    "AdversarialLoss",
    "content_distance",
    "deformed",
    "gram_matrix",
    "l1",
    "low_pass_l1",
    "patch_nce",
    "roughness",
    "statistics_distance",
    "style_distance",
    "total_variation",
]
