"""Power spectra of slices and along them: blur, flicker and checkerboards.

Transposed convolutions of stride 2 leave a pattern of period 2, and two of them one of period 4
too (Odena et al. 2016, "Deconvolution and checkerboard artifacts"). In the spectrum these are
peaks at multiples of a quarter of the sampling frequency, where no anatomy has any.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal.windows import hann

from medstyle_gan.data.slices import stacked_axis
from medstyle_gan.evaluation.chapter import Array, Mask

Spectrum = NDArray[np.float64]

FREQUENCIES = np.linspace(0.02, 0.5, 25)
"""Where spectra are told: cycles per pixel, or per slice."""

LATTICE: tuple[tuple[float, float], ...] = (
    *((0.5, 0.0), (0.0, 0.5), (0.5, 0.5)),
    *((0.25, 0.0), (0.0, 0.25), (0.25, 0.25), (0.25, -0.25), (0.25, 0.5), (0.5, 0.25)),
)
"""Frequencies (cycles per pixel) at which upsampling by 2 and by 4 leaves its pattern."""

# Power of the noise of rounding to 256 greys: less of it makes no image look otherwise.
_ROUNDING = (2 / 255) ** 2 / 12
# Power of white noise of a hundredth: around a peak that is to be seen there is no less.
_FAINT = 1e-4
_RING = (3, 6)  # bins around a peak that it is compared with
_LEAST_SIDE = 16  # pixels: with fewer the rings reach from one peak to the next
_LEAST_SLICES = 8


def power_spectrum(images: Array, inside: Mask) -> Spectrum:
    """Power of each spatial frequency, the mean over slices.

    Args:
        images: (n, h, w).
        inside: bool (n, h, w), the body; the mean of each image in it is taken out.

    Returns:
        (h, w) power in the order of `numpy.fft.fft2`, for one pixel of the body: white noise of
        variance 1 has 1 at each frequency.
    """
    window = np.outer(hann(images.shape[1], sym=False), hann(images.shape[2], sym=False))
    total = np.zeros(images.shape[1:])
    for image, body in zip(images.astype(np.float64), inside, strict=True):
        seen = window * body
        weight = np.square(seen).sum()
        if weight > 0:
            centred = (image - image[body].mean()) * seen
            total += np.abs(np.fft.fft2(centred)) ** 2 / weight
    return total / len(images)


def radial_spectrum(power: Spectrum) -> Spectrum:
    """A spectrum by frequency alone, whatever the direction.

    Args:
        power: (h, w), see `power_spectrum`.

    Returns:
        (25,) mean power of rings around `FREQUENCIES`.
    """
    height, width = power.shape
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :])
    step = max(1 / min(height, width), FREQUENCIES[1] - FREQUENCIES[0])
    order = np.argsort(radius, axis=None)
    sorted_radius, cumulated = radius.ravel()[order], np.cumsum(np.r_[0, power.ravel()[order]])
    first = np.searchsorted(sorted_radius, FREQUENCIES - step / 2)
    last = np.maximum(np.searchsorted(sorted_radius, FREQUENCIES + step / 2), first + 1)
    last = np.minimum(last, len(sorted_radius))
    return (cumulated[last] - cumulated[first]) / (last - first)


def lattice_peaks(power: Spectrum) -> Spectrum:
    """How far the spectrum stands out at each frequency of `LATTICE` over its neighbours (dB).

    Args:
        power: (h, w), both at least 16.

    Returns:
        (9,) ten times the logarithm of the mean power at the frequency over the median power
        around it; about 0 in an image without a pattern.

    Raises:
        ValueError: the slices are smaller than 16 pixels.
    """
    if min(power.shape) < _LEAST_SIDE:
        raise ValueError(f"slices of {power.shape} pixels are too small: {_LEAST_SIDE} are needed")
    height, width = power.shape
    near, far = _RING
    offsets = np.arange(-far, far + 1)
    distance = np.maximum(np.abs(offsets)[:, None], np.abs(offsets)[None, :])
    peaks = []
    for vertical, horizontal in LATTICE:
        rows = (round(vertical * height) + offsets) % height
        columns = (round(horizontal * width) + offsets) % width
        around = power[np.ix_(rows, columns)] + _FAINT
        peaks.append(around[distance <= 1].mean() / np.median(around[distance >= near]))
    return 10 * np.log10(peaks)


def slice_spectrum(array: Array, mask: Mask, plane: str) -> Spectrum:
    """Power of each frequency along the slices, the mean over lines through the body.

    Args:
        array: (X, Y, Z).
        mask: bool (X, Y, Z).
        plane: the plane of the slices.

    Returns:
        (25,) power at `FREQUENCIES` (cycles per slice); white noise of variance 1 has 1 at each.

    Raises:
        ValueError: fewer than 8 slices have any line of voxels in common.
    """
    axis = stacked_axis(plane)
    body = np.moveaxis(mask, axis, 0)
    run = _longest_shared_run(body)
    if run is None:
        raise ValueError(f"fewer than {_LEAST_SLICES} slices share a line of voxels of the body")
    lines = np.moveaxis(array, axis, 0)[run][:, body[run].all(axis=0)].astype(np.float64)
    window = hann(len(lines), sym=False)[:, None]
    transformed = np.fft.rfft((lines - lines.mean(axis=0)) * window, axis=0)
    power = (np.abs(transformed) ** 2).mean(axis=1) / np.square(window).sum()
    return np.interp(FREQUENCIES, np.fft.rfftfreq(len(lines)), power)


def _longest_shared_run(body: Mask) -> slice | None:
    """The longest run of slices around the fullest that still shares a tenth of its voxels."""
    areas = body.sum(axis=(1, 2))
    first = last = int(areas.argmax())
    shared = body[first]
    least = max(1, 0.1 * shared.sum())
    while True:
        wider = [
            (place, together)
            for place in (first - 1, last + 1)
            if 0 <= place < len(body) and (together := shared & body[place]).sum() >= least
        ]
        if not wider:
            break
        place, shared = max(wider, key=lambda found: found[1].sum())
        first, last = min(first, place), max(last, place)
    return slice(first, last + 1) if last - first + 1 >= _LEAST_SLICES else None


def spectrum_distance(spectrum: Spectrum, real: Spectrum) -> float:
    """How far two spectra are from each other, over all frequencies alike (dB).

    Args:
        spectrum: (n,) power.
        real: (n,) power.

    Returns:
        The root mean square of the differences of levels, 10 log₁₀: noise or sharpness that is
        missing, or too much, counts as much as what the eye sees first. Below the rounding of 256
        greys levels are alike.
    """
    levels = 10 * np.log10((spectrum + _ROUNDING) / (real + _ROUNDING))
    return float(np.sqrt(np.square(levels).mean()))
