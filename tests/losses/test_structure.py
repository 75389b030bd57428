from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import normalized_mutual_information
from torch import Tensor

from medstyle_gan.losses import structure
from medstyle_gan.losses.smoothing import smoothed

Distance = Callable[..., Tensor]
EVERY: dict[str, Distance] = {
    "gradient_correlation": structure.gradient_correlation,
    "mind": structure.mind_distance,
    "local_correlation": structure.local_correlation_distance,
    "information": structure.information_lost,
}
each = pytest.mark.parametrize("name", EVERY)
SIZES = [(24, 20), (12, 14, 13)]


def blobs(seed: int, size: tuple[int, ...] = (24, 20), images: int = 1) -> Tensor:
    """Smooth noise `(B, 1, *size)` in [-0.8, 0.8], float64."""
    noise = np.random.default_rng(seed).normal(size=(images, 1, *size))
    smooth = gaussian_filter(noise, (0, 0, *[1.5] * len(size)))
    return torch.from_numpy(0.8 * smooth / np.abs(smooth).max())


@pytest.mark.parametrize("border", ["nearest", "reflect"])
@pytest.mark.parametrize("size", [(9, 12), (7, 5, 1)])
def test_smoothing_is_scipys(border: str, size: tuple[int, ...]) -> None:
    x, deviations = blobs(0, size, 2), [0.5, 1.7, 1.1][: len(size)]
    expected = gaussian_filter(x.numpy(), [0, 0, *deviations], mode=border, truncate=3)
    found = smoothed(x, deviations, 3, border)  # type: ignore[arg-type]
    torch.testing.assert_close(found, torch.from_numpy(expected))


@each
@pytest.mark.parametrize("size", SIZES)
def test_what_keeps_its_structure_is_nearer_than_what_does_not(
    name: str, size: tuple[int, ...]
) -> None:
    scan, other = blobs(0, size), blobs(1, size)
    distance = EVERY[name]
    inverted, moved = distance(-0.9 * scan, scan), distance(scan.roll(2, 2), scan)
    assert float(distance(scan, scan)) == pytest.approx(0, abs=1e-4)
    assert float(inverted) < 0.3 * float(moved)
    assert float(moved) < 1.1
    assert float(distance(other, scan)) > 0.1


@pytest.mark.parametrize("name", ["gradient_correlation", "mind", "local_correlation"])
@pytest.mark.parametrize("change", [lambda x: -x, lambda x: 0.4 * x + 0.3])
def test_an_affine_change_of_intensities_costs_nothing(
    name: str, change: Callable[[Tensor], Tensor]
) -> None:
    scan, x = blobs(0), blobs(1)
    distance = EVERY[name]
    assert float(distance(change(scan), scan)) == pytest.approx(0, abs=1e-4)
    assert float(distance(change(x), scan)) == pytest.approx(float(distance(x, scan)), rel=1e-3)


def test_a_one_to_one_change_of_intensities_loses_little_information() -> None:
    scan = blobs(0, (64, 64))
    lost = {
        name: float(structure.information_lost(x, scan))
        for name, x in {
            "one to one": (scan * 1.2).sin(),
            "turned over": -scan,
            "two to one": scan.abs() * 2 - 0.8,
            "other": blobs(1, (64, 64)),
        }.items()
    }
    assert max(lost["one to one"], lost["turned over"]) < 0.1
    assert 0.2 < lost["two to one"] < lost["other"]
    assert lost["other"] > 0.8


def test_shared_information_goes_as_skimages_does() -> None:
    """Another estimate (a plain histogram), of what is noisier and noisier."""
    scan = blobs(0, (64, 64))
    rng = np.random.default_rng(0)
    noise = torch.from_numpy(rng.normal(size=scan.shape))
    noisy = [(scan**2 + sigma * noise).clamp(-1, 1) for sigma in (0.02, 0.05, 0.1, 0.3)]
    ours = [float(structure.information_lost(x, scan)) for x in noisy]
    theirs = [normalized_mutual_information(x.numpy(), scan.numpy(), bins=32) for x in noisy]
    assert ours == sorted(ours)
    assert theirs == sorted(theirs, reverse=True)


@pytest.mark.parametrize("size", SIZES)
def test_gradient_correlation_is_pearsons_of_numpys_gradients(size: tuple[int, ...]) -> None:
    scan, x = blobs(0, size, 2), blobs(1, size, 2)
    mask = blobs(2, size, 2) > 0
    expected = []
    for image, other, inside in zip(x.numpy(), scan.numpy(), mask.numpy(), strict=True):
        lengths = []
        for a in (image[0], other[0]):
            slopes = np.gradient(gaussian_filter(a, 0.7, mode="nearest"))
            lengths.append(np.sqrt(sum(s**2 for s in slopes))[inside[0]])
        expected.append(1 - np.corrcoef(*lengths)[0, 1])
    found = structure.gradient_correlation(x, scan, mask)
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_local_correlation_is_the_squared_correlation_of_a_window(size: tuple[int, ...]) -> None:
    scan, x = blobs(0, size), blobs(1, size)
    middle = tuple(n // 2 for n in size)
    mask = torch.zeros_like(scan, dtype=torch.bool)
    mask[(0, 0, *middle)] = True
    window = (0, 0, *(slice(m - 2, m + 3) for m in middle))
    expected = np.corrcoef(x[window].ravel(), scan[window].ravel())[0, 1] ** 2
    found = structure.local_correlation_distance(x, scan, mask, window=5)
    assert float(found) == pytest.approx(1 - expected, rel=1e-6)


def test_mind_of_a_slice_is_the_papers_formula() -> None:
    """Patch distances by scipy, at every pixel whose neighbours are in the image."""
    x = blobs(0)
    image = x[0, 0].numpy()
    distances = np.array(
        [
            gaussian_filter((image - np.roll(image, -step, axis)) ** 2, 0.5, truncate=3)
            for axis in range(2)
            for step in (1, -1)
        ]
    )[:, 4:-4, 4:-4]
    expected = np.exp(-distances / distances.mean(axis=0))
    found = structure.mind(x)[0, 0, :, 4:-4, 4:-4].numpy()
    np.testing.assert_allclose(found, expected / expected.max(axis=0), rtol=1e-6)


@each
@pytest.mark.parametrize("size", [(7, 6), (5, 4, 5)])
def test_gradients_are_finite_differences(name: str, size: tuple[int, ...]) -> None:
    scan, x = blobs(0, size), blobs(1, size).requires_grad_()
    mask = blobs(2, size) > -0.3
    assert torch.autograd.gradcheck(lambda y: EVERY[name](y, scan, mask), x, atol=1e-6)


@each
def test_nothing_outside_the_mask_counts(name: str) -> None:
    """Filters reach over its edge: what is far away is what must not count."""
    scan, x = blobs(0, (40, 20)), blobs(1, (40, 20))
    mask = torch.zeros_like(scan, dtype=torch.bool)
    mask[:, :, :16] = True
    other = torch.cat([x[:, :, :28], blobs(3, (12, 20))], dim=2)
    found, again = EVERY[name](x, scan, mask), EVERY[name](other, scan, mask)
    # MIND's bounds of the variance are the image's, so that they move a little.
    assert float(found) == pytest.approx(float(again), rel=1e-9)
    assert float(found) != pytest.approx(float(EVERY[name](x, scan)), rel=1e-3)


@each
def test_a_batch_is_the_mean_of_its_images_and_an_empty_mask_costs_nothing(name: str) -> None:
    scan, x = blobs(0, images=3), blobs(1, images=3)
    mask = blobs(2, images=3) > 0
    mask[2] = False
    apart = [EVERY[name](x[i : i + 1], scan[i : i + 1], mask[i : i + 1]) for i in range(3)]
    assert float(apart[2]) == 0
    torch.testing.assert_close(EVERY[name](x, scan, mask), torch.stack(apart).mean())


@each
def test_flat_images_have_no_gradient_that_is_not_finite(name: str) -> None:
    scan = blobs(0).float()
    for x in (torch.full_like(scan, -1), -1 + 1e-6 * blobs(1).float(), scan.clone()):
        for target in (scan, torch.full_like(scan, 0.3)):
            y = x.clone().requires_grad_()
            value = EVERY[name](y, target)
            value.backward()
            assert value.isfinite()
            assert y.grad is not None
            assert y.grad.isfinite().all()


@each
def test_half_precision_is_compared_in_fp32(name: str) -> None:
    scan, x = blobs(0).bfloat16(), blobs(1).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = EVERY[name](x, scan)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, EVERY[name](x.float(), scan.float()))
