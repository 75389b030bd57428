from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from medstyle_gan.losses import l1, low_pass_l1


def _pair(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return torch.rand(*shape, generator=rng) * 2 - 1, torch.rand(*shape, generator=rng) * 2 - 1


@pytest.mark.parametrize("shape", [(2, 1, 20, 24), (1, 2, 12, 10, 8)])
def test_is_the_l1_of_smoothed_images(shape: tuple[int, ...]) -> None:
    x, y = _pair(*shape)
    smooth = [
        np.stack([[gaussian_filter(c, 1.5, mode="nearest") for c in i] for i in image.numpy()])
        for image in (x, y)
    ]
    assert float(low_pass_l1(x, y, 1.5)) == pytest.approx(
        float(np.abs(smooth[0] - smooth[1]).mean()), rel=1e-4
    )
    assert torch.allclose(low_pass_l1(x, y, 0.0), l1(x, y))


def test_what_does_not_count_changes_nothing() -> None:
    x, y = _pair(1, 1, 24, 24)
    weight = torch.zeros(1, 1, 24, 24)
    weight[..., :12] = 1
    other = y.clone()
    other[..., 12:] = 1.0
    assert torch.equal(low_pass_l1(x, y, 2.0, weight), low_pass_l1(x, other, 2.0, weight))
    # A difference that is the same everywhere is told in full right up to the border.
    assert float(low_pass_l1(y + 0.25, y, 2.0, weight)) == pytest.approx(0.25, rel=1e-5)
    assert float(low_pass_l1(x, y, 2.0, 0 * weight)) == 0


def test_forgives_a_shift_more_than_a_wrong_contrast() -> None:
    image = torch.zeros(1, 1, 40, 40)
    image[..., 10:30, 10:30] = 1
    shifted = image.roll(1, dims=-1)
    ratio = l1(shifted, image) / low_pass_l1(shifted, image, 3.0)
    assert ratio > 1.0
    texture = image + 0.3 * (-1.0) ** torch.arange(40)
    assert low_pass_l1(texture, image, 3.0) < 0.05 < l1(texture, image)
