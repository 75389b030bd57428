"""Adaptive instance normalisation (Huang & Belongie 2017): one image's statistics for another's.

    AdaIN(c, s) = σ_s · (c − μ_c) / σ_c + μ_s,  σ² = biased variance over positions + 1e-5,

each channel of each image on its own. Statistics are over all positions, or over some of them.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from medstyle_gan.errors import UserError
from medstyle_gan.networks.precision import at_least_fp32

EPS = 1e-5


class Statistics(NamedTuple):
    """Mean and deviation of each channel of each image, `(B, C, 1, 1)`, in fp32 or more."""

    mean: Tensor
    deviation: Tensor


def channel_statistics(features: Tensor, weights: Tensor | None = None) -> Statistics:
    """Mean and deviation over positions: √(biased variance + 1e-5), as instance norms have it.

    Args:
        features: `(B, C, H, W)`.
        weights: how much each position counts, `(B or 1, 1, H, W)` in [0, 1], not all 0; None
            counts all alike.

    Raises:
        UserError: a single position, which has no deviation.
    """
    features = at_least_fp32(features)
    if features.shape[2] * features.shape[3] == 1:
        raise UserError(
            "features of 1x1 have no statistics for AdaIN to transfer; give an image with a side "
            "of 16 pixels or more"
        )
    if weights is None:
        mean = features.mean(dim=(2, 3), keepdim=True)
        variance = (features - mean).square().mean(dim=(2, 3), keepdim=True)
    else:
        shares = at_least_fp32(weights) / weights.sum(dim=(2, 3), keepdim=True)
        mean = (features * shares).sum(dim=(2, 3), keepdim=True)
        variance = ((features - mean).square() * shares).sum(dim=(2, 3), keepdim=True)
    return Statistics(mean, (variance + EPS).sqrt())


def adain(content: Tensor, style: Statistics, weights: Tensor | None = None) -> Tensor:
    """The content's features with the style's statistics.

    Args:
        content: `(B, C, H, W)`.
        style: to be had, of as many images or of one.
        weights: what of the content its own statistics are of, see `channel_statistics`.

    Returns:
        Features like the content's, in fp32 or more.
    """
    own = channel_statistics(content, weights)
    normalized = (at_least_fp32(content) - own.mean) / own.deviation
    return normalized * style.deviation + style.mean
