from __future__ import annotations

import numpy as np
import pytest

from medstyle_gan.data.slices import display_image, from_slices, slice_aspect, to_slices


@pytest.mark.parametrize(
    ("plane", "shape"),
    [("axial", (5, 1, 3, 4)), ("coronal", (4, 1, 3, 5)), ("sagittal", (3, 1, 4, 5))],
)
def test_slices_have_the_planes_axes_and_come_back(plane: str, shape: tuple[int, ...]) -> None:
    volume = np.arange(60.0).reshape(1, 3, 4, 5)
    slices = to_slices(volume, plane)
    assert slices.shape == shape
    assert np.shares_memory(slices, volume)
    np.testing.assert_array_equal(from_slices(slices, plane), volume)


def test_second_axial_slice_is_the_second_z() -> None:
    volume = np.random.default_rng(0).random((1, 3, 4, 5))
    np.testing.assert_array_equal(to_slices(volume, "axial")[1], volume[..., 1])


def test_anterior_is_shown_on_top_and_right_on_the_right() -> None:
    image = np.zeros((1, 6, 8))
    image[0, 5, 7] = 1  # rightmost, foremost
    shown = display_image(image)
    assert shown.shape == (8, 6)
    assert shown[0, 5] == 1


def test_colour_is_shown_with_channels_last() -> None:
    image = np.random.default_rng(0).random((3, 6, 8))
    assert display_image(image).shape == (8, 6, 3)
    np.testing.assert_array_equal(display_image(image)[..., 1], display_image(image[1:2]))


def test_aspect_is_height_over_width_of_a_pixel() -> None:
    assert slice_aspect((1.0, 2.0, 6.0), "axial") == 2
    assert slice_aspect((1.0, 2.0, 6.0), "coronal") == 6
    assert slice_aspect((1.0, 2.0, 6.0), "sagittal") == 3
