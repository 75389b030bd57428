"""Layers of the generators, computed in cheaper but equal ways, in 2-D and 3-D."""

from __future__ import annotations

from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medstyle_gan.networks.padding import pad
from medstyle_gan.networks.precision import at_least_fp32

CONV: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED_CONV: dict[int, Any] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}

_CONVOLVE: dict[int, Any] = {2: F.conv2d, 3: F.conv3d}
_CONVOLVE_TRANSPOSED: dict[int, Any] = {2: F.conv_transpose2d, 3: F.conv_transpose3d}

# Along one axis, which taps of a 3-wide kernel on the doubled image fall on each tap of the
# 4-wide transposed kernel: the doubling [1, 1] convolved with the flipped kernel.
_MERGE = ((0.0, 0.0, 1.0, 1.0), (0.0, 1.0, 1.0, 0.0), (1.0, 1.0, 0.0, 0.0))


class ResizeConv(nn.Module):
    """Nearest-neighbour doubling, reflection padding by 1 and a 3-wide convolution.

    Free of the checkerboard of transposed convolutions (Odena et al. 2016). Computed as
    one transposed convolution of stride 2, whose 4-wide kernel is the doubling and the
    convolution in one: (2/3)^dims of the multiplications, and no doubled image in memory.
    Reflecting the doubled image by one pixel repeats its border pixel, hence the
    replication of the small one.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        dims: 2 or 3 spatial dimensions.
    """

    merge: Tensor

    def __init__(self, in_channels: int, out_channels: int, dims: int = 2) -> None:
        super().__init__()
        self.dims = dims
        self.conv = CONV[dims](in_channels, out_channels, 3)
        merge = reduce(torch.kron, [torch.tensor(_MERGE)] * dims)
        self.register_buffer("merge", merge, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Double the size of `(B, in_channels, *spatial)`."""
        padded = pad(x, 1, "replicate")
        return _CONVOLVE_TRANSPOSED[self.dims](
            padded, self.doubling_kernel(), self.conv.bias, stride=2, padding=3
        )

    def doubling_kernel(self) -> Tensor:
        """The doubling and the convolution in one, `(in_channels, out_channels, 4, 4[, 4])`."""
        with torch.autocast(self.merge.device.type, enabled=False):
            kernel = self.conv.weight.flatten(2) @ self.merge
        return kernel.unflatten(2, (4,) * self.dims).transpose(0, 1)


class OutputConv(nn.Module):
    """Unpadded convolution from many channels to the one or three of an image.

    CPU kernels run a convolution to one channel far below their speed. Here each row of
    the kernel makes its own output channel, and the rows' results are shifted and summed:
    the same sum in another order (2 to 3 times as fast), and in fp32 under autocast, so that
    the image does not have the eight bits of a bfloat16.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the image.
        kernel_size: width of the kernel along every axis.
        dims: 2 or 3 spatial dimensions.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, dims: int = 2
    ) -> None:
        super().__init__()
        self.dims = dims
        self.kernel_size = kernel_size
        self.conv = CONV[dims](in_channels, out_channels, kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `(B, in_channels, *spatial)`; sizes shrink by `kernel_size` - 1."""
        rows = self.conv.weight.movedim(2, 0).flatten(0, 1).unsqueeze(2)
        parts = at_least_fp32(_CONVOLVE[self.dims](x, rows))
        parts = parts.unflatten(1, (self.kernel_size, -1))
        height = x.shape[2] - self.kernel_size + 1
        shifted = [parts[:, row, :, row : row + height] for row in range(self.kernel_size)]
        return reduce(torch.add, shifted) + self.conv.bias.view(-1, *[1] * self.dims)
