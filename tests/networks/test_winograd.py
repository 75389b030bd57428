from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from medstyle_gan.networks.winograd import convolve, transform_weights


@pytest.mark.parametrize("size", [(8, 8), (7, 10), (1, 5), (2, 2)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_it_is_torchs_convolution_and_its_gradient(
    size: tuple[int, int], layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(5, 3, 3, 3).double(), torch.randn(5).double()
    x = torch.randn(2, 3, *size).double().contiguous(memory_format=layout)
    results = []
    for ours in (True, False):
        leaf = x.clone().requires_grad_()
        y = (
            convolve(leaf, transform_weights(weight), bias)
            if ours
            else F.conv2d(leaf, weight, bias, padding=1)
        )
        y.cos().sum().backward()
        results.append((y.detach(), leaf.grad))
    for own, theirs in zip(*results, strict=True):
        torch.testing.assert_close(own, theirs)


def test_single_precision_loses_little() -> None:
    torch.manual_seed(0)
    weight, bias, x = torch.randn(64, 256, 3, 3), torch.zeros(64), torch.rand(1, 256, 12, 12)
    exact = F.conv2d(x.double(), weight.double(), padding=1)
    error = (convolve(x, transform_weights(weight), bias) - exact).abs().max()
    assert error < 1e-5 * exact.abs().max()


def test_the_weights_have_no_gradient() -> None:
    transformed = transform_weights(torch.randn(4, 4, 3, 3)).requires_grad_()
    x = torch.randn(1, 4, 6, 6, requires_grad=True)
    convolve(x, transformed, torch.zeros(4)).sum().backward()
    assert transformed.grad is None
    assert x.grad is not None
