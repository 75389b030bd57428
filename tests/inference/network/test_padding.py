from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from medstyle_gan.inference.network.padding import pad_images


@pytest.mark.parametrize("size", [(1, 1), (3, 8), (8, 8), (9, 31), (40, 2)])
@pytest.mark.parametrize("sample", [(1, 1), (16, 16), (7, 33)])
@pytest.mark.parametrize("divisor", [1, 4, 16])
def test_padded_size_fits_and_crop_gives_the_slices_back(
    size: tuple[int, int], sample: tuple[int, int], divisor: int
) -> None:
    slices = np.random.default_rng(0).uniform(-1, 1, (2, 3, *size)).astype(np.float32)
    padded, (rows, columns) = pad_images(slices, sample, divisor, -1.0)
    for padded_size, own, wanted in zip(padded.shape[2:], size, sample, strict=True):
        assert padded_size % divisor == 0
        assert padded_size >= max(own, wanted, 2 * divisor)
        assert padded_size < max(own, wanted, 2 * divisor) + divisor
    np.testing.assert_array_equal(padded[..., rows, columns], slices)


def test_border_up_to_the_sample_is_background() -> None:
    padded, (rows, columns) = pad_images(np.ones((1, 1, 4, 6), np.float32), (8, 8), 4, -0.75)
    assert padded.shape == (1, 1, 8, 8)
    padded[..., rows, columns] = -0.75
    assert np.all(padded == -0.75)


def test_border_up_to_the_divisor_is_a_reflection_like_torchs() -> None:
    slices = np.random.default_rng(0).uniform(-1, 1, (2, 1, 13, 18)).astype(np.float32)
    padded, _ = pad_images(slices, (4, 4), 8, -1.0)
    expected = F.pad(torch.from_numpy(slices), (3, 3, 1, 2), mode="reflect")
    np.testing.assert_array_equal(padded, expected.numpy())


@pytest.mark.parametrize("size", [(1, 2), (3, 8), (8, 8), (9, 31), (40, 2), (33, 16)])
@pytest.mark.parametrize("sample", [(1, 1), (16, 16), (7, 33)])
@pytest.mark.parametrize("divisor", [1, 4, 16])
def test_an_offset_moves_the_slices_on_the_generators_grid(
    size: tuple[int, int], sample: tuple[int, int], divisor: int
) -> None:
    slices = np.random.default_rng(0).uniform(-1, 1, (2, 3, *size)).astype(np.float32)
    plain, before = pad_images(slices, sample, divisor, -1.0)
    padded, after = pad_images(slices, sample, divisor, -1.0, (1, 1))
    np.testing.assert_array_equal(padded[(..., *after)], slices)
    for axis, (one, other) in enumerate(zip(before, after, strict=True), start=2):
        assert (other.start - one.start - 1) % divisor == 0
        assert padded.shape[axis] % divisor == 0
        room = plain.shape[axis] - one.stop
        assert padded.shape[axis] == plain.shape[axis] + (0 if room else divisor)
