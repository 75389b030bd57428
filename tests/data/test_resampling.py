from __future__ import annotations

from collections.abc import Callable

import nibabel as nib
import numpy as np
import pytest
from monai.data import MetaTensor
from monai.transforms import Spacing
from nibabel.processing import resample_from_to
from scipy.ndimage import gaussian_filter, map_coordinates

from medstyle_gan.data import resampling
from medstyle_gan.data.resampling import Grid, from_ras, ras_grid, resample, working_grid

AffineOf = Callable[..., np.ndarray]


def _noise(shape: tuple[int, int, int], channels: int = 1) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(channels, *shape)).astype(np.float32)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SLA", "ILP", "ASR"])
def test_ras_grid_is_nibabels_canonical_one_and_from_ras_undoes_it(
    codes: str, affine_of: AffineOf
) -> None:
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
    )
    ras = nib.Nifti1Image(_noise((5, 6, 7))[0], affine_of(degrees=12))
    image = ras.as_reoriented(turn)
    canonical = nib.as_closest_canonical(image)
    grid = ras_grid(image.shape, image.affine)
    assert grid.shape == canonical.shape
    np.testing.assert_allclose(grid.affine, canonical.affine, atol=1e-9)
    back = from_ras(canonical.get_fdata(), image.affine)
    np.testing.assert_array_equal(back, image.get_fdata())


@pytest.mark.parametrize("spacing", [(3.0, 2.5, 3.0), (1.5, 1.5, None), (None, 4.0, 1.0)])
def test_working_grid_is_monais_where_axes_are_at_right_angles(
    spacing: tuple[float | None, ...], affine_of: AffineOf
) -> None:
    grid = Grid((20, 21, 9), affine_of(degrees=17))
    volume = MetaTensor(_noise(grid.shape), affine=grid.affine)
    moved = Spacing([s or -1 for s in spacing], align_corners=True)(volume)
    working = working_grid(grid, spacing)
    assert working.shape == tuple(moved.shape[1:])
    np.testing.assert_allclose(working.affine, moved.affine.numpy(), atol=1e-6)


def test_spacing_that_is_nearly_right_is_left_alone(affine_of: AffineOf) -> None:
    grid = Grid((10, 10, 10), affine_of((0.99951, 1.00049, 3.0)))
    assert working_grid(grid, (1.0, 1.0, None)).same_as(grid)


@pytest.mark.parametrize("spacing", [(3.1, 2.0, 4.0), (0.9, 1.3, 1.7), (5.0, 1.0, None)])
@pytest.mark.parametrize("slab_voxels", [8_000_000, 300])
def test_resampling_is_scipys_linear_interpolation_of_the_smoothed_volume(
    spacing: tuple[float | None, ...],
    slab_voxels: int,
    affine_of: AffineOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resampling, "SLAB_VOXELS", slab_voxels)
    source = Grid((20, 22, 18), affine_of(degrees=25))
    target = working_grid(source, spacing)
    volume = _noise(source.shape, channels=2)
    step = np.array([(s or o) / o for s, o in zip(spacing, (2.0, 2.0, 3.0), strict=True)])
    sigma = np.sqrt(np.maximum(step**2 - 1, 0)) / (2 * np.sqrt(2 * np.log(2)))
    where = np.meshgrid(
        *[np.arange(n) * s for n, s in zip(target.shape, step, strict=True)], indexing="ij"
    )
    expected = [
        map_coordinates(gaussian_filter(c, sigma, mode="nearest"), where, order=1, mode="nearest")
        for c in volume
    ]
    np.testing.assert_allclose(resample(volume, source, target), expected, atol=2e-4)


def test_refining_is_nibabels_linear_resampling(affine_of: AffineOf) -> None:
    coarse = Grid((9, 10, 8), affine_of(degrees=10))
    fine = working_grid(coarse, (1.1, 0.7, 2.0))
    volume = _noise(coarse.shape)
    expected = resample_from_to(
        nib.Nifti1Image(volume[0], coarse.affine), (fine.shape, fine.affine), order=1
    ).get_fdata()
    inner = tuple(slice(1, n - 2) for n in fine.shape)  # nibabel fills outside with 0
    np.testing.assert_allclose(resample(volume, coarse, fine)[0][inner], expected[inner], atol=2e-4)


def test_coarsening_noise_does_not_alias() -> None:
    source = Grid((64, 64, 4), np.eye(4))
    coarse = working_grid(source, (4.0, 4.0, None))
    assert resample(_noise(source.shape), source, coarse).std() < 0.35


def test_same_grid_gives_the_same_array(affine_of: AffineOf) -> None:
    grid = Grid((5, 6, 7), affine_of(degrees=8))
    volume = _noise(grid.shape)
    same = resample(volume, grid, working_grid(grid, (None, None, None)))
    np.testing.assert_array_equal(same, volume)


def test_one_slice_stays_one_slice(affine_of: AffineOf) -> None:
    source = Grid((12, 12, 1), affine_of())
    target = working_grid(source, (4.0, 4.0, 1.0))
    flat = np.full((1, *source.shape), 7.0, dtype=np.float32)
    moved = resample(flat, source, target)
    assert moved.shape == (1, 7, 7, 1) or moved.shape == (1, 6, 6, 1)
    np.testing.assert_allclose(moved, 7.0)
