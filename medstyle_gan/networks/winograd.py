"""3-wide convolutions of frozen weights with fewer multiplications, for CPUs.

Winograd's minimal filtering F(m x m, 3 x 3) (Lavin and Gray 2016, "Fast algorithms for
convolutional neural networks"): m² results take (m + 2)² products of transformed inputs and
kernels in place of 9 m². In fp32 with 256 channels results and gradients are off by 5e-6 of the
largest with m = 4, by 5e-7 with m = 2 and by 3e-6 in oneDNN's direct sum.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medstyle_gan.networks.precision import Precision
from medstyle_gan.networks.resnet import ResidualBlock

# With fewer the transforms cost what the multiplications save (measured on an EPYC with AVX2).
WINOGRAD_CHANNELS = 192
# From here on the images are small, and to read four times the weights takes what m = 4 saves.
_MANY_CHANNELS = 512
# Of a transformed strip: its few copies stay within the last cache, and small beside the images.
_STRIP_ELEMENTS = 2**21

# m -> Bᵀ of the inputs, G of the kernels and Aᵀ of the results.
_TRANSFORMS: dict[int, tuple[list[list[float]], list[list[float]], list[list[float]]]] = {
    2: (
        [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
        [[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]],
        [[1, 1, 1, 0], [0, 1, -1, -1]],
    ),
    4: (
        [
            [4, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ],
        [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ],
        [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    ),
}


class WinogradConv(nn.Module):
    """A 3x3 convolution of stride 1 with frozen weights; gradients flow to its input alone.

    It holds transformed kernels only, `(m + 2)² / 9` times the weights' memory, and nothing of it
    is in a state dict: what it was made from is what is saved.

    Args:
        weight: `(C', C, 3, 3)`.
        bias: `(C',)`.
        padding: by zeros.
        tile: the m of F(m x m, 3 x 3), 2 or 4; None takes the faster.
    """

    kernels: Tensor
    bias: Tensor
    to_taps: Tensor
    to_results: Tensor

    def __init__(
        self, weight: Tensor, bias: Tensor, padding: int = 0, tile: int | None = None
    ) -> None:
        super().__init__()
        self.padding = padding
        self.tile = tile or (4 if max(weight.shape[:2]) < _MANY_CHANNELS else 2)
        inputs, kernels, results = (
            torch.tensor(matrix, dtype=torch.float64) for matrix in _TRANSFORMS[self.tile]
        )
        buffers = {
            "kernels": _transformed(weight.detach(), kernels),
            "bias": bias.detach(),
            "to_taps": torch.kron(inputs, inputs).to(weight),
            "to_results": torch.kron(results, results).to(weight),
        }
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `(B, C, H, W)`; the result, and the gradient, have its layout."""
        result: Tensor = _Convolution.apply(
            x, self.kernels, self.bias, self.to_taps, self.to_results, self.padding
        )
        return result


def with_fewer_multiplications(
    generator: nn.Module, device: torch.device, precision: Precision
) -> nn.Module:
    """Put Winograd convolutions into a generator's residual blocks, where that is faster.

    Args:
        generator: in evaluation mode; it is changed, and cannot be trained any more.
        device: where it is.
        precision: its arithmetic.

    Returns:
        the generator.
    """
    if not winograd_pays(device, precision):
        return generator
    for block in generator.modules():
        if isinstance(block, ResidualBlock):
            for index, layer in enumerate(block.body):
                if isinstance(layer, nn.Conv2d) and layer.in_channels >= WINOGRAD_CHANNELS:
                    assert layer.bias is not None
                    block.body[index] = WinogradConv(layer.weight, layer.bias).eval()
    return generator


def winograd_pays(device: torch.device, precision: Precision) -> bool:
    """Whether `WinogradConv` is faster there with `WINOGRAD_CHANNELS` or more.

    That is on CPUs in fp32 without AVX-512: with it oneDNN has Winograd convolutions of its own
    (340 to 490 GFLOP/s where ours had 190 to 440, on two cores of an EPYC). GPUs' libraries choose
    such algorithms by themselves, and native bfloat16 multiplies faster than this saves.
    """
    if device.type != "cpu" or precision != "fp32":
        return False
    return not torch.cpu.get_capabilities().get("avx512_f", False)


def _transformed(weight: Tensor, matrix: Tensor) -> Tensor:
    """G g Gᵀ of every filter, `((m + 2)², C, C')`."""
    matrix = matrix.to(weight.device)
    kernels = weight.new_empty(len(matrix) ** 2, weight.shape[1], weight.shape[0])
    # By groups: in double precision all would take twice the memory again.
    for group, into in zip(weight.split(64), kernels.split(64, dim=2), strict=True):
        products = torch.einsum("ai,ocij,bj->abco", matrix, group.double(), matrix)
        into.copy_(products.flatten(0, 1))
    return kernels


class _Convolution(torch.autograd.Function):
    """Strips of tiles, channels last: each tap of a pixel is then one piece of memory."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        kernels: Tensor,
        bias: Tensor,
        to_taps: Tensor,
        to_results: Tensor,
        padding: int,
    ) -> Tensor:
        ctx.save_for_backward(kernels, to_taps, to_results)
        ctx.padding, ctx.size = padding, x.shape[2:]
        tile, taps = _widths(to_taps, to_results)
        height, width = (size + 2 * padding - 2 for size in ctx.size)
        columns = -(-width // tile)
        made = _empty_like(x, kernels.shape[2], height, width)
        for image, result in zip(_pixels(x), _pixels(made), strict=True):
            for begin, rows in _strips(height, columns, tile, kernels):
                size = (rows * tile + 2, columns * tile + 2)
                strip = _cut(image, begin - padding, -padding, size)
                tiles = strip.unfold(0, taps, tile).unfold(1, taps, tile).permute(3, 4, 0, 1, 2)
                products = _mixed(to_taps, tiles, kernels)
                tiles = (to_results @ products).view(tile, tile, rows, columns, -1).add_(bias)
                whole = tiles.permute(2, 0, 3, 1, 4).flatten(2, 3).flatten(0, 1)
                result[begin : begin + rows * tile] = whole[: height - begin, :width]
        return made

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (kernels, to_taps, to_results) = gradients, ctx.saved_tensors
        tile, taps = _widths(to_taps, to_results)
        height, width = gradient.shape[2:]
        columns = -(-width // tile)
        pulled = _empty_like(gradient, kernels.shape[1], *ctx.size)
        inside = (slice(ctx.padding, ctx.padding + size) for size in ctx.size)
        rows_inside, columns_inside = inside
        for image, result in zip(_pixels(gradient), _pixels(pulled), strict=True):
            lines = -(-height // tile) * tile + 2
            padded = image.new_zeros(lines, columns * tile + 2, kernels.shape[1])
            for begin, rows in _strips(height, columns, tile, kernels):
                strip = _cut(image, begin, 0, (rows * tile, columns * tile))
                tiles = strip.unfold(0, tile, tile).unfold(1, tile, tile).permute(3, 4, 0, 1, 2)
                # Every step is linear: its transpose pulls the gradient back.
                products = _mixed(to_results.T, tiles, kernels.mT)
                pieces = (to_taps.T @ products).view(taps, taps, rows, columns, -1)
                for row in range(taps):
                    for column in range(taps):
                        last = (begin + row + rows * tile, column + columns * tile)
                        there = padded[begin + row : last[0] : tile, column : last[1] : tile]
                        there[:rows].add_(pieces[row, column])
            result.copy_(padded[rows_inside, columns_inside])
        return pulled, None, None, None, None, None


def _mixed(transform: Tensor, tiles: Tensor, kernels: Tensor) -> Tensor:
    """Transform `(i, j, rows, columns, C)` and mix the channels: `(taps, tiles x C')`."""
    channels = tiles.shape[-1]
    taps = (transform @ tiles.reshape(transform.shape[1], -1)).view(len(kernels), -1, channels)
    return torch.bmm(taps, kernels).flatten(1)


def _strips(height: int, columns: int, tile: int, kernels: Tensor) -> Iterator[tuple[int, int]]:
    """First line and number of rows of tiles of each strip."""
    rows = -(-height // tile)
    row_elements = len(kernels) * columns * max(kernels.shape[1:])
    step = max(1, _STRIP_ELEMENTS // row_elements)
    for first in range(0, rows, step):
        yield first * tile, min(step, rows - first)


def _cut(image: Tensor, top: int, left: int, size: tuple[int, int]) -> Tensor:
    """The part of `(H, W, C)` from a line and column on, with zeros beyond its edges."""
    down, right = top + size[0], left + size[1]
    part = image[max(top, 0) : down, max(left, 0) : right]
    above, before = max(-top, 0), max(-left, 0)
    below, behind = size[0] - above - part.shape[0], size[1] - before - part.shape[1]
    return F.pad(part, (0, 0, before, behind, above, below))


def _widths(to_taps: Tensor, to_results: Tensor) -> tuple[int, int]:
    """m and m + 2."""
    return math.isqrt(len(to_results)), math.isqrt(len(to_taps))


def _pixels(images: Tensor) -> Tensor:
    return images.permute(0, 2, 3, 1)


def _empty_like(x: Tensor, channels: int, height: int, width: int) -> Tensor:
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    layout = torch.channels_last if last else torch.contiguous_format
    size = (x.shape[0], channels, height, width)
    return torch.empty(size, dtype=x.dtype, device=x.device, memory_format=layout)
