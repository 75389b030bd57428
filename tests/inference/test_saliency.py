"""The saliency of style: against a plain computation, and on pictures with one odd place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter

from medstyle_gan.errors import UserError
from medstyle_gan.inference.saliency import default_window, propose_region, style_saliency
from medstyle_gan.networks import VGG19Features


@pytest.fixture(scope="module")
def vgg() -> VGG19Features:
    return VGG19Features("random:0", ["relu1_1"])


def noise_with_stripes(seed: int = 0) -> torch.Tensor:
    """Two slices of noise; in the second a patch of stripes with the same mean and deviation."""
    rng = np.random.default_rng(seed)
    slices = rng.normal(0, 0.4, (2, 1, 64, 64))
    stripes = 0.4 * np.sign(np.sin(np.arange(16) * np.pi / 2 + 0.1))
    slices[1, 0, 24:40, 24:40] = stripes[None] * np.ones((16, 1))
    return torch.from_numpy(slices.clip(-1, 1)).float()


def test_it_is_the_distance_of_local_statistics_in_deviations(vgg: VGG19Features) -> None:
    """The same with scipy's filter and numpy's moments, away from the border."""
    slices, window = noise_with_stripes(), 7
    found = style_saliency(slices, torch.ones(2, 1, 64, 64), vgg, window)
    features = vgg(slices)["relu1_1"].double().numpy()
    mean = uniform_filter(features, (0, 0, window, window), mode="constant")
    squares = uniform_filter(features**2, (0, 0, window, window), mode="constant")
    share = uniform_filter(np.ones((64, 64)), window, mode="constant")
    mean, squares = mean / share, squares / share
    local = np.concatenate([mean, np.sqrt(np.clip(squares - mean**2, 0, None))], axis=1)
    centre = local.mean(axis=(0, 2, 3), keepdims=True)
    spread = local.std(axis=(0, 2, 3), keepdims=True)
    alive = spread[0, :, 0, 0] > 1e-6
    distance = ((local - centre) / np.where(spread > 0, spread, 1))[:, alive]
    expected = np.sqrt((distance**2).mean(axis=1))
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=2e-3)
    assert np.mean(found**2) == pytest.approx(1, abs=1e-3)


def test_another_texture_of_the_same_brightness_is_proposed(vgg: VGG19Features) -> None:
    slices, body = noise_with_stripes(), np.ones((2, 64, 64), bool)
    saliency = style_saliency(slices, torch.ones(2, 1, 64, 64), vgg, 9)
    region = propose_region(saliency, body, share=0.02, parts=1, margin=4)
    patch = np.zeros_like(body)
    patch[1, 24:40, 24:40] = True
    assert region.any()
    assert (region & patch).sum() > 0.8 * region.sum()
    assert (region & patch).sum() > 0.3 * patch.sum()


def test_windows_see_nothing_outside_the_body(vgg: VGG19Features) -> None:
    slices = noise_with_stripes()
    body = torch.zeros(2, 1, 64, 64)
    body[:, :, 8:56, 8:56] = 1
    near = torch.zeros_like(body)
    near[:, :, 7:57, 7:57] = 1  # relu1_1 itself sees one pixel around
    other = torch.where(near > 0, slices, torch.tensor(0.9))
    one, two = (style_saliency(x, body, vgg, 9) for x in (slices, other))
    assert not one[:, :8].any()
    np.testing.assert_allclose(one, two, atol=1e-4)


def test_where_nothing_stands_out_a_mask_is_asked_for(vgg: VGG19Features) -> None:
    flat = style_saliency(torch.zeros(1, 1, 32, 32), torch.ones(1, 1, 32, 32), vgg, 5)
    with pytest.raises(UserError, match=r"nothing in the content stands out.*--mask"):
        propose_region(np.zeros_like(flat), np.ones(flat.shape, bool), 0.05, 1, 2)


def test_the_rim_of_the_body_is_left_out_and_the_strongest_parts_kept() -> None:
    saliency = np.zeros((1, 40, 40), np.float32)
    saliency[0, 0:3] = 9  # an edge
    saliency[0, 10:14, 10:14], saliency[0, 25:29, 25:29] = 3, 5
    body = np.ones((1, 40, 40), bool)
    (one,) = propose_region(saliency, body, 0.01, 1, 5)
    assert one[25:29, 25:29].all()
    assert not one[:24].any()
    (two,) = propose_region(saliency, body, 0.05, 2, 5)
    assert two[10:14, 10:14].all()
    assert not two[:5].any()


def test_the_window_grows_with_the_image() -> None:
    assert default_window((256, 320)) == 8
    assert default_window((20, 20)) == 4
