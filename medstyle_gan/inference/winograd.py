"""3-wide convolutions with fewer multiplications, for CPUs that have no native bfloat16.

Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray 2016, "Fast algorithms for convolutional
neural networks"): 16 outputs take 36 multiplications in place of 144. Inputs and kernels are
transformed, multiplied as 36 matrices and transformed back, all in fp32: results differ from the
direct sum by about as much as that differs from the exact one.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medstyle_gan.networks.precision import Precision
from medstyle_gan.networks.resnet import ResidualBlock

# Below, the transforms cost what the multiplications save (measured on an EPYC with AVX2).
_LEAST_CHANNELS = 192
_TILE = 4

_INPUT = (
    (4.0, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
_KERNEL = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1.0),
)
_OUTPUT = (
    (1.0, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)


class WinogradConv(nn.Module):
    """A 3x3 convolution of stride 1 without padding, for translation only.

    Args:
        conv: whose weights it takes over, transformed: four times the memory.
    """

    kernels: Tensor
    bias: Tensor
    to_tiles: Tensor
    from_tiles: Tensor

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        transform = torch.tensor(_KERNEL, dtype=torch.float64)
        weight = conv.weight.detach().double()
        kernels = torch.einsum("ai,ocij,bj->aboc", transform, weight, transform)
        self.register_buffer("kernels", kernels.flatten(0, 1).float().contiguous())
        assert conv.bias is not None
        self.register_buffer("bias", conv.bias.detach()[:, None, None])
        for name, matrix in (("to_tiles", _INPUT), ("from_tiles", _OUTPUT)):
            both = torch.tensor(matrix)
            self.register_buffer(name, torch.kron(both, both))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve `(B, C, H, W)`; sizes shrink by 2."""
        # One image at a time: its tiles stay in the caches.
        return torch.stack([self._convolve(image) for image in x])

    def _convolve(self, image: Tensor) -> Tensor:
        height, width = (size - 2 for size in image.shape[1:])
        image = F.pad(image, (0, -width % _TILE, 0, -height % _TILE))
        tiles = image.unfold(1, _TILE + 2, _TILE).unfold(2, _TILE + 2, _TILE)
        channels, rows, columns = tiles.shape[:3]
        taps = self.to_tiles @ tiles.permute(3, 4, 0, 1, 2).reshape(36, -1)
        products = torch.bmm(self.kernels, taps.view(36, channels, rows * columns))
        made = (self.from_tiles @ products.flatten(1)).view(_TILE, _TILE, -1, rows, columns)
        whole = made.permute(2, 3, 0, 4, 1).reshape(-1, rows * _TILE, columns * _TILE)
        return whole[:, :height, :width] + self.bias


def with_fewer_multiplications(
    generator: nn.Module, device: torch.device, precision: Precision
) -> nn.Module:
    """Put Winograd convolutions into a generator's residual blocks, where that is faster.

    That is on CPUs in fp32; GPUs' libraries choose such algorithms by themselves, and native
    bfloat16 multiplies faster than this saves.

    Args:
        generator: in evaluation mode; it is changed, and cannot be trained any more.
        device: where it is.
        precision: its arithmetic.

    Returns:
        the generator.
    """
    if device.type != "cpu" or precision != "fp32":
        return generator
    for block in generator.modules():
        if isinstance(block, ResidualBlock):
            for index, layer in enumerate(block.body):
                if isinstance(layer, nn.Conv2d) and layer.in_channels >= _LEAST_CHANNELS:
                    block.body[index] = WinogradConv(layer).eval()
    return generator
