from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.data.augmentation import SampleTransform, with_gamma

DataSettings = Callable[..., DataConfig]
STILL = {"flip": 0, "affine": 0}


def _transform(data_settings: DataSettings, **data: Any) -> SampleTransform:
    return SampleTransform(data_settings(**{"augmentation": STILL, **data}))


def _state(seed: int = 0) -> np.random.RandomState:
    return np.random.RandomState(seed)


def _image(height: int, width: int, channels: int = 1) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.uniform(-1, 1, size=(channels, height, width)).astype(np.float32)


@pytest.mark.parametrize("size", [(64, 52), (32, 32), (20, 40)])
@pytest.mark.parametrize("body", [(10, 12), (19, 25), (15, 16)])
def test_a_volumes_sample_has_the_body_in_its_middle_and_background_beyond_the_slice(
    size: tuple[int, int], body: tuple[int, int], data_settings: DataSettings
) -> None:
    image = _image(*size)
    image[0, body[0], body[1]] = 5
    sample = _transform(data_settings).plain(image, body, -0.7).numpy()[0]
    row, column = np.argwhere(sample == 5)[0]
    assert abs(row - 15.5) <= 0.5
    assert abs(column - 15.5) <= 0.5
    rows, columns = np.arange(32) + body[0] - row, np.arange(32) + body[1] - column
    inside = np.ix_((rows >= 0) & (rows < size[0]), (columns >= 0) & (columns < size[1]))
    beyond = np.ones((32, 32), bool)
    beyond[inside] = False
    np.testing.assert_allclose(sample[beyond], -0.7)
    kept_rows = rows[(rows >= 0) & (rows < size[0])]
    kept_columns = columns[(columns >= 0) & (columns < size[1])]
    np.testing.assert_array_equal(sample[inside], image[0][np.ix_(kept_rows, kept_columns)])


@pytest.mark.parametrize(
    ("center", "corner"), [((31.5, 25.5), (16, 10)), ((0.0, 51.0), (0, 20)), ((40.0, 3.0), (24, 0))]
)
def test_a_larger_picture_is_cropped_inside_itself(
    center: tuple[float, float], corner: tuple[int, int], data_settings: DataSettings
) -> None:
    image = _image(64, 52)
    sample = _transform(data_settings).plain(image, center, None)
    row, column = corner
    np.testing.assert_array_equal(sample, image[:, row : row + 32, column : column + 32])


def test_without_probabilities_augmented_is_plain(data_settings: DataSettings) -> None:
    transform = _transform(data_settings)
    image = _image(30, 50)
    plain = transform.plain(image, (14.5, 20.0), -1.0)
    augmented = transform.augmented(image, (14.5, 20.0), -1.0, _state())
    np.testing.assert_array_equal(plain, augmented)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_the_flip_is_left_right_and_never_sagittal(plane: str, data_settings: DataSettings) -> None:
    transform = _transform(data_settings, plane=plane, augmentation={"flip": 1, "affine": 0})
    image = _image(32, 32)
    sample = transform.augmented(image, (15.5, 15.5), -1.0, _state())
    expected = image if plane == "sagittal" else image[:, ::-1]
    np.testing.assert_array_equal(sample, expected)


def test_flips_are_as_frequent_as_asked(data_settings: DataSettings) -> None:
    transform = _transform(data_settings, augmentation={"flip": 0.25, "affine": 0})
    image = _image(32, 32)
    state = _state()
    flipped = sum(
        bool(transform.augmented(image, (15.5, 15.5), -1.0, state)[0, 0, 0] != image[0, 0, 0])
        for _ in range(400)
    )
    assert 70 < flipped < 130  # 100 ± 3.5 standard deviations


def test_an_affine_of_no_size_changes_nothing(data_settings: DataSettings) -> None:
    nothing = {"flip": 0, "affine": 1, "rotation": 0, "scaling": 0, "translation": 0}
    image = _image(50, 30)
    transform = _transform(data_settings, augmentation=nothing)
    sample = transform.augmented(image, (24.5, 14.5), -0.9, _state())
    expected = transform.plain(image, (24.5, 14.5), -0.9)
    np.testing.assert_allclose(sample, expected, atol=1e-5)


def test_a_shift_brings_in_the_slices_own_content(data_settings: DataSettings) -> None:
    only_shift = {"flip": 0, "affine": 1, "rotation": 0, "scaling": 0, "translation": 0.2}
    transform = _transform(data_settings, augmentation=only_shift)
    ramp = np.tile(np.linspace(-1, 1, 64, dtype=np.float32)[:, None], (1, 64))[None]
    for seed in range(10):
        sample = transform.augmented(ramp, (31.5, 31.5), -1.0, _state(seed)).numpy()[0, :, 16]
        np.testing.assert_allclose(np.diff(sample), 2 / 63, atol=1e-4)
        moved = abs(sample[0] - ramp[0, 16, 0]) * 63 / 2
        assert moved <= 0.2 * 32 + 1e-3


def test_scaling_acts_along_both_axes_and_reaches_its_largest(data_settings: DataSettings) -> None:
    """Two channels hold coordinates: steps from pixel to pixel tell the scale of each axis."""
    only_scaling = {"flip": 0, "affine": 1, "rotation": 0, "scaling": 0.2, "translation": 0}
    transform = _transform(data_settings, augmentation=only_scaling)
    stack = np.stack(np.indices((64, 64), dtype=np.float32))
    samples = [
        transform.augmented(stack, (31.5, 31.5), 0.0, _state(seed)).numpy() for seed in range(60)
    ]
    scales = np.array([[s[0, 17, 16] - s[0, 16, 16], s[1, 16, 17] - s[1, 16, 16]] for s in samples])

    # Of 60 uniform draws the outermost lie within a tenth of the bounds but once in 500 times.
    np.testing.assert_allclose(scales.min(axis=0), 0.8, atol=0.04)
    np.testing.assert_allclose(scales.max(axis=0), 1.2, atol=0.04)
    assert (np.abs(scales - 1) <= 0.2 + 1e-4).all()
    assert abs(np.corrcoef(scales.T)[0, 1]) < 0.5  # each axis has its own


def test_outside_the_slice_an_affine_finds_background(data_settings: DataSettings) -> None:
    wild = {"flip": 0, "affine": 1, "rotation": 45, "scaling": 0.5, "translation": 0.5}
    transform = _transform(data_settings, augmentation=wild)
    inside = np.full((1, 20, 20), -0.25, dtype=np.float32)
    for seed in range(20):
        sample = transform.augmented(inside, (9.5, 9.5), -0.6, _state(seed)).numpy()
        assert sample.min() >= -0.6 - 1e-5
        assert sample.max() <= -0.25 + 1e-5
        assert np.isclose(sample, -0.6, atol=1e-5).any()


def test_pictures_are_reflected_not_padded(data_settings: DataSettings) -> None:
    wild = {"flip": 0, "affine": 1, "rotation": 45, "scaling": 0.5, "translation": 0.5}
    transform = _transform(data_settings, augmentation=wild)
    white = np.ones((3, 32, 40), dtype=np.float32)
    for seed in range(20):
        sample = transform.augmented(white, (15.5, 19.5), None, _state(seed))
        assert sample.shape == (3, 32, 32)
        np.testing.assert_allclose(sample, 1.0, atol=1e-5)


@pytest.mark.parametrize("rotation", [0.0, 8.0, 90.0, 180.0])
def test_the_largest_affine_stays_inside_its_margin(
    rotation: float, data_settings: DataSettings
) -> None:
    """A huge constant slice shows any reach beyond what was cut out of it."""
    settings = {"flip": 0, "affine": 1, "rotation": rotation, "scaling": 0.3, "translation": 0.2}
    transform = _transform(data_settings, augmentation=settings, sample_size=(32, 48))
    bright = np.full((1, 200, 200), 0.5, dtype=np.float32)
    for seed in range(30):
        sample = transform.augmented(bright, (99.5, 99.5), -1.0, _state(seed))
        np.testing.assert_allclose(sample, 0.5, atol=1e-4)


def test_random_crops_reach_every_place(data_settings: DataSettings) -> None:
    augmentation = {**STILL, "crop": "random"}
    transform = _transform(data_settings, augmentation=augmentation)
    rows = np.tile(np.arange(36, dtype=np.float32)[:, None], (1, 36))[None]
    state = _state()
    tops = {
        float(transform.augmented(rows, (17.5, 17.5), -1.0, state)[0, 0, 0]) for _ in range(100)
    }
    assert tops == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("seed", range(6))
def test_deforming_is_scipys_linear_interpolation(seed: int, data_settings: DataSettings) -> None:
    """Two channels hold coordinates, so that they tell where each pixel came from."""
    strong = {"flip": 0.5, "affine": 1, "rotation": 30, "scaling": 0.3, "translation": 0.1}
    transform = _transform(data_settings, augmentation=strong)
    rows, columns = np.indices((90, 90), dtype=np.float32)
    noise = _image(90, 90)[0]
    stack = np.stack([rows, columns, noise])
    sample = transform.augmented(stack, (44.5, 44.5), 0.0, _state(seed)).numpy()
    expected = map_coordinates(noise, sample[:2], order=1)
    np.testing.assert_allclose(sample[2], expected, atol=1e-3)
    axes = np.stack([np.diff(sample[:2], axis=1)[:, 0, 0], np.diff(sample[:2], axis=2)[:, 0, 0]])
    lengths = np.linalg.norm(axes, axis=1)
    assert (np.abs(lengths - 1) <= 0.3 + 1e-3).all()


def test_monais_metadata_setting_is_left_as_it_was(data_settings: DataSettings) -> None:
    from monai.data import get_track_meta

    before = get_track_meta()
    _transform(data_settings).plain(_image(32, 32), (15.5, 15.5), -1.0)
    assert get_track_meta() == before


def test_gamma_keeps_black_white_and_what_lies_beyond() -> None:
    sample = torch.tensor([-1.5, -1.0, -0.5, 0.0, 1.0, 1.25])
    changed = with_gamma(sample, 2.0)
    # In [0, 1]: 0.25 and 0.5 become 0.0625 and 0.25.
    assert torch.allclose(changed, torch.tensor([-1.5, -1.0, -0.875, -0.5, 1.0, 1.25]))
    assert torch.equal(with_gamma(sample, 1.0), sample)
