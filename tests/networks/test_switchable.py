from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medstyle_gan.config.network_sections import ResNetGeneratorConfig, SwitchableGeneratorConfig
from medstyle_gan.errors import UserError
from medstyle_gan.networks import (
    ResNetGenerator,
    SwitchableGenerator,
    build_generators,
    parameters_of,
)
from medstyle_gan.networks.normalization import INSTANCE_NORM, AdaptiveNorm
from medstyle_gan.networks.resnet import Upsampling

SIZES = {2: (16, 24), 3: (8, 12, 8)}


def pair(dims: int = 2, upsampling: Upsampling = "resize") -> tuple[nn.Module, nn.Module]:
    """Small ones in double precision, with codes far from those of plain instance norms."""
    torch.manual_seed(0)
    config = SwitchableGeneratorConfig(ngf=4, blocks=2, upsampling=upsampling, code_size=8)
    both = build_generators(config, 1, 1, dims)
    for generator in both:
        generator.double().codes.to_codes.weight.data.normal_(0, 0.3)
    with torch.no_grad():
        for parameter in both[0].layers.parameters():
            parameter.normal_(0, 0.2)
    return both


def images(dims: int, count: int = 2) -> Tensor:
    rng = torch.Generator().manual_seed(1)
    return torch.rand(count, 1, *SIZES[dims], dtype=torch.float64, generator=rng) * 2 - 1


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("dims", [2, 3])
def test_a_code_scales_and_shifts_what_is_normalised(dims: int, device: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, *SIZES[dims], device=device) * 4 + 2
    scale, shift = torch.randn(2, 3, device=device)
    ours = INSTANCE_NORM[dims](3)(x, scale, shift)
    over_space = (-1, *[1] * dims)
    expected = F.instance_norm(x, eps=1e-5) * scale.view(over_space) + shift.view(over_space)
    torch.testing.assert_close(ours, expected)
    # AdaIN's statistics: of each image they are the code's, at a variance far above eps.
    spatial = tuple(range(2, x.ndim))
    torch.testing.assert_close(ours.mean(spatial), shift.expand(2, 3), atol=1e-4, rtol=0)
    deviation = ours.std(spatial, correction=0)
    torch.testing.assert_close(deviation, scale.abs().expand(2, 3), atol=1e-4, rtol=0)


class Coded(nn.Module):
    """Torch's own instance norm, and a code."""

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, x: Tensor) -> Tensor:
        return F.instance_norm(x, weight=self.scale, bias=self.shift)


@pytest.mark.parametrize("upsampling", ["transpose", "resize", "linear"])
@pytest.mark.parametrize("dims", [2, 3])
def test_each_direction_is_a_resnet_with_its_codes_after_the_norms(
    dims: int, upsampling: Upsampling
) -> None:
    for generator in pair(dims, upsampling):
        plain = ResNetGenerator(1, 1, 4, 2, upsampling, dims).double()
        plain.layers.load_state_dict(generator.layers.state_dict())
        codes = iter(generator.codes())
        for name, module in list(plain.named_modules()):
            if isinstance(module, AdaptiveNorm):
                plain.set_submodule(name, Coded(*next(codes)))
        assert next(codes, None) is None
        torch.testing.assert_close(generator(images(dims)), plain(images(dims)))


@pytest.mark.parametrize("dims", [2, 3])
def test_directions_share_all_layers_and_differ_by_their_codes(dims: int) -> None:
    there, back = pair(dims)
    assert there.layers is back.layers
    assert not torch.allclose(there(images(dims)), back(images(dims)), atol=0.05)
    back.codes.load_state_dict(there.codes.state_dict())
    torch.testing.assert_close(there(images(dims)), back(images(dims)), atol=0, rtol=0)


@pytest.mark.parametrize("dims", [2, 3])
def test_both_directions_have_about_half_the_parameters_of_two_resnets(dims: int) -> None:
    with torch.device("meta"):
        two = build_generators(ResNetGeneratorConfig(), 1, 1, dims)
        one = build_generators(SwitchableGeneratorConfig(), 1, 1, dims)
    counts = [sum(p.numel() for p in parameters_of(both)) for both in (one, two)]
    # Norms of ngf 64 and nine blocks have 5248 channels; 32 numbers give two of each.
    code = 32 + 32 * 33 + 2 * 5248 * 33
    assert counts[0] == counts[1] // 2 + 2 * code
    assert 0.5 < counts[0] / counts[1] < 0.54


def test_losses_of_both_directions_reach_the_shared_layers() -> None:
    there, back = pair()
    parameters = parameters_of([there, back])
    losses = [g(images(2)).square().mean() for g in (there, back)]
    alone = [torch.autograd.grad(loss, parameters, allow_unused=True) for loss in losses]
    total = there(images(2)).square().mean() + back(images(2)).square().mean()
    together = torch.autograd.grad(total, parameters)
    shared = {id(p) for p in there.layers.parameters()}
    own = {id(p): index for index, g in enumerate((there, back)) for p in g.codes.parameters()}
    for parameter, first, second, both in zip(parameters, *alone, together, strict=True):
        if id(parameter) in shared:
            torch.testing.assert_close(both, first + second)
            continue
        gradients = (first, second)
        assert gradients[1 - own[id(parameter)]] is None
        torch.testing.assert_close(both, gradients[own[id(parameter)]])
        assert both.abs().max() > 0


def test_codes_are_close_to_plain_norms_at_first_and_other_ones_each_way() -> None:
    torch.manual_seed(0)
    there, back = build_generators(SwitchableGeneratorConfig(ngf=8, blocks=2), 1, 1)
    for generator in (there, back):
        for scale, shift in generator.codes():
            assert (scale - 1).abs().max() < 0.5
            assert shift.abs().max() < 0.5
    assert not torch.equal(there.codes()[0][0], back.codes()[0][0])
    weights = torch.cat([p.flatten() for p in there.layers.parameters() if p.ndim > 1])
    assert weights.std().item() == pytest.approx(0.02, rel=0.05)


def test_a_copy_of_both_shares_what_they_share() -> None:
    there, back = copy.deepcopy(pair())
    assert there.layers is back.layers


@pytest.mark.parametrize("autocast", [False, True])
def test_blocks_that_are_computed_again_get_the_same_codes(autocast: bool) -> None:
    torch.manual_seed(0)
    both = build_generators(SwitchableGeneratorConfig(ngf=4, blocks=2), 1, 1)
    gradients = []
    for again in (False, True):
        for generator in both:
            generator.checkpoint_activations = again
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = both[1](both[0](images(2).float())).square().mean()
        gradients.append(torch.autograd.grad(loss, parameters_of(both)))
    torch.testing.assert_close(*gradients, rtol=0, atol=0)
    assert all(g.isfinite().all() for g in gradients[0])


def test_bfloat16_comes_close_and_gives_an_fp32_image() -> None:
    torch.manual_seed(0)
    there, _ = build_generators(SwitchableGeneratorConfig(ngf=8, blocks=2), 1, 1)
    x = images(2).float()
    with torch.autocast("cpu", torch.bfloat16):
        translation = there(x)
        assert there.codes()[0][0].dtype == torch.float32
    assert translation.dtype == torch.float32
    torch.testing.assert_close(translation, there(x), atol=0.02, rtol=0)


def test_domains_of_different_channels_are_refused_by_the_setting() -> None:
    with pytest.raises(UserError, match=r"generator\.name=switchable.* not 1 and 3; set gener"):
        SwitchableGenerator(1, 3)
