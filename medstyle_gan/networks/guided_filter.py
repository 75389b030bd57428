"""Guided filter (He, Sun & Tang 2013): an image as local affine maps of another, 2-D or 3-D.

As the last layer of a network (Wu, Zheng, Zhang & Huang 2018, "Fast end-to-end trainable guided
filter", CVPR) it leaves to the layers before it what they know, which contrast is where, and takes
the edges from the input itself.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medstyle_gan.networks.channels import adapt_channels
from medstyle_gan.networks.precision import at_least_fp32

_Pool = Callable[..., Tensor]
_AVERAGE: dict[int, _Pool] = {2: F.avg_pool2d, 3: F.avg_pool3d}
_LARGEST: dict[int, _Pool] = {2: F.max_pool2d, 3: F.max_pool3d}


class GuidedFilter(nn.Module):
    """Each channel of an image as local affine maps of one channel of its guide.

    In every window the map a · guide + b is fitted that comes closest to the image (He et al. 2013,
    eq. 5 and 6), and a pixel gets the mean of the maps of all windows that it is in (eq. 9). A map
    can go on beyond what it was fitted to: what it gives is held within the image's own values
    around the pixel, so that no value comes out that was not there.

    Args:
        radius: half side of the windows, which have 2 · radius + 1 pixels a side.
        epsilon: variance of the guide below which a window counts as flat.
        dims: 2 or 3 spatial dimensions.

    Attributes:
        reach: pixels on each side that a pixel of the result depends on.
    """

    def __init__(self, radius: int, epsilon: float, dims: int = 2) -> None:
        super().__init__()
        self.radius, self.epsilon, self.dims = radius, epsilon, dims
        self.reach = 2 * radius

    def forward(self, guide: Tensor, image: Tensor) -> Tensor:
        """Filter an image; at the borders, which are repeated, too.

        Args:
            guide: `(B, C, *spatial)` in [-1, 1]; grey guides all of colour, and colour's
                luminance grey, slice by slice where channels are those of several.
            image: `(B, C', *spatial)` in [-1, 1].

        Returns:
            `(B, C', *spatial)` in [-1, 1], in fp32 under autocast too.
        """
        around = (self.reach,) * (2 * self.dims)
        with torch.autocast(guide.device.type, enabled=False):
            wide = (F.pad(at_least_fp32(x), around, mode="replicate") for x in (guide, image))
            return self.valid(*wide)

    def valid(self, guide: Tensor, image: Tensor) -> Tensor:
        """Filter the inside of an image alone.

        Args:
            guide: `(B, C, *spatial)`, with `reach` pixels more on all sides.
            image: `(B, C', *spatial)`, likewise.

        Returns:
            `(B, C', *inside)`, in fp32 under autocast too.
        """
        with torch.autocast(guide.device.type, enabled=False):
            image = at_least_fp32(image)
            guide = _channel_by_channel(at_least_fp32(guide), image.shape[1])
            moments = torch.cat([guide, image, guide * guide, guide * image], dim=1)
            mean, target, squares, products = self._mean(moments).chunk(4, dim=1)
            variance = (squares - mean * mean).clamp_min(0)  # rounding can take it below
            slope = (products - mean * target) / (variance + self.epsilon)
            maps = self._mean(torch.cat([slope, target - slope * mean], dim=1))
            slope, offset = maps.chunk(2, dim=1)
            mapped = slope * self._inside(guide, self.reach) + offset
            image = self._inside(image, self.radius)
            return mapped.minimum(self._largest(image)).maximum(-self._largest(-image))

    def _mean(self, x: Tensor) -> Tensor:
        """Means of windows that are all in the image."""
        return self._axis_by_axis(x, _AVERAGE[self.dims])

    def _largest(self, x: Tensor) -> Tensor:
        """The largest values of these windows."""
        return self._axis_by_axis(x, _LARGEST[self.dims])

    def _axis_by_axis(self, x: Tensor, pool: _Pool) -> Tensor:
        for axis in range(self.dims):
            window = [1] * self.dims
            window[axis] = 2 * self.radius + 1
            x = pool(x, tuple(window), 1)
        return x

    def _inside(self, x: Tensor, width: int) -> Tensor:
        for axis in range(2, x.ndim):
            x = x.narrow(axis, width, x.shape[axis] - 2 * width)
        return x


def _channel_by_channel(guide: Tensor, channels: int) -> Tensor:
    """A guide for each of so many channels: as many, a third or three times its own."""
    if guide.shape[1] == channels:
        return guide
    slices = min(guide.shape[1], channels)
    alone = guide.unflatten(1, (slices, -1)).flatten(0, 1)
    adapted = adapt_channels(alone, channels // slices)
    return adapted.unflatten(0, (-1, slices)).flatten(1, 2)
