from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medstyle_gan.networks import ResNetGenerator, UNetGenerator, VGG19Features, winograd
from medstyle_gan.networks.winograd import WinogradConv, winograd_pays, with_fewer_multiplications

CPU = torch.device("cpu")
LAYOUTS = [torch.contiguous_format, torch.channels_last]
SIZES = [(6, 6), (3, 7), (18, 21), (4, 34)]


def weights(out_channels: int, channels: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(out_channels, channels, 3, 3), torch.randn(out_channels)


@pytest.mark.parametrize("strip", [1, 2**21], ids=["row by row", "at once"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tile", [2, 4])
def test_it_is_torchs_convolution_and_its_gradient(
    monkeypatch: pytest.MonkeyPatch,
    tile: int,
    size: tuple[int, int],
    padding: int,
    layout: torch.memory_format,
    strip: int,
) -> None:
    monkeypatch.setattr(winograd, "_STRIP_ELEMENTS", strip)
    weight, bias = (tensor.double() for tensor in weights(5, 3))
    ours = WinogradConv(weight, bias, padding, tile)
    results = []
    for convolve in (ours, lambda x: F.conv2d(x, weight, bias, padding=padding)):
        leaf = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1)).double()
        leaf = leaf.contiguous(memory_format=layout).requires_grad_()
        y = convolve(leaf)
        assert y.is_contiguous(memory_format=layout)
        y.cos().sum().backward()
        results.append((y.detach(), leaf.grad))
    for own, theirs in zip(*results, strict=True):
        torch.testing.assert_close(own, theirs)


def test_one_pixel_with_padding() -> None:
    weight, bias = weights(4, 3)
    x = torch.randn(1, 3, 1, 5)
    expected = F.conv2d(x, weight, bias, padding=1)
    torch.testing.assert_close(WinogradConv(weight, bias, 1)(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("tile", "most"), [(2, 2e-6), (4, 2e-5)])
def test_single_precision_loses_little(tile: int, most: float) -> None:
    weight, bias = weights(64, 256)
    x = torch.rand(1, 256, 12, 12).requires_grad_()
    exact_x = x.detach().double().requires_grad_()
    y = WinogradConv(weight, bias, 1, tile)(x)
    exact = F.conv2d(exact_x, weight.double(), bias.double(), padding=1)
    direction = torch.randn(y.shape)
    (y * direction).sum().backward()
    (exact * direction).sum().backward()
    for own, truth in ((y, exact), (x.grad, exact_x.grad)):
        assert own is not None
        assert truth is not None
        assert (own - truth).abs().max() < most * truth.abs().max()


def test_the_weights_have_no_gradient_and_are_in_no_state() -> None:
    conv = WinogradConv(*weights(4, 4))
    x = torch.randn(1, 4, 6, 6, requires_grad=True)
    conv(x).sum().backward()
    assert x.grad is not None
    assert not list(conv.parameters())
    assert not any(buffer.requires_grad for buffer in conv.buffers())
    assert not conv.state_dict()


def test_a_vgg19_with_it_is_the_same_network() -> None:
    layers = ["relu2_1", "conv4_1", "relu4_2"]
    direct = VGG19Features("random:0", layers)
    faster = VGG19Features("random:0", layers, winograd=True)
    used = [m for m in faster.modules() if isinstance(m, WinogradConv)]
    assert [len(m.bias) for m in used] == [256, 256, 256, 512, 512]
    assert faster.identity() == direct.identity()
    assert not faster.state_dict()
    gradients = []
    for network in (direct, faster):
        x = torch.rand(1, 3, 41, 56, generator=torch.Generator().manual_seed(0)).requires_grad_()
        features = network(x)
        sum(f.square().mean() for f in features.values()).backward()
        gradients.append((*features.values(), x.grad))
    for own, theirs in zip(*gradients, strict=True):
        assert (own - theirs).abs().max() < 1e-4 * theirs.abs().max()
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(ValueError, match="winograd=True is for fp32"),
    ):
        faster(x)


@pytest.mark.parametrize(("abilities", "pays"), [({}, True), ({"avx512_f": True}, False)])
def test_it_pays_where_the_library_has_none_of_its_own(
    abilities: dict[str, bool], pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities)
    assert winograd_pays(CPU, "fp32") is pays
    assert not winograd_pays(CPU, "bf16")
    assert not winograd_pays(torch.device("cuda"), "fp32")


def test_a_generator_translates_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)  # a CPU without AVX-512
    torch.manual_seed(0)
    generator = ResNetGenerator(1, 1, ngf=48, blocks=2).eval()
    x = torch.randn(2, 1, 24, 32)
    with torch.no_grad():
        expected = generator(x)
        faster = with_fewer_multiplications(copy.deepcopy(generator), CPU, "fp32")
        ours = faster(x)
    assert sum(isinstance(m, WinogradConv) for m in faster.modules()) == 4
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
