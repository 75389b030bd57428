from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from medstyle_gan.inference import Translator
from medstyle_gan.inference.streaming import can_stream
from medstyle_gan.inference.winograd import WinogradConv, with_fewer_multiplications
from medstyle_gan.networks import ResNetGenerator, UNetGenerator

from .conftest import make_bundle, make_config

CPU = torch.device("cpu")


@pytest.mark.parametrize("size", [(6, 6), (3, 7), (18, 21), (4, 34)])
def test_it_is_the_direct_convolution(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(24, 40, 3)
    x = torch.randn(3, 24, *size)
    with torch.no_grad():
        exact = copy.deepcopy(conv).double()(x.double())
        ours, direct = WinogradConv(conv)(x), conv(x)
    assert ours.shape == direct.shape
    error, rounding = ((y - exact).abs().max() for y in (ours, direct))
    assert error < max(30 * rounding, 1e-6)
    assert error < 1e-5


def test_a_generator_translates_the_same() -> None:
    torch.manual_seed(0)
    generator = ResNetGenerator(1, 1, ngf=48, blocks=2).eval()
    x = torch.randn(2, 1, 24, 32)
    with torch.no_grad():
        expected = generator(x)
        faster = with_fewer_multiplications(copy.deepcopy(generator), CPU, "fp32")
        ours = faster(x)
    assert sum(isinstance(m, WinogradConv) for m in faster.modules()) == 4
    assert can_stream(faster)
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)
    assert expected.std() > 0.01


@pytest.mark.parametrize(
    ("generator", "device", "precision"),
    [
        (ResNetGenerator(ngf=8, blocks=1), "cpu", "fp32"),  # too few channels
        (ResNetGenerator(ngf=48, blocks=1), "cpu", "bf16"),
        (ResNetGenerator(ngf=48, blocks=1), "meta", "fp32"),
        (ResNetGenerator(ngf=48, blocks=1, dims=3), "cpu", "fp32"),
        (UNetGenerator(ngf=32), "cpu", "fp32"),
    ],
)
def test_where_it_does_not_pay_nothing_changes(
    generator: nn.Module, device: str, precision: str
) -> None:
    same = with_fewer_multiplications(generator, torch.device(device), precision)
    assert not any(isinstance(m, WinogradConv) for m in same.modules())


def test_a_loaded_model_has_it() -> None:
    config = make_config(generator={"name": "resnet", "ngf": 48, "blocks": 1})
    bundle = make_bundle(config)
    slices = np.random.default_rng(0).uniform(-1, 1, (3, 1, 16, 16)).astype(np.float32)
    translator = Translator.load(bundle, "cpu", "fp32")
    generator = translator.generators["scan_to_style"]
    assert any(isinstance(m, WinogradConv) for m in generator.modules())
    direct = ResNetGenerator(ngf=48, blocks=1).eval()
    direct.load_state_dict(bundle.generator_state("scan_to_style"))
    with torch.no_grad():
        expected = direct(torch.from_numpy(slices)).numpy()
    ours = translator.translate_slices(slices, "scan_to_style")
    np.testing.assert_allclose(ours, expected, atol=1e-4)
