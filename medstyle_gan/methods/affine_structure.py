"""Keeps a picture's structure: the closest image that is a local affine map of it.

The guided filter (He, Sun & Tang 2013) fits in every window an affine map of the content to the
stylised picture and takes the mean of the maps, the model behind matting (Levin et al. 2008) and
photorealistic transfer (Luan et al. 2017): where the content has no edge, the result has none.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medstyle_gan.networks import adapt_channels
from medstyle_gan.networks.precision import at_least_fp32

# Halvings of the interval that holds the least share of the map of the whole picture.
_BISECTIONS = 6
# Pixels of a body next to the air whose gradients may be those of the air (`interior`), and the
# share of a body that must be left without them.
_RIM = 2
_LEAST_INTERIOR = 0.25


def interior(inside: Tensor) -> Tensor:
    """A body without its rim of two pixels; all of a body that is hardly more than rim.

    Coarse masks reach a pixel or so into the air, and the step there is higher than all edges
    within: a correlation of gradients would tell of that step alone.

    Args:
        inside: bool `(H, W)`.
    """
    # What lies beyond the border counts as body: a mask that is cut off there has no rim there.
    outside = (~inside).float()[None, None]
    deep = F.max_pool2d(outside, 2 * _RIM + 1, 1, _RIM)[0, 0] == 0
    return deep if deep.sum() >= _LEAST_INTERIOR * inside.sum() else inside


def guided_filter(
    guide: Tensor, image: Tensor, radius: int, epsilon: float, inside: Tensor | None = None
) -> Tensor:
    """Local affine maps of a guide that come closest to an image (He et al. 2013, eq. 5-8, 19).

    Args:
        guide: `(B, C, H, W)`, C being 1 or 3.
        image: `(B, K, H, W)`, each channel mapped from all of the guide's.
        radius: half side of the windows, which have 2·radius + 1 pixels a side.
        epsilon: variance of the guide below which a window counts as flat.
        inside: bool `(H, W)`, pixels that maps are fitted to, and windows around them; the step
            from a body to the air, in all images the same, would decide every map near it. None
            is everywhere.

    Returns:
        `(B, K, H, W)`: mean over the windows around each pixel of A · guide + b; the image where
        no window is.
    """
    guide, image = at_least_fp32(guide), at_least_fp32(image)
    channels = guide.shape[1]
    here = torch.ones_like(guide[0, 0]) if inside is None else inside.to(guide)
    share = _box(here[None, None], radius)

    def box(x: Tensor) -> Tensor:
        return _box(x * here, radius) / share.clamp_min(1e-12)

    mean, target = box(guide), box(image)
    # (B, H, W, C, C) and (B, H, W, C, K)
    products = guide[:, :, None] * guide[:, None]
    variance = box(products.flatten(1, 2)).unflatten(1, (channels, channels))
    variance = (variance - mean[:, :, None] * mean[:, None]).movedim((1, 2), (-2, -1))
    products = guide[:, :, None] * image[:, None]
    covariance = box(products.flatten(1, 2)).unflatten(1, (channels, -1))
    covariance = (covariance - mean[:, :, None] * target[:, None]).movedim((1, 2), (-2, -1))
    ridge = epsilon * torch.eye(channels, dtype=guide.dtype, device=guide.device)
    slopes = torch.linalg.solve(variance + ridge, covariance).movedim((-2, -1), (1, 2))
    offsets = target - (slopes * mean[:, :, None]).sum(dim=1)
    slopes = box(slopes.flatten(1, 2)).unflatten(1, (channels, -1))
    mapped = (slopes * guide[:, :, None]).sum(dim=1) + box(offsets)
    return torch.where(share > 0, mapped, image)


def keep_structure(
    content: Tensor,
    stylised: Tensor,
    radius: int | None,
    epsilon: float,
    floor: float,
    inside: Tensor | None = None,
) -> Tensor:
    """A local affine map of the content that looks like the stylised picture.

    The guided filter's result, with as little as needed of the one affine map of the whole
    picture mixed in for its gradients to correlate with the content's (a mixture of affine maps
    is one too).

    Args:
        content: `(1, C, H, W)` in [-1, 1], C being 1 or 3.
        stylised: `(1, K, H, W)` in [-1, 1].
        radius: of the windows; None is a sixteenth of the shorter side.
        epsilon: see `guided_filter`.
        floor: least `gradient_correlation` with the content.
        inside: bool `(H, W)`, where maps are fitted and gradients looked at: a body's outline
            against the air, the same in all of its images, would hide what is within. None is
            everywhere.

    Returns:
        `(1, K, H, W)` in [-1, 1].
    """
    radius = radius or max(2, min(content.shape[-2:]) // 16)
    local = guided_filter(content, stylised, radius, epsilon, inside)
    if gradient_correlation(content, local.clamp(-1, 1), inside) >= floor:
        return local.clamp(-1, 1)
    whole = _one_map(content, stylised, inside)
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        share = (low + high) / 2
        mixed = torch.lerp(local, whole, share).clamp(-1, 1)
        kept = gradient_correlation(content, mixed, inside) >= floor
        low, high = (low, share) if kept else (share, high)
    return torch.lerp(local, whole, high).clamp(-1, 1)


def gradient_correlation(image: Tensor, other: Tensor, inside: Tensor | None = None) -> float:
    """How far the edges of two images are the same ones: Pearson's r of their gradients' size.

    Of luminances, with forward differences; an image without any edge has none in common: 0.

    Args:
        image: `(1, 1 | 3, H, W)`.
        other: `(1, 1 | 3, H, W)`.
        inside: bool `(H, W)`; differences count where both pixels are inside. None is everywhere.

    Returns:
        In [-1, 1].
    """
    sizes = []
    for x in (image, other):
        luminance = adapt_channels(at_least_fp32(x), 1)
        down = luminance.diff(dim=2)[..., :-1]
        right = luminance.diff(dim=3)[..., :-1, :]
        size = torch.hypot(down, right)[0, 0].double()
        if inside is not None:
            size = size[inside[:-1, :-1] & inside[1:, :-1] & inside[:-1, 1:]]
        sizes.append(size.flatten())
    if not len(sizes[0]):
        return 0.0
    one, two = (size - size.mean() for size in sizes)
    norm = float(one.norm() * two.norm())
    return float(one @ two) / norm if norm > 0 else 0.0


def _one_map(content: Tensor, stylised: Tensor, inside: Tensor | None) -> Tensor:
    """The affine map of the content's luminance that has the stylised channels' statistics.

    Its slopes are not those of a regression, which would flatten a style that has little in
    common with the content, but ratios of deviations, all with the sign of the luminances'
    covariance.
    """
    here = torch.ones_like(content[0, 0], dtype=torch.bool) if inside is None else inside
    if not here.any():
        return stylised
    luminance = adapt_channels(at_least_fp32(content), 1)
    other = adapt_channels(at_least_fp32(stylised), 1)
    centred = luminance - luminance[..., here].mean()
    sign = 1.0 if float((centred * other)[..., here].mean()) >= 0 else -1.0
    values = at_least_fp32(stylised)[..., here]
    mean = values.mean(dim=2)[..., None, None]
    deviation = values.std(dim=2, correction=0)[..., None, None]
    slope = deviation / luminance[..., here].std(correction=0).clamp_min(1e-6)
    # No steeper than what stays in [-1, 1]: clipped values would be edges, or lack them.
    towards = sign * centred
    up, down = (float(side[..., here].max().clamp_min(1e-6)) for side in (towards, -towards))
    slope = slope.minimum((1 - mean) / up).minimum((1 + mean) / down)
    return mean + slope * towards


def _box(x: Tensor, radius: int) -> Tensor:
    """Mean over windows; at the border over their part in the picture."""
    side = 2 * radius + 1
    rows = F.avg_pool2d(x, (side, 1), 1, (radius, 0), count_include_pad=False)
    return F.avg_pool2d(rows, (1, side), 1, (0, radius), count_include_pad=False)
