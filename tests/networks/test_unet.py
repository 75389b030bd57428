from __future__ import annotations

import pytest
import torch
from torch import nn

from medstyle_gan.errors import UserError
from medstyle_gan.networks import UNetGenerator


@pytest.mark.parametrize("levels", [2, 4])
@pytest.mark.parametrize("dims", [2, 3])
def test_translation_keeps_the_size_and_stays_in_range(levels: int, dims: int) -> None:
    torch.manual_seed(0)
    generator = UNetGenerator(1, 3, ngf=2, levels=levels, dims=dims)
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.mul_(50)
    sizes = [generator.minimum_size + generator.divisor * axis for axis in range(dims)]
    translation = generator(torch.rand(2, 1, *sizes) * 2 - 1)
    assert translation.shape == (2, 3, *sizes)
    assert 0.5 < translation.abs().max() <= 1


def test_a_batch_is_translated_as_its_images_are() -> None:
    torch.manual_seed(0)
    generator = UNetGenerator(1, 1, ngf=4, levels=3).double()
    x = torch.rand(3, 1, 16, 24, dtype=torch.float64)
    torch.testing.assert_close(generator(x), torch.cat([generator(image[None]) for image in x]))


def test_training_mode_drops_nothing_and_norms_have_no_parameters() -> None:
    torch.manual_seed(0)
    generator = UNetGenerator(1, 1, ngf=4, levels=3)
    x = torch.rand(1, 1, 16, 16)
    assert torch.equal(generator.train()(x), generator.train()(x))
    assert torch.equal(generator.train()(x), generator.eval()(x))
    norms = [layer for layer in generator.modules() if isinstance(layer, nn.InstanceNorm2d)]
    assert norms
    assert not any(list(norm.parameters()) for norm in norms)


def test_bfloat16_comes_close_and_gives_an_fp32_image() -> None:
    torch.manual_seed(0)
    generator = UNetGenerator(1, 1, ngf=4, levels=3)
    x = torch.rand(1, 1, 32, 32) * 2 - 1
    with torch.autocast("cpu", torch.bfloat16):
        translation = generator(x)
    assert translation.dtype == torch.float32
    expected = generator(x)
    error = (translation - expected).square().mean().sqrt()
    assert error < 0.05 * expected.square().mean().sqrt()


@pytest.mark.parametrize("size", [(32, 36), (8, 32)])
def test_sizes_that_would_not_come_back_are_refused(size: tuple[int, int]) -> None:
    generator = UNetGenerator(1, 1, ngf=2, levels=4)
    with pytest.raises(UserError, match=f"{size[0]}x{size[1]}.*multiples of 8"):
        generator(torch.zeros(1, 1, *size))
