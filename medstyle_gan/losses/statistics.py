"""Style as the mean and deviation of each channel of deep features (Huang & Belongie 2017)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from medstyle_gan.networks.adain import Statistics, channel_statistics


def statistics_distance(
    features: Mapping[str, Tensor],
    target: Mapping[str, Statistics],
    layers: Sequence[str],
    layer_weights: Sequence[float] | None = None,
) -> Tensor:
    """Σ w_l (mean((μ − μ_s)²) + mean((σ − σ_s)²)), means over images and channels, in fp32.

    The paper's sum over layers is this with weights of 1 (up to its norms in place of means).

    Args:
        features: layer → features `(B, C, H, W)`.
        target: layer → statistics of as many images, or of one for all.
        layers: the layers to compare.
        layer_weights: w_l in the order of `layers`; equal weights that sum to 1 if omitted.

    Returns:
        A scalar.
    """
    if layer_weights is None:
        layer_weights = [1 / len(layers)] * len(layers)
    terms = []
    for name, weight in zip(layers, layer_weights, strict=True):
        own, wanted = channel_statistics(features[name]), target[name]
        means = (own.mean - wanted.mean).square().mean()
        deviations = (own.deviation - wanted.deviation).square().mean()
        terms.append(weight * (means + deviations))
    return torch.stack(terms).sum()
