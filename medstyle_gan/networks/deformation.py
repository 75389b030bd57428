"""A network that tells how one image must be deformed to lie on another.

The registration network of RegGAN (Kong et al. 2021) in the form of VoxelMorph (Balakrishnan et al.
2019, "VoxelMorph: a learning framework for deformable medical image registration", IEEE TMI 38(8)):
a U-Net of plain convolutions whose displacements come at half the images' resolution.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medstyle_gan.networks.convolutions import CONV, LINEAR
from medstyle_gan.networks.precision import at_least_fp32
from medstyle_gan.networks.sizes import check_sizes

_SLOPE = 0.2
# VoxelMorph's: a deformation begins as almost nothing.
_FIRST_DEVIATION = 1e-5


class DeformationNetwork(nn.Module):
    """Displacements from a pair of images.

    Without norms: an instance norm would take away how far all of an image has moved.

    Args:
        channels: of both images together.
        width: channels of the first level; doubled at each, up to 4·width.
        levels: resolutions, each half of the one before; the first is half the images'.
        dims: 2 or 3 spatial dimensions.

    Attributes:
        minimum_size: smallest spatial size.
    """

    def __init__(self, channels: int = 2, width: int = 16, levels: int = 4, dims: int = 2) -> None:
        super().__init__()
        self.minimum_size = 2**levels
        conv, self._mode = CONV[dims], LINEAR[dims]
        widths = [width * min(2**level, 4) for level in range(levels)]
        before = [channels, *widths[:-1]]
        self.down = nn.ModuleList(
            nn.Sequential(
                # 4 wide: halves to the places that the doubling below starts from.
                conv(taken, given, 4, stride=2, padding=1),
                nn.LeakyReLU(_SLOPE),
                conv(given, given, 3, padding=1),
                nn.LeakyReLU(_SLOPE),
            )
            for taken, given in zip(before, widths, strict=True)
        )
        self.up = nn.ModuleList(
            nn.Sequential(conv(deep + skip, skip, 3, padding=1), nn.LeakyReLU(_SLOPE))
            for skip, deep in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.last = conv(width, dims, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, a=_SLOPE)
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        nn.init.normal_(self.last.weight, 0.0, _FIRST_DEVIATION)

    def forward(self, moving: Tensor, still: Tensor) -> Tensor:
        """How to deform the first image so that it lies on the second.

        Args:
            moving: `(B, C, *spatial)`.
            still: `(B, C', *spatial)`.

        Returns:
            `(B, dims, *spatial)` (pixels), as `losses.deformed` takes it, in fp32 under autocast.

        Raises:
            UserError: for sizes below `minimum_size`.
        """
        check_sizes(moving, minimum=self.minimum_size)
        x = torch.cat([moving, still], dim=1)
        found = []
        for level in self.down:
            x = level(x)
            found.append(x)
        for level, skip in zip(self.up, found[-2::-1], strict=True):
            x = level(torch.cat([self._resized(x, skip), skip], dim=1))
        return self._resized(at_least_fp32(self.last(x)), moving)

    def _resized(self, x: Tensor, like: Tensor) -> Tensor:
        return F.interpolate(x, size=like.shape[2:], mode=self._mode)
