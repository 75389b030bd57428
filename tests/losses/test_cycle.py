from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from medstyle_gan.losses import l1


@pytest.mark.parametrize("spatial", [(6, 5), (3, 4, 5)])
def test_it_equals_torchs_mean_absolute_difference(spatial: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x, target = torch.randn(2, 3, 1, *spatial)
    torch.testing.assert_close(l1(x, target), F.l1_loss(x, target))


def test_bfloat16_images_are_compared_in_fp32() -> None:
    torch.manual_seed(0)
    x, target = torch.rand(2, 1, 1, 64, 64).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        distance = l1(x, target)
    assert distance.dtype == torch.float32
    torch.testing.assert_close(distance, (x.double() - target.double()).abs().mean().float())
