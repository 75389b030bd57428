from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medstyle_gan.networks.convolutions import Doubling, OutputConv, ResizeConv

SPATIAL = {2: (5, 8), 3: (3, 5, 4)}


def _output_and_gradients(
    function: Callable[[Tensor], Tensor], x: Tensor, conv: nn.Conv2d
) -> list[Tensor]:
    assert conv.bias is not None
    x = x.clone().requires_grad_()
    output = function(x)
    # Uneven weights of the sum, so that no error cancels out.
    cost = (output * torch.linspace(0.5, 2, output.numel()).view(output.shape)).sum()
    return [output.detach(), *torch.autograd.grad(cost, [x, conv.weight, conv.bias])]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("doubling", ["nearest", "linear"])
def test_resize_convolution_equals_doubling_padding_and_convolving(
    dims: int, doubling: Doubling
) -> None:
    torch.manual_seed(0)
    layer = ResizeConv(3, 2, dims, doubling).double()
    x = torch.randn(2, 3, *SPATIAL[dims], dtype=torch.float64)

    def textbook(x: Tensor) -> Tensor:
        linear = {2: "bilinear", 3: "trilinear"}[dims]
        mode = linear if doubling == "linear" else "nearest"
        assert layer.mode == mode
        doubled = F.interpolate(x, scale_factor=2, mode=mode)
        return layer.conv(F.pad(doubled, (1, 1) * dims, mode="replicate"))

    ours = _output_and_gradients(layer, x, layer.conv)
    for mine, theirs in zip(ours, _output_and_gradients(textbook, x, layer.conv), strict=True):
        torch.testing.assert_close(mine, theirs)
    assert ours[0].shape == (2, 2, *[2 * size for size in SPATIAL[dims]])


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_output_convolution_equals_the_plain_one(dims: int, channels: int) -> None:
    torch.manual_seed(0)
    layer = OutputConv(4, channels, 3, dims).double()
    x = torch.randn(2, 4, *SPATIAL[dims], dtype=torch.float64)
    ours = _output_and_gradients(layer, x, layer.conv)
    for mine, theirs in zip(ours, _output_and_gradients(layer.conv, x, layer.conv), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_output_convolution_gives_more_than_eight_bits_under_autocast() -> None:
    torch.manual_seed(0)
    layer = OutputConv(8, 1, 7)
    x = torch.randn(1, 8, 24, 24)
    with torch.autocast("cpu", torch.bfloat16):
        output = layer(x)
    assert output.dtype == torch.float32
    assert (output != output.bfloat16()).any()
    torch.testing.assert_close(output, layer.conv(x), atol=0.02, rtol=0.02)
