"""Layers of the generators, computed in cheaper but equal ways, in 2-D and 3-D."""

from __future__ import annotations

from functools import reduce
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medstyle_gan.networks.padding import pad
from medstyle_gan.networks.precision import at_least_fp32

CONV: dict[int, Any] = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED_CONV: dict[int, Any] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
LINEAR = {2: "bilinear", 3: "trilinear"}
"""Linear interpolation as torch calls it, by dimensions."""

_CONVOLVE: dict[int, Any] = {2: F.conv2d, 3: F.conv3d}
_CONVOLVE_TRANSPOSED: dict[int, Any] = {2: F.conv_transpose2d, 3: F.conv_transpose3d}

Doubling = Literal["nearest", "linear"]

# What doubling makes of one pixel along an axis.
_DOUBLED: dict[Doubling, tuple[float, ...]] = {
    "nearest": (1.0, 1.0),
    "linear": (0.25, 0.75, 0.75, 0.25),
}


class ResizeConv(nn.Module):
    """Doubling, padding by 1 with the border's values and a 3-wide convolution.

    Free of the checkerboard of transposed convolutions (Odena et al. 2016). Nearest doubling
    makes stairs of a ramp, a pattern of period 2 that a convolution may pass on; linear doubling
    (bilinear, trilinear) does not. Computed as one transposed convolution of stride 2, whose 4-wide
    (linear: 6-wide) kernel is the doubling and the convolution in one: (2/3)^dims of the
    multiplications (linear: as many), and no doubled image in memory.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        dims: 2 or 3 spatial dimensions.
        doubling: between the pixels of the doubled image.

    Attributes:
        mode: the doubling, as `torch.nn.Upsample` calls it.
        width: of the transposed kernel.
        padding: of the transposed convolution, on an input that is replicated by 1.
    """

    merge: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, dims: int = 2, doubling: Doubling = "nearest"
    ) -> None:
        super().__init__()
        self.dims = dims
        self.conv = CONV[dims](in_channels, out_channels, 3)
        self.mode = LINEAR[dims] if doubling == "linear" else "nearest"
        doubled = _DOUBLED[doubling]
        self.width = len(doubled) + 2
        self.padding = self.width // 2 + 1
        # Along one axis, which taps of the 3-wide kernel fall on each of the transposed one: the
        # doubling convolved with the flipped kernel.
        axis = torch.stack([F.pad(torch.tensor(doubled), (2 - tap, tap)) for tap in range(3)])
        merge = reduce(torch.kron, [axis] * dims)
        self.register_buffer("merge", merge, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Double the size of `(B, in_channels, *spatial)`."""
        padded = pad(x, 1, "replicate")
        return _CONVOLVE_TRANSPOSED[self.dims](
            padded, self.doubling_kernel(), self.conv.bias, stride=2, padding=self.padding
        )

    def doubling_kernel(self) -> Tensor:
        """The doubling and the convolution in one, `(in_channels, out_channels, *widths)`."""
        with torch.autocast(self.merge.device.type, enabled=False):
            kernel = self.conv.weight.flatten(2) @ self.merge
        return kernel.unflatten(2, (self.width,) * self.dims).transpose(0, 1)


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
