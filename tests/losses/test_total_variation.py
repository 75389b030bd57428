from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck
from torchmetrics.functional.image import total_variation as torchmetrics_total_variation

from medstyle_gan.losses import total_variation


@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_torchmetrics_sum_over_the_number_of_values(channels: int) -> None:
    torch.manual_seed(0)
    x = torch.rand(3, channels, 9, 11)
    expected = torchmetrics_total_variation(x, reduction="sum") / x.numel()
    torch.testing.assert_close(total_variation(x), expected)


def test_a_volume_of_copies_adds_no_variation_along_the_third_axis() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 1, 5, 6)
    volume = x[..., None].expand(-1, -1, -1, -1, 4)
    torch.testing.assert_close(total_variation(volume), total_variation(x))
    ramp = torch.arange(4.0).expand(1, 1, 5, 6, 4)
    assert total_variation(ramp).item() == pytest.approx(3 / 4)


def test_a_batch_costs_the_mean_of_its_images() -> None:
    torch.manual_seed(0)
    x = torch.rand(4, 1, 5, 6)
    alone = torch.stack([total_variation(image[None]) for image in x])
    torch.testing.assert_close(total_variation(x), alone.mean())


def test_its_gradient_passes_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 2, 4, 5, generator=generator, dtype=torch.float64).requires_grad_()
    assert gradcheck(total_variation, (x,))


def test_bfloat16_images_are_summed_in_fp32() -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 1, 64, 64).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        roughness = total_variation(x)
    assert roughness.dtype == torch.float32
    torch.testing.assert_close(roughness, total_variation(x.double()).float())
