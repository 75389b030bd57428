from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medstyle_gan.data.foreground import foreground_mask
from medstyle_gan.data.phantom import PHANTOM_KINDS

SHAPE = (64, 60, 20)


def _ellipsoid(shape: tuple[int, int, int], radii: tuple[float, float, float]) -> np.ndarray:
    grids = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    return sum((g / r) ** 2 for g, r in zip(grids, radii, strict=True)) < 1


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.fixture
def body() -> np.ndarray:
    return _ellipsoid(SHAPE, (0.6, 0.7, 0.8))


@pytest.mark.parametrize("noise", [0.0, 15.0, 40.0])
@pytest.mark.parametrize("bright_share", [0.05, 0.4])
def test_mr_body_with_bright_fat_dark_bone_and_noise(
    body: np.ndarray, noise: float, bright_share: float
) -> None:
    rng = np.random.default_rng(0)
    values = np.where(body, 250.0, 0.0)
    values[_ellipsoid(SHAPE, (0.6 * bright_share, 0.7 * bright_share, 0.5))] = 1500
    values[30:34, 28:32, 8:12] = 0  # an air cavity inside
    field = 1 + 0.4 * np.linspace(-1, 1, SHAPE[0])[:, None, None]
    real, imaginary = rng.normal(0, noise or 1e-9, size=(2, *SHAPE))
    mask = foreground_mask(np.hypot(values * field + real, imaginary))
    assert mask.dtype == bool
    assert _dice(mask, body) > 0.88
    assert mask[32, 30, 10]
    assert (body & ~mask).sum() < 0.03 * body.sum()


@pytest.mark.parametrize("padding", [None, -1024, -3024])
def test_ct_body_without_table_and_padding(body: np.ndarray, padding: int | None) -> None:
    rng = np.random.default_rng(0)
    hounsfield = np.full(SHAPE, -1000.0)
    hounsfield[body] = 40
    hounsfield[_ellipsoid(SHAPE, (0.3, 0.4, 0.6))] = -850  # lungs
    hounsfield[10:54, 3:5, :] = 120  # table
    hounsfield[body & _ellipsoid(SHAPE, (0.1, 0.1, 0.1))] = 3071  # metal
    hounsfield += rng.normal(0, 25, size=SHAPE)
    if padding is not None:
        x, y = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE[:2]], indexing="ij")
        hounsfield[x**2 + y**2 > 1] = padding
    mask = foreground_mask(hounsfield.astype(np.int16))
    assert _dice(mask, body) > 0.95
    assert not mask[:, :6].any()


@pytest.mark.parametrize("shape", [(64, 60, 1), (64, 60, 2), (9, 9, 3)])
def test_thin_volumes_have_a_body(shape: tuple[int, int, int]) -> None:
    values = np.zeros(shape, dtype=np.float32)
    inside = tuple(slice(n // 4, max(n // 4 + 1, 3 * n // 4)) for n in shape[:2])
    values[inside] = 100
    mask = foreground_mask(values)
    assert mask[inside].all()
    assert not mask.all()


def test_large_volumes_are_masked_as_their_own_coarse_copy() -> None:
    large = np.where(_ellipsoid((330, 170, 20), (0.6, 0.7, 0.8)), 300.0, 0.0)
    mask = foreground_mask(large)
    assert mask.shape == large.shape
    assert _dice(mask, large > 0) > 0.9


@pytest.mark.parametrize("kind", PHANTOM_KINDS)
def test_phantoms_have_their_own_mask(kind: str) -> None:
    phantom = pytest.importorskip("medstyle_gan.data.phantom").make_phantom(
        3, shape=(64, 64, 12), kind=kind
    )
    for contrast in (phantom.scan, phantom.style):
        assert _dice(foreground_mask(np.asarray(contrast)), phantom.mask > 0) > 0.88


@pytest.mark.parametrize("contrast", ["T1W", "T2W", "FLAIR"])
def test_real_heads_are_covered(contrast: str, shared_data: Path) -> None:
    pair = shared_data / "openms_tiny/val_pairs/patient12_s1"
    image = np.asanyarray(nib.load(pair / f"{contrast}.nii.gz").dataobj)
    head = np.asanyarray(nib.load(pair / "mask.nii.gz").dataobj) > 0
    mask = foreground_mask(image)
    assert _dice(mask, head) > 0.93
    assert (head & ~mask).sum() < 0.03 * head.sum()


def test_input_is_not_changed(head: Callable[..., np.ndarray]) -> None:
    values = head(0).astype(np.float32)
    before = values.copy()
    foreground_mask(values)
    np.testing.assert_array_equal(values, before)
