from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from medstyle_gan.methods.affine_structure import (
    gradient_correlation,
    guided_filter,
    keep_structure,
)


def smooth(seed: int, channels: int = 1, cells: int = 8, size: int = 64) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, channels, cells, cells, generator=rng, dtype=torch.float64)
    return F.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1) * 2 - 1


def by_regressions(
    guide: Tensor, image: Tensor, radius: int, epsilon: float, inside: Tensor | None = None
) -> np.ndarray:
    """Every window's ridge regression one by one, and then the mean of the maps."""
    i, p = (np.moveaxis(x[0].numpy(), 0, -1) for x in (guide, image))
    here = np.ones(i.shape[:2], bool) if inside is None else inside.numpy()
    rows, columns, channels = i.shape
    slopes = np.empty((rows, columns, channels, p.shape[-1]))
    offsets = np.empty((rows, columns, p.shape[-1]))
    for y in range(rows):
        for x in range(columns):
            window = np.s_[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
            a, b = i[window][here[window]], p[window][here[window]]
            if not len(a):
                continue
            centred = a - a.mean(0)
            ridge = centred.T @ centred / len(a) + epsilon * np.eye(channels)
            slopes[y, x] = np.linalg.solve(ridge, centred.T @ (b - b.mean(0)) / len(a))
            offsets[y, x] = b.mean(0) - a.mean(0) @ slopes[y, x]
    out = np.empty((rows, columns, p.shape[-1]))
    for y in range(rows):
        for x in range(columns):
            window = np.s_[max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
            maps = here[window]
            out[y, x] = p[y, x]
            if maps.any():
                slope, offset = slopes[window][maps].mean(0), offsets[window][maps].mean(0)
                out[y, x] = i[y, x] @ slope + offset
    return np.moveaxis(out, -1, 0)[None]


@pytest.mark.parametrize("body", [False, True])
@pytest.mark.parametrize(("guide", "image"), [(1, 1), (1, 3), (3, 3), (3, 1)])
def test_the_filter_is_the_mean_of_every_windows_regression(
    guide: int, image: int, body: bool
) -> None:
    one, other = smooth(0, guide, size=12), smooth(1, image, size=12)
    inside = None
    if body:
        inside = torch.zeros(12, 12, dtype=torch.bool)
        inside[4:10, 3:8] = True
    expected = by_regressions(one, other, 2, 0.01, inside)
    result = guided_filter(one, other, 2, 0.01, inside).numpy()
    np.testing.assert_allclose(result, expected, atol=1e-10)


def test_what_is_outside_a_body_has_no_say_within() -> None:
    content, image = smooth(0), smooth(1)
    inside = torch.zeros(64, 64, dtype=torch.bool)
    inside[10:50, 20:44] = True
    other = torch.where(inside, content, -3.0)
    results = [guided_filter(x, image, 4, 0.01, inside)[..., inside] for x in (content, other)]
    torch.testing.assert_close(*results)


def test_an_affine_map_of_the_content_is_left_as_it_is() -> None:
    content = smooth(0)
    image = 0.4 * content - 0.2
    torch.testing.assert_close(guided_filter(content, image, 4, 1e-12), image, atol=1e-5, rtol=0)


def test_where_the_content_is_flat_the_result_has_no_edge() -> None:
    content = torch.zeros(1, 1, 64, 64, dtype=torch.float64)
    content[..., 32:] = 1
    stripes = torch.ones(64, dtype=torch.float64)
    stripes[::2] = -1
    stylised = stripes.expand(1, 1, 64, 64) * 0.8
    result = guided_filter(content, stylised, 4, 0.01)
    flat = result[..., :20].diff(dim=3).abs().max()
    assert flat < 0.1 * stylised.diff(dim=3).abs().max()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("likeness", [0.0, 0.5, -0.5])
@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_correlate_as_wanted_at_the_defaults(
    seed: int, likeness: float, channels: int
) -> None:
    content = smooth(seed, channels)
    stylised = (likeness * content + 0.5 * smooth(10 + seed, 3, cells=24)).clamp(-1, 1)
    assert gradient_correlation(content, stylised) < 0.9
    result = keep_structure(content, stylised, None, 0.01, 0.95)
    assert gradient_correlation(content, result) >= 0.95
    assert result.std() > 0.3 * stylised.std()  # and it is no flat picture
    torch.testing.assert_close(result.mean(), stylised.mean(), atol=0.1, rtol=0)


def test_the_floor_is_kept_where_values_would_be_clipped() -> None:
    content = torch.full((1, 1, 64, 64), -1.0, dtype=torch.float64)
    content[..., 20:44, 20:44] = 0.3 * smooth(0, size=24) + 0.5
    stylised = torch.where(content > -1, -0.8 * content, content) + 0.3 * smooth(1, cells=32)
    result = keep_structure(content, stylised.clamp(-1, 1), None, 0.01, 0.99)
    assert gradient_correlation(content, result) >= 0.99


def test_correlation_against_numpy_and_its_ends() -> None:
    one, other = smooth(0), smooth(1)

    def sizes(x: Tensor) -> np.ndarray:
        values = x[0, 0].numpy()
        down, right = np.diff(values, axis=0)[:, :-1], np.diff(values, axis=1)[:-1]
        return np.hypot(down, right).ravel()

    expected = np.corrcoef(sizes(one), sizes(other))[0, 1]
    assert gradient_correlation(one, other) == pytest.approx(expected, abs=1e-6)
    assert gradient_correlation(one, -0.3 * one + 0.1) == pytest.approx(1)
    assert gradient_correlation(one, torch.zeros_like(one)) == 0


def test_correlation_and_floor_inside_a_body_alone() -> None:
    inside = torch.zeros(64, 64, dtype=torch.bool)
    inside[12:50, 9:55] = True
    one, other = (torch.where(inside, 0.4 * smooth(seed) + 0.6, -1.0) for seed in (0, 1))
    cut = [x[..., 12:50, 9:55] for x in (one, other)]
    assert gradient_correlation(one, other, inside) == pytest.approx(gradient_correlation(*cut))
    assert gradient_correlation(one, other) > 0.9  # the outline
    result = keep_structure(one, other, 2, 0.001, 0.95, inside)
    assert gradient_correlation(one, result, inside) >= 0.95
    assert gradient_correlation(one, one, torch.zeros_like(inside)) == 0
