from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation
from torch import Tensor

from medstyle_gan.data.cached_volume import CachedCollection
from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.training import guard_figures
from medstyle_gan.training.guard_figures import (
    Probe,
    contrast_order,
    movement,
    needed_movement,
    translate_each,
)


def probe(images: Tensor) -> Probe:
    """Looks at the left half of every image."""
    columns = np.arange(images.shape[-1]) < images.shape[-1] // 2
    inside = np.broadcast_to(columns, images.shape[2:])
    return Probe(images, (np.flatnonzero(inside),) * len(images))


def noise(channels: int = 1, seed: int = 0, images: int = 3) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.rand(images, channels, 24, 32, generator=rng) * 2 - 1


def test_movement_is_none_for_the_identity_and_two_for_the_negative() -> None:
    x = noise()
    x = x - x[..., :16].mean(dim=(2, 3), keepdim=True)
    assert movement(probe(x), x) == 0
    assert movement(probe(x), -x) == pytest.approx(2)
    assert movement(probe(x), 0 * x) == pytest.approx(1)


def test_movement_is_free_of_units_and_blind_to_the_background() -> None:
    x, y = noise(), noise(seed=1)
    expected = movement(probe(x), y)
    assert movement(probe(0.1 * x - 0.5), 0.1 * y - 0.5) == pytest.approx(expected)
    beyond = y.clone()
    beyond[..., 16:] = 9
    assert movement(probe(x), beyond) == expected


@pytest.mark.parametrize(("channels", "out"), [(1, 3), (3, 1)])
def test_a_change_of_channels_alone_is_no_movement(channels: int, out: int) -> None:
    x = noise(channels)
    luminance = torch.tensor([0.299, 0.587, 0.114])[None, :, None, None]
    same = x.repeat(1, 3, 1, 1) if out == 3 else (x * luminance).sum(dim=1, keepdim=True)
    assert movement(probe(x), same) == pytest.approx(0, abs=1e-6)
    assert movement(probe(x), same + 0.5) > 0.5
    assert contrast_order(probe(x), same) == pytest.approx(1)


def test_a_shift_needs_as_much_movement_as_it_is_long() -> None:
    x = noise()
    values = x[..., :16].double()
    contrast = (values - values.mean(dim=(2, 3), keepdim=True)).abs().mean()
    assert needed_movement(probe(x), probe(x), 1) == 0
    assert needed_movement(probe(x), probe(x + 0.3), 1) == pytest.approx(0.3 / float(contrast))


@pytest.mark.parametrize("seed", range(5))
def test_no_map_to_the_styles_intensities_moves_less_than_needed(seed: int) -> None:
    x, style = noise(seed=seed), noise(seed=100 + seed) ** 2
    # The style's own values, put anywhere: a map whose output has the style's intensities.
    translations = style.clone()
    least = needed_movement(probe(x), probe(style), 1)
    assert movement(probe(x), translations) > least
    # The cheapest one, over all images: by rank.
    flat, ours = style[..., :16].flatten().sort().values, x[..., :16].flatten()
    translations[..., :16] = flat[ours.argsort().argsort()].view(3, 1, 24, 16)
    assert movement(probe(x), translations) == pytest.approx(least, rel=1e-5)


def test_contrast_order_sees_the_order_alone() -> None:
    x = noise()
    assert contrast_order(probe(x), (2 * x).exp()) == pytest.approx(1)
    assert contrast_order(probe(x), -(x**3)) == pytest.approx(-1)
    assert abs(contrast_order(probe(x), noise(seed=7))) < 0.15
    assert contrast_order(probe(x), torch.zeros_like(x)) == 0


def test_images_are_translated_one_at_a_time() -> None:
    seen: list[int] = []

    def double(image: Tensor) -> Tensor:
        seen.append(len(image))
        assert not torch.is_grad_enabled()
        return 2 * image

    assert torch.equal(translate_each(noise(), double), 2 * noise())
    assert seen == [1, 1, 1]


def test_points_of_a_volume_lie_in_its_body() -> None:
    grids = np.meshgrid(*[np.linspace(-1, 1, n) for n in (20, 18, 16)], indexing="ij")
    inside = sum(g**2 for g in grids) < 0.6
    texture = np.random.default_rng(0).uniform(0, 0.8, inside.shape)
    image = torch.from_numpy(np.where(inside, texture, -1.0)).float()[None]
    scale = FittedScale(500.0, 500.0, clip=True)
    collection = cast(CachedCollection, SimpleNamespace(scale=scale))
    points = guard_figures._points(image, collection, whole=False)
    found = np.zeros(inside.size, bool)
    found[points] = True
    assert binary_dilation(inside, iterations=2).ravel()[points].all()
    assert found.reshape(inside.shape)[inside].mean() > 0.95
    x = image[None]
    probe_3d = Probe(x, (points,))
    assert movement(probe_3d, x) == 0
    assert contrast_order(probe_3d, 0.5 * x + 0.2) == pytest.approx(1)
    assert contrast_order(probe_3d, -x) == pytest.approx(-1)
    assert len(translate_each(torch.cat([x, x]), lambda part: -part)) == 2
