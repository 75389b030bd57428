"""What stands out by its style: a saliency map of the statistics of VGG-19 features.

The style of a place is what AdaIN calls a style, mean and deviation of each feature's channel
(Huang & Belongie, "Arbitrary style transfer in real-time with adaptive instance normalization",
ICCV 2017), here over a window around it. A place stands out as far as its statistics are from those
of the whole body, each measured in its own deviation over the body: the saliency by differing
region statistics of Erdem & Erdem, "Visual saliency estimation by nonlinearly integrating features
using region covariances" (Journal of Vision 13(4), 2013), with the diagonal in place of whole
covariances, as the deviations of deep features' patches in PaDiM (Defard et al., ICPR workshops
2021).

It knows nothing of anatomy: what it proposes is to be looked at, and is no finding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from medstyle_gan.errors import UserError
from medstyle_gan.networks import VGG19Features
from medstyle_gan.networks.precision import at_least_fp32

_SMALLEST_WINDOW = 4  # pixels
_DEAD = 1e-6  # deviation below which a statistic tells nothing


def default_window(size: Sequence[int]) -> int:
    """Side of the windows in images of (H, W): a 32nd of the shorter side (pixels)."""
    return max(_SMALLEST_WINDOW, min(size) // 32)


@torch.no_grad()
def style_saliency(
    slices: Tensor,
    body: Tensor,
    vgg: VGG19Features,
    window: int,
    device: torch.device | None = None,
) -> np.ndarray:
    """How far the style of each place is from that of the body.

    Args:
        slices: `(N, 1 | 3, H, W)` in [-1, 1].
        body: `(N, 1, H, W)`, not 0 where the body is; windows look at it alone.
        vgg: its layers count alike.
        window: side of the windows (pixels).
        device: where the VGG-19 is; the CPU by default.

    Returns:
        `(N, H, W)` float32: root mean square of the statistics' distances, in deviations (its own
        mean square over the body is about 1); 0 outside the body, and everywhere where nothing
        differs.
    """
    inside = [i for i in range(len(slices)) if body[i].any()]
    sums: dict[str, list[Tensor]] = {}
    # In two passes, since the features of all slices would not fit into memory.
    for index in inside:
        for name, (values, weight) in _statistics(slices, body, vgg, window, index, device).items():
            weighed = (values * weight).sum(dim=(2, 3)), (values.square() * weight).sum(dim=(2, 3))
            parts = [part.double() for part in (*weighed, weight.sum())]
            kept = sums.get(name)
            sums[name] = (
                parts if kept is None else [a + b for a, b in zip(kept, parts, strict=True)]
            )
    moments = {name: _moments(*parts) for name, parts in sums.items()}
    saliency = np.zeros((len(slices), *slices.shape[2:]), np.float32)
    for index in inside:
        layers = []
        for name, (values, _) in _statistics(slices, body, vgg, window, index, device).items():
            mean, deviation = moments[name]
            alive = deviation > _DEAD
            if not alive.any():
                continue
            distance = (values[:, alive] - mean[alive, None, None]) / deviation[alive, None, None]
            squared = distance.square().mean(dim=1, keepdim=True)
            layers.append(F.interpolate(squared, slices.shape[2:], mode="bilinear"))
        if layers:
            found = torch.cat(layers).mean(dim=0).sqrt()[0].cpu()
            saliency[index] = (found * (body[index, 0] > 0)).numpy()
    return saliency


def propose_region(
    saliency: np.ndarray, body: np.ndarray, share: float, parts: int, margin: int
) -> np.ndarray:
    """The places that stand out most, as few connected parts without holes.

    Args:
        saliency: `(N, H, W)`.
        body: bool `(N, H, W)`.
        share: of the body that is taken.
        parts: connected parts that are kept, those with the most saliency in sum.
        margin: pixels at the body's edge that are left out, since every edge of a body stands out.

    Returns:
        bool `(N, H, W)`, not empty.

    Raises:
        UserError: nothing stands out.
    """
    disc = np.hypot(*np.mgrid[-margin : margin + 1, -margin : margin + 1]) <= margin
    padded = np.pad(body, ((0, 0), (1, 1), (1, 1)))  # the picture's border is an edge too
    inner = ndimage.binary_erosion(padded, disc[None])[:, 1:-1, 1:-1]
    candidates = inner if inner.any() else body
    values = saliency[candidates]
    threshold = np.quantile(values, 1 - share)
    standing_out = candidates & (saliency >= threshold) & (saliency > values.min())
    if not standing_out.any():
        raise UserError(
            "stylize.highlight: nothing in the content stands out, so no region can be proposed; "
            "give the region of interest with --mask"
        )
    labels, count = ndimage.label(standing_out, np.ones((3, 3, 3)))
    strength = ndimage.sum_labels(saliency, labels, np.arange(1, count + 1))
    kept = 1 + np.argsort(-strength, kind="stable")[:parts]
    region = np.isin(labels, kept)
    plane = np.ones((1, 3, 3), bool)
    closed = ndimage.binary_closing(np.pad(region, ((0, 0), (2, 2), (2, 2))), plane, iterations=2)
    for image in closed:
        ndimage.binary_fill_holes(image, output=image)
    found: np.ndarray = closed[:, 2:-2, 2:-2] & body
    return found


def _statistics(
    slices: Tensor,
    body: Tensor,
    vgg: VGG19Features,
    window: int,
    index: int,
    device: torch.device | None,
) -> dict[str, tuple[Tensor, Tensor]]:
    """Layer → (`(1, 2C, h, w)` local means and deviations, `(1, 1, h, w)` share of body)."""
    image = slices[index : index + 1].to(device or torch.device("cpu"))
    inside = (body[index : index + 1] > 0).to(image)
    found = {}
    for name, features in vgg(image).items():
        features = at_least_fp32(features)
        height, width = features.shape[2:]
        weight = F.adaptive_avg_pool2d(inside, (height, width))
        side = max(1, round(window * height / image.shape[2]))
        total = _box(weight, side).clamp_min(_DEAD)
        mean = _box(features * weight, side) / total
        squares = _box(features.square() * weight, side) / total
        deviation = (squares - mean.square()).clamp_min(0).sqrt()
        found[name] = (torch.cat([mean, deviation], dim=1), weight)
    return found


def _moments(total: Tensor, squares: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each statistic, `(2C,)`."""
    mean = total[0] / weight
    variance = squares[0] / weight - mean.square()
    return mean.float(), variance.clamp_min(0).sqrt().float()


def _box(x: Tensor, side: int) -> Tensor:
    """Sums over windows of side × side, or one more where it is even, divided by their number."""
    side += 1 - side % 2
    return F.avg_pool2d(x, side, 1, side // 2)
