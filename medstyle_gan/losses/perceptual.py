"""Content distance between deep features (Gatys et al. 2016; Johnson et al. 2016)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from medstyle_gan.networks.precision import at_least_fp32


def content_distance(
    features: Mapping[str, Tensor], target_features: Mapping[str, Tensor], layers: Sequence[str]
) -> Tensor:
    """mean((F − P)²) over images, channels and positions, averaged over layers, in fp32.

    Args:
        features: layer → features `(B, C, *spatial)`.
        target_features: layer → features of the same shape.
        layers: the layers to compare.

    Returns:
        A scalar.
    """
    terms = []
    for name in layers:
        own, target = at_least_fp32(features[name]), at_least_fp32(target_features[name])
        terms.append((own - target).square().mean())
    return torch.stack(terms).mean()
