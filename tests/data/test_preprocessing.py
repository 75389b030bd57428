from __future__ import annotations

from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.data.preprocessing import (
    display_image,
    prepare_picture,
    prepare_volume,
    restore_array,
    to_slices,
)
from medstyle_gan.errors import UserError
from medstyle_gan.volumes import Geometry, Picture, Volume

AffineOf = Callable[..., np.ndarray]
DataSettings = Callable[..., DataConfig]
ORIENTATIONS = [
    "".join(pair[side] for pair, side in zip(order, sides, strict=True))
    for order in permutations(["RL", "AP", "SI"])
    for sides in product((0, 1), repeat=3)
]
UNCLIPPED = {"scan": {"name": "fixed", "lower": 0, "upper": 500, "clip": False}}


def _volume(array: np.ndarray, affine: np.ndarray) -> Volume:
    shape = array.shape[:3]
    integer = np.issubdtype(array.dtype, np.integer)
    return Volume(array, Geometry.from_affine(shape, affine), array.dtype, integer, None)


def _oriented(array: np.ndarray, affine: np.ndarray, codes: str) -> nib.Nifti1Image:
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
    )
    return nib.Nifti1Image(array, affine).as_reoriented(turn)


def _world(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """A ramp that is linear in millimetres, whatever the grid: (X, Y, Z)."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    return (index @ affine[:3, :3].T + affine[:3, 3]) @ np.array([1.0, -2.0, 1.5]) + 100


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_every_orientation_becomes_ras_and_comes_back_exactly(
    codes: str, head: Callable[..., np.ndarray], affine_of: AffineOf, data_settings: DataSettings
) -> None:
    image = _oriented(head(0, (12, 13, 7)), affine_of(degrees=5), codes)
    volume = _volume(np.asanyarray(image.dataobj), image.affine)
    prepared = prepare_volume(volume, data_settings(intensity=UNCLIPPED), "scan")
    canonical = nib.as_closest_canonical(image)
    np.testing.assert_array_equal(
        prepared.array[0], prepared.scale.to_unit(canonical.get_fdata(dtype=np.float32))
    )
    np.testing.assert_allclose(prepared.affine, canonical.affine, atol=1e-9)
    back = restore_array(prepared.array, prepared, volume.geometry)
    np.testing.assert_array_equal(back, prepared.scale.to_unit(volume.array))


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SAR", "PIL"])
@pytest.mark.parametrize("degrees", [0.0, 20.0])
@pytest.mark.parametrize("spacing", [(1.5, 1.5, None), (3.0, 2.7, 2.0), (2.5, None, 4.1)])
def test_a_ramp_in_space_stays_the_same_ramp_there_and_back(
    codes: str,
    degrees: float,
    spacing: tuple[float | None, ...],
    affine_of: AffineOf,
    data_settings: DataSettings,
) -> None:
    affine = affine_of((2.0, 2.2, 3.5), degrees)
    image = _oriented(_world((24, 26, 20), affine), affine, codes)
    volume = _volume(image.get_fdata(), image.affine)
    config = data_settings(spacing=spacing, intensity=UNCLIPPED)
    prepared = prepare_volume(volume, config, "scan")
    for got, want in zip(prepared.spacing, spacing, strict=True):
        assert want is None or got == pytest.approx(want)
    there = prepared.scale.from_unit(prepared.array)[0]
    inner = tuple(slice(4, -4) for _ in range(3))  # smoothing bends a ramp at its ends
    expected = _world(there.shape, prepared.affine)
    np.testing.assert_allclose(there[inner], expected[inner], atol=0.02)
    back = restore_array(there[None], prepared, volume.geometry)
    assert back.shape == volume.array.shape
    inner = tuple(slice(6, -6) for _ in range(3))
    np.testing.assert_allclose(back[inner], volume.array[inner], atol=0.05)


def test_a_sheared_affine_keeps_its_directions(data_settings: DataSettings) -> None:
    tilted = np.diag([2.0, 2.0, 4.0, 1.0])
    tilted[1, 2] = 1.2  # a tilted CT gantry
    ramp = _world((20, 20, 12), tilted)
    config = data_settings(spacing=(3.0, 3.0, 3.0), intensity=UNCLIPPED)
    volume = Volume(ramp, Geometry((20, 20, 12), tilted), ramp.dtype, False, None)
    prepared = prepare_volume(volume, config, "scan")
    there = prepared.scale.from_unit(prepared.array)[0]
    inner = tuple(slice(3, -3) for _ in range(3))
    np.testing.assert_allclose(there[inner], _world(there.shape, prepared.affine)[inner], atol=0.02)


def test_border_voxels_are_repeated_not_darkened(
    affine_of: AffineOf, data_settings: DataSettings
) -> None:
    bright = np.full((11, 10, 9), 500.0)
    bright[5, 5, 5] = 0  # not constant
    volume = _volume(bright, affine_of())
    config = data_settings(spacing=(2.9, 3.1, 4.7), intensity=UNCLIPPED)
    prepared = prepare_volume(volume, config, "scan")
    back = restore_array(prepared.array, prepared, volume.geometry)
    np.testing.assert_allclose(back[:2], 1.0, atol=1e-3)
    np.testing.assert_allclose(back[:, :, -1], 1.0, atol=1e-3)


def test_background_is_the_median_outside_the_body(
    head: Callable[..., np.ndarray], affine_of: AffineOf, data_settings: DataSettings
) -> None:
    array = np.where(head(1) > 50, head(1), -7).astype(np.int16)
    prepared = prepare_volume(_volume(array, affine_of()), data_settings(), "scan")
    assert prepared.background == -7
    assert prepared.integer
    assert prepared.array.dtype == np.float32
    assert prepared.array.min() >= -1
    assert prepared.array.max() <= 1


def test_each_domain_has_its_own_scale(
    head: Callable[..., np.ndarray], affine_of: AffineOf, data_settings: DataSettings
) -> None:
    config = data_settings(
        intensity={"scan": {"name": "window", "level": 1, "width": 4}, "style": {"name": "zscore"}}
    )
    volume = _volume(head(0), affine_of())
    assert prepare_volume(volume, config, "scan").scale.half_range == 2
    assert prepare_volume(volume, config, "style").scale.half_range != 2


def test_colour_volumes_keep_their_channels_there_and_back(
    affine_of: AffineOf, data_settings: DataSettings
) -> None:
    colour = np.random.default_rng(0).integers(0, 256, size=(9, 8, 7, 3), dtype=np.uint8)
    affine = affine_of() @ np.diag([-1.0, 1.0, -1.0, 1.0])
    volume = _volume(colour, affine)
    prepared = prepare_volume(volume, data_settings(intensity=UNCLIPPED), "scan")
    assert prepared.array.shape == (3, 9, 8, 7)
    back = restore_array(prepared.scale.from_unit(prepared.array), prepared, volume.geometry)
    np.testing.assert_allclose(back, colour, atol=1e-3)


def test_a_volume_that_no_scale_fits_is_named(
    affine_of: AffineOf, data_settings: DataSettings
) -> None:
    dots = np.zeros((30, 30, 30), dtype=np.int16)
    dots[15, 15, 15] = 9
    volume = Volume(
        dots, Geometry.from_affine(dots.shape, affine_of()), dots.dtype, True, Path("dots.nii")
    )
    with pytest.raises(UserError, match=r"dots\.nii: .*percentile"):
        prepare_volume(volume, data_settings(), "scan")


def test_inputs_are_not_changed(
    head: Callable[..., np.ndarray], affine_of: AffineOf, data_settings: DataSettings
) -> None:
    array = head(2).astype(np.float32)[::-1]  # torch takes no negative strides
    array.setflags(write=False)
    before = array.copy()
    prepare_volume(_volume(array, affine_of()), data_settings(), "scan")
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_stands_upright_and_unmirrored(
    channels: int, data_settings: DataSettings
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size=(40, 50, channels), dtype=np.uint8)
    config = data_settings(sample_size=(50, 40))
    prepared = prepare_picture(Picture(pixels, 255.0, Path("a.png")), config)
    assert prepared.array.shape == (channels, 50, 40, 1)
    shown = display_image(to_slices(prepared.array, "axial")[0]).reshape(40, 50, channels)
    np.testing.assert_allclose((shown + 1) * 127.5, pixels, atol=1e-4)
    assert prepared.foreground.all()


@pytest.mark.parametrize(
    ("size", "expected"), [((100, 60), (32, 53)), ((20, 90), (144, 32)), ((32, 32), (32, 32))]
)
def test_a_picture_covers_the_sample_and_keeps_its_proportions(
    size: tuple[int, int], expected: tuple[int, int], data_settings: DataSettings
) -> None:
    white = np.full((*size, 1), 255, dtype=np.uint8)
    prepared = prepare_picture(Picture(white, 255.0, Path("a.png")), data_settings())
    assert prepared.array.shape[1:3] == expected
    np.testing.assert_allclose(prepared.array, 1.0, atol=1e-6)  # no dark edges


def test_a_16_bit_picture_is_scaled_by_its_depth(data_settings: DataSettings) -> None:
    grey = np.full((32, 32, 1), 65535, dtype=np.uint16)
    prepared = prepare_picture(Picture(grey, 65535.0, Path("a.png")), data_settings())
    np.testing.assert_allclose(prepared.array, 1.0)


def test_a_shrunken_checkerboard_becomes_grey(data_settings: DataSettings) -> None:
    board = (np.indices((128, 128)).sum(axis=0) % 2 * 255).astype(np.uint8)[..., None]
    prepared = prepare_picture(Picture(board, 255.0, Path("a.png")), data_settings())
    assert np.abs(prepared.array[:, 2:-2, 2:-2]).max() < 0.05
