"""Instance norm as a group norm: torch's own is the oracle."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from medstyle_gan.networks.normalization import INSTANCE_NORM, quicken_norms_
from medstyle_gan.networks.patchgan import PatchGANDiscriminator
from medstyle_gan.networks.unet import UNetGenerator

TORCHS = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}


def _images(dims: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    rng = torch.Generator().manual_seed(dims)
    images = torch.randn(2, 5, *[7, 6, 5][:dims], generator=rng, dtype=torch.float64)
    return (3 * images + 2).to(dtype).requires_grad_()


@pytest.mark.parametrize("dims", [2, 3])
def test_values_and_both_derivatives_are_torchs(dims) -> None:
    results = []
    for norm in (INSTANCE_NORM[dims](5), TORCHS[dims](5)):
        images = _images(dims)
        out = norm(images)
        (first,) = torch.autograd.grad(out.pow(3).sum(), images, create_graph=True)
        (second,) = torch.autograd.grad(first.pow(2).sum(), images)
        results.append((out, first, second))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dims", [2, 3])
def test_bfloat16_is_as_near_to_the_exact_values_as_torchs(dims) -> None:
    images = _images(dims, torch.bfloat16)
    exact = TORCHS[dims](5)(images.double())
    ours, theirs = INSTANCE_NORM[dims](5)(images), TORCHS[dims](5)(images)
    assert ours.dtype == theirs.dtype == torch.bfloat16
    assert (ours - exact).abs().max() <= 1.01 * (theirs - exact).abs().max()


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_an_image_does_not_depend_on_its_batch(mode) -> None:
    norm = getattr(INSTANCE_NORM[2](5), mode)()
    images = _images(2)
    assert torch.equal(norm(images)[1:], norm(images[1:]))


@pytest.mark.parametrize(
    ("network", "images"),
    [
        (PatchGANDiscriminator(ndf=4, scales=2), torch.rand(1, 1, 64, 64)),
        (UNetGenerator(ngf=4, dims=3), torch.rand(1, 1, 16, 16, 16)),
    ],
    ids=["PatchGAN", "U-Net"],
)
def test_networks_that_monai_builds_have_them_and_give_the_same(network, images) -> None:
    plain = copy.deepcopy(network)
    replaced = 0
    for parent in list(plain.modules()):
        for name, child in list(parent.named_children()):
            for dims, kind in INSTANCE_NORM.items():
                if isinstance(child, TORCHS[dims]):
                    assert type(child) is kind
                    setattr(parent, name, TORCHS[dims](child.num_features))
                    replaced += 1
    assert replaced
    assert plain.state_dict().keys() == network.state_dict().keys()
    torch.testing.assert_close(network(images), plain(images), rtol=1e-4, atol=1e-5)


def test_a_norm_with_weights_is_not_replaced_silently() -> None:
    with pytest.raises(ValueError, match="weights or running statistics"):
        quicken_norms_(nn.Sequential(nn.InstanceNorm2d(3, affine=True)))
