"""The guided filter as a generator's last layer."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, maximum_filter, minimum_filter
from torch import Tensor

from medstyle_gan.config import Config, load_config
from medstyle_gan.errors import UserError
from medstyle_gan.methods.affine_structure import guided_filter
from medstyle_gan.networks import adapt_channels, build_generator
from medstyle_gan.networks.guided_filter import GuidedFilter

GENERATORS: dict[str, dict[str, Any]] = {
    "resnet": {"ngf": 4, "blocks": 1},
    "switchable": {"ngf": 4, "blocks": 1, "code_size": 4},
    "unet": {"ngf": 4, "levels": 2},
}


def smooth(shape: tuple[int, ...], seed: int, width: float = 1.0) -> Tensor:
    """`(1, 1, *shape)` of noise in (-1, 1), correlated over some pixels."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), width)
    return torch.from_numpy(np.tanh(noise / noise.std()))[None, None].float()


def by_regression(guide: np.ndarray, image: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """The definition, window by window; the border is repeated as far as windows reach."""
    wide = 2 * radius
    guide, image = (np.pad(x, wide, mode="edge").astype(np.float64) for x in (guide, image))
    total, count = np.zeros_like(image), np.zeros_like(image)
    for center in product(*(range(radius, side - radius) for side in guide.shape)):
        window = tuple(slice(c - radius, c + radius + 1) for c in center)
        x, y = guide[window].ravel(), image[window].ravel()
        # Ridge regression with a free offset: the slope's penalty is that of n samples.
        rows = np.stack([x, np.ones_like(x)], axis=1)
        penalty = np.diag([epsilon * len(x), 0.0])
        slope, offset = np.linalg.solve(rows.T @ rows + penalty, rows.T @ y)
        total[window] += slope * guide[window] + offset
        count[window] += 1
    inside = (slice(wide, -wide),) * guide.ndim
    assert (count[inside] == (2 * radius + 1) ** guide.ndim).all()
    side = 2 * radius + 1
    low, high = (f(image, side)[inside] for f in (minimum_filter, maximum_filter))
    return (total / count.clip(1))[inside].clip(low, high)


@pytest.mark.parametrize("shape", [(14, 11), (8, 7, 9)])
@pytest.mark.parametrize("radius", [1, 2])
@pytest.mark.parametrize("epsilon", [1e-3, 0.3])
def test_it_is_the_mean_of_regressions_in_windows(
    shape: tuple[int, ...], radius: int, epsilon: float
) -> None:
    guide, image = smooth(shape, 0), smooth(shape, 1)
    found = GuidedFilter(radius, epsilon, len(shape))(guide, image)
    expected = by_regression(guide[0, 0].numpy(), image[0, 0].numpy(), radius, epsilon)
    np.testing.assert_allclose(found[0, 0].numpy(), expected, atol=2e-5)


def test_inside_it_is_the_filter_that_preserves_structure_but_for_its_hold() -> None:
    guide, image = smooth((40, 40), 2, 2.0), smooth((40, 40), 3, 2.0)
    found = GuidedFilter(2, 1e-3)(guide, image)
    other = guided_filter(guide, image, 2, 1e-3)
    low, high = -torch.max_pool2d(-image, 5, 1, 2), torch.max_pool2d(image, 5, 1, 2)
    held = other.maximum(low).minimum(high)
    assert not torch.equal(held, other)
    torch.testing.assert_close(found[..., 4:-4, 4:-4], held[..., 4:-4, 4:-4], atol=1e-5, rtol=0)


@pytest.mark.parametrize("dims", [2, 3])
def test_maps_of_the_guide_stay_as_they_are_and_edges_that_it_lacks_go(dims: int) -> None:
    guide = smooth((16,) * dims, 4)
    layer = GuidedFilter(2, 1e-6, dims)
    torch.testing.assert_close(
        layer(guide, 0.2 - 0.5 * guide), 0.2 - 0.5 * guide, atol=1e-3, rtol=0
    )
    flat = torch.full_like(guide, 0.3)
    step = (torch.arange(16.0) >= 8).float().expand(guide.shape)
    assert float(step.diff(dim=-1).max()) == 1
    assert float(layer(flat, step).diff(dim=-1).max()) < 0.3


def test_edges_come_sharp_out_of_a_blurred_image_whichever_their_sign() -> None:
    inside = torch.zeros(1, 1, 32, 32)
    inside[..., 10:22, 10:22] = 1
    for sign in (1.0, -1.0):
        sharp = sign * (inside - 0.5)
        blurred = torch.from_numpy(gaussian_filter(sharp.numpy(), (0, 0, 1.5, 1.5)))
        found = GuidedFilter(2, 1e-3)(inside * 0.8 - 0.4, blurred)
        step, softer = (float(x[0, 0, 16, 10] - x[0, 0, 16, 9]) for x in (found, blurred))
        assert step * sign > 1.7 * softer * sign > 0.3


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("dims", [2, 3])
def test_it_is_the_last_layer_of_each_generator(name: str, dims: int) -> None:
    settings = {"name": name, **GENERATORS[name]}
    torch.manual_seed(0)
    plain = build_generator(Config.model_validate({"generator": settings}).generator, 1, 1, dims)
    guided = {**settings, "guide_radius": 2, "guide_epsilon": 0.01}
    config = Config.model_validate({"generator": guided})
    generator = build_generator(config.generator, 1, 1, dims)
    generator.load_state_dict(plain.state_dict())  # it has no weights
    x = smooth((16,) * dims, 5)
    expected = GuidedFilter(2, 0.01, dims)(x, plain(x))
    torch.testing.assert_close(generator(x), expected)
    assert not torch.allclose(generator(x), plain(x), atol=1e-3)


@pytest.mark.parametrize(
    ("taken", "given", "guides"),
    [
        (1, 3, [[0], [0], [0]]),
        (3, 1, [[0, 1, 2]]),
        (3, 3, [[0], [1], [2]]),
        (3, 9, [[0], [0], [0], [1], [1], [1], [2], [2], [2]]),  # three slices, grey to colour
        (9, 3, [[0, 1, 2], [3, 4, 5], [6, 7, 8]]),
    ],
)
def test_colour_and_stacks_are_guided_by_rule(
    taken: int, given: int, guides: list[list[int]]
) -> None:
    layer = GuidedFilter(1, 1e-3)
    guide = torch.cat([smooth((12, 12), i) for i in range(taken)], dim=1)
    image = torch.cat([smooth((12, 12), 9 + i) for i in range(given)], dim=1)
    found = layer(guide, image)
    for channel, of in enumerate(guides):
        own = adapt_channels(guide[:, of], 1)
        torch.testing.assert_close(found[:, [channel]], layer(own, image[:, [channel]]))


def test_it_computes_in_fp32_and_its_gradient_is_finite_in_the_air() -> None:
    guide = torch.full((1, 1, 16, 16), -1.0)
    image = torch.full((1, 1, 16, 16), 0.25, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = GuidedFilter(2, 1e-3)(guide, image.bfloat16())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, image.detach())
    found.sum().backward()
    assert image.grad is not None
    assert float(image.grad.sum()) == pytest.approx(256, rel=1e-3)


def test_its_gradient_is_that_of_finite_differences() -> None:
    layer = GuidedFilter(1, 0.1)
    guide, image = (smooth((6, 6), seed).double().requires_grad_() for seed in (6, 7))
    assert torch.autograd.gradcheck(layer, (guide, image))


def test_a_negative_radius_is_refused() -> None:
    with pytest.raises(UserError, match=r"generator\.guide_radius"):
        load_config(None, ["generator.guide_radius=-1"])
