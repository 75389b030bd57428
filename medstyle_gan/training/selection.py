"""Which checkpoint is best where there are no pairs: one that is like the style, and kept the scan.

Either alone chooses badly. A generator that paints any style image is the most real, and one that
does nothing keeps everything. Both are shares here, 0 being wanted and 1 what one of those two
reaches, and the score is how near a translator comes to the point where both are 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from medstyle_gan.evaluation import sliced_wasserstein_distance
from medstyle_gan.losses.structure import gradient_correlation
from medstyle_gan.methods.structure_terms import foreground
from medstyle_gan.networks import adapt_channels

# Collections as near as that differ by noise: a share of it would be one of noise.
_SAME = 0.01


def style_left(distance: float, nothing: float) -> float:
    """The share of the way to the style that is still to go: 1 for doing nothing.

    Args:
        distance: sliced Wasserstein distance of translations from style images.
        nothing: that of the scans.
    """
    return distance / max(nothing, _SAME)


def distance_of_nothing(scans: Tensor, style: Tensor) -> float:
    """How far scans are from style images as they are, see `sliced_wasserstein_distance`."""
    return sliced_wasserstein_distance(adapt_channels(scans, style.shape[1]), style)


@torch.no_grad()
def structure_lost(
    scans: Tensor, translations: Tensor, masks: Tensor | None = None, slices: int = 1
) -> float:
    """1 − the correlation of edges in the body, see `gradient_correlation`: 0 for doing nothing.

    Args:
        scans: `(N, C, *spatial)` in [-1, 1].
        translations: of them, `(N, C', *spatial)`.
        masks: bool `(N, 1 or slices, *spatial)`, the body; None guesses it from the scans.
        slices: that an image has as channels.

    Returns:
        A mean over images, in [0, 2]: 1 where nothing is left in common.
    """
    one, made = (_grey(images, slices) for images in (scans, translations))
    inside = body_of(scans, slices) if masks is None else masks
    inside = inside.flatten(0, 1)[:, None] if slices > 1 else inside
    # One by one: the memory that it takes does not grow.
    parts = zip(made.split(1), one.split(1), inside.split(1), strict=True)
    each = [float(gradient_correlation(x, scan, mask)) for x, scan, mask in parts if mask.any()]
    return sum(each) / len(each) if each else 1.0


def body_of(images: Tensor, slices: int = 1) -> Tensor:
    """Roughly where the body is in samples: bool `(N, 1 or slices, *spatial)`, see `foreground`."""
    found = foreground(_grey(images, slices))
    return found[:, 0].unflatten(0, (len(images), slices)) if slices > 1 else found


def selection_score(style: float, structure: float) -> float:
    """How near a translator is to keeping all and reaching the style: 0 at best, larger is better.

    Minus the distance from that point. Doing nothing has −1, as has any style image in place of a
    scan; only what does both at once has more.

    Args:
        style: the share of the way to the style that is left, see `style_left`.
        structure: the share of structure that is lost, see `structure_lost`.
    """
    return -math.hypot(style, structure)


def _grey(images: Tensor, slices: int) -> Tensor:
    if slices > 1:
        images = images.unflatten(1, (slices, -1)).flatten(0, 1)
    return adapt_channels(images, 1)
