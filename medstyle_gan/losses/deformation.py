"""Deforming images by displacements, and how rough a deformation is (Kong et al. 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from medstyle_gan.networks.precision import at_least_fp32


def deformed(images: Tensor, displacement: Tensor) -> Tensor:
    """Images at displaced places, interpolated linearly, in fp32: y(p) = x(p + u(p)).

    Beyond its edge an image goes on as its last pixels are. Differentiable in both.

    Args:
        images: `(B, C, *spatial)`, 2-D or 3-D.
        displacement: `(B, dims, *spatial)` (pixels), along each spatial axis in their order.

    Returns:
        The images' shape.
    """
    images, displacement = at_least_fp32(images), at_least_fp32(displacement)
    sizes = images.shape[2:]
    axes = [torch.arange(n, device=images.device, dtype=displacement.dtype) for n in sizes]
    places = torch.stack(torch.meshgrid(axes, indexing="ij")) + displacement
    # grid_sample counts from -1 to 1 and names the last axis first; an axis of one pixel has one
    # place whatever is asked for.
    spans = torch.tensor([max(n - 1, 1) for n in sizes], device=images.device)
    unit = 2 * places / spans.to(places.dtype).view(-1, *[1] * len(sizes)) - 1
    grid = unit.movedim(1, -1).flip(-1).to(images.dtype)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=True)


def roughness(displacement: Tensor) -> Tensor:
    """Mean square of what neighbours' displacements differ by, over all axes, in fp32.

    0 where all is moved alike. The paper's smoothness loss, for any number of axes.

    Args:
        displacement: `(B, dims, *spatial)` (pixels).

    Returns:
        A scalar.
    """
    displacement = at_least_fp32(displacement)
    axes = range(2, displacement.ndim)
    return torch.stack([displacement.diff(dim=a).square().mean() for a in axes]).mean()
