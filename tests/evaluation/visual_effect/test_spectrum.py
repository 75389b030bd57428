from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import periodogram

from medstyle_gan.evaluation.visual_effect.spectrum import (
    FREQUENCIES,
    LATTICE,
    lattice_peaks,
    power_spectrum,
    radial_spectrum,
    slice_spectrum,
    spectrum_distance,
)


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.5, (24, 48, 40)).astype(np.float32)


def everywhere(images: np.ndarray) -> np.ndarray:
    return np.ones(images.shape, bool)


def test_white_noise_has_its_variance_at_each_frequency(noise):
    power = radial_spectrum(power_spectrum(noise, everywhere(noise)))
    # Below, the mean that is taken out leaves its mark.
    assert power[3:] == pytest.approx(0.25, rel=0.15)


def test_noise_in_part_of_the_slice_counts_as_much(noise):
    body = everywhere(noise)
    body[:, :12] = False
    inside = np.where(body, noise, 7.0)
    power = radial_spectrum(power_spectrum(inside, body))
    assert power[3:] == pytest.approx(0.25, rel=0.2)


def test_noise_has_no_peaks(noise):
    assert np.abs(lattice_peaks(power_spectrum(noise, everywhere(noise)))).max() < 2.5


@pytest.mark.parametrize("place", range(len(LATTICE)), ids=[str(point) for point in LATTICE])
def test_each_pattern_of_upsampling_is_seen_at_its_own_frequency(noise, place: int):
    vertical, horizontal = LATTICE[place]
    rows, columns = np.indices(noise.shape[1:])
    wave = 0.2 * np.cos(2 * np.pi * (vertical * rows + horizontal * columns) + 0.4)
    peaks = lattice_peaks(power_spectrum(noise + wave, everywhere(noise)))
    assert peaks[place] > 8
    assert np.delete(peaks, place).max() < 3


def test_slices_too_small_for_peaks_are_refused():
    with pytest.raises(ValueError, match="16"):
        lattice_peaks(np.ones((15, 40)))


@pytest.mark.parametrize(("plane", "axis"), [("axial", 2), ("coronal", 1), ("sagittal", 0)])
def test_slice_spectrum_is_scipys_periodogram(plane: str, axis: int):
    array = np.random.default_rng(1).normal(size=(20, 20, 20))
    ours = slice_spectrum(array, everywhere(array), plane)
    frequencies, power = periodogram(
        array, window="hann", detrend="constant", axis=axis, return_onesided=False
    )
    kept = frequencies >= 0
    each = np.moveaxis(power, axis, 0)[kept].reshape(kept.sum(), -1).mean(axis=1)
    expected = np.interp(FREQUENCIES, np.r_[frequencies[kept], 0.5], np.r_[each, each[-1]])
    inner = FREQUENCIES <= 0.45  # SciPy counts one half among the negative frequencies
    assert ours[inner] == pytest.approx(expected[inner], rel=1e-6)


def test_slice_spectrum_follows_the_body():
    array = np.random.default_rng(1).normal(size=(12, 12, 24))
    mask = np.zeros(array.shape, bool)
    mask[3:9, 3:9, 4:20] = True
    spoiled = np.where(mask, array, 1e3)
    assert np.array_equal(
        slice_spectrum(array, mask, "axial"), slice_spectrum(spoiled, mask, "axial")
    )


def test_slice_spectrum_of_few_slices_is_refused():
    mask = np.zeros((6, 6, 12), bool)
    mask[..., :7] = True
    with pytest.raises(ValueError, match="8"):
        slice_spectrum(np.zeros(mask.shape), mask, "axial")


def test_what_nobody_could_see_is_no_pattern_and_no_difference(noise):
    rows, columns = np.indices(noise.shape[1:])
    grey = np.full(noise.shape, 0.2, np.float32)
    faint = grey + 0.0005 * ((rows + columns) % 2)
    assert lattice_peaks(power_spectrum(faint, everywhere(faint))).max() < 1.5
    spectra = [radial_spectrum(power_spectrum(x, everywhere(x))) for x in (grey, faint)]
    assert spectrum_distance(*spectra) < 0.5


@pytest.mark.parametrize("factor", [0.01, 1.0, 10.0])
def test_spectrum_distance_of_a_gain_is_the_gain_in_decibel(factor: float):
    power = np.linspace(1, 5, 25)
    assert spectrum_distance(factor * power, power) == pytest.approx(
        abs(10 * np.log10(factor)), rel=1e-3
    )
