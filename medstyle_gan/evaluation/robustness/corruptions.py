"""What can be wrong with a scan, in degrees: noise, blur, artefacts, movement, another contrast.

MONAI's transforms where it has them, with a fixed draw; the severities of a corruption are the same
realisation, stronger. All work on u = (x + 1) / 2, where air is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from monai.transforms.intensity.array import (
    AdjustContrast,
    GaussianSmooth,
    GibbsNoise,
    KSpaceSpikeNoise,
    RandBiasField,
    RandGaussianNoise,
)
from scipy.ndimage import rotate, zoom

from medstyle_gan.evaluation.chapter import Array, Mask

Spacing = tuple[float, float, float]
Change = Callable[[Array, Mask, Spacing, float, int], Array]
"""(u (X, Y, Z) in [0, 1], mask, spacing (mm), degree in its own unit, seed) → u, not clipped."""

SEVERITIES = (1 / 3, 2 / 3, 1.0)


@dataclass(frozen=True)
class Corruption:
    """One thing that can be wrong.

    Attributes:
        name: of the corruption.
        strongest: its degree at severity 1; that of other severities is in proportion.
        unit: of the degree.
        change: makes it.
        moves: whether anatomy moves, so that truth and mask have to move along.
        spared: (slices, degree) → bool (Z,), slices that are left to be judged; None for all.
    """

    name: str
    strongest: float
    unit: str
    change: Change
    moves: bool = False
    spared: Callable[[int, float], Mask] | None = None

    def __call__(
        self, scan: Array, mask: Mask, spacing: Spacing, severity: float, seed: int = 0
    ) -> Array:
        """The corrupted scan.

        Args:
            scan: (X, Y, Z) in [-1, 1].
            mask: the body.
            spacing: voxel size (mm).
            severity: in [0, 1]; 0 changes nothing.
            seed: of what is random.

        Returns:
            (X, Y, Z) float32, clipped to [-1, 1].

        Raises:
            ValueError: the severity is outside [0, 1].
        """
        if not 0 <= severity <= 1:
            raise ValueError(f"severity must be in [0, 1], not {severity}")
        if severity == 0:
            return scan
        unit = np.asarray((scan + 1) / 2, np.float32)
        changed = self.change(unit, mask, spacing, severity * self.strongest, seed)
        return np.ascontiguousarray((2 * changed - 1).clip(-1, 1), np.float32)

    def moved(self, array: Array, severity: float, fill: float) -> Array:
        """What lies on the scan's grid, moved as the corruption moves the scan.

        Args:
            array: (X, Y, Z), such as the truth, or a mask as 0 and 1.
            severity: as it was for the scan.
            fill: what comes in from outside.
        """
        return _turned(array, severity * self.strongest, fill) if self.moves else array


def _noise(u: Array, mask: Mask, spacing: Spacing, degree: float, seed: int) -> Array:
    # `sample_std` off: the deviation asked for is the one that is drawn with.
    add = RandGaussianNoise(prob=1.0, std=degree, sample_std=False)
    add.set_random_state(seed)
    return _array(add(torch.from_numpy(u)[None]))


def _blur(u: Array, mask: Mask, spacing: Spacing, degree: float, seed: int) -> Array:
    return _array(GaussianSmooth([degree / step for step in spacing])(torch.from_numpy(u)[None]))


def _bias_field(u: Array, mask: Mask, spacing: Spacing, degree: float, seed: int) -> Array:
    # The draw is of shape only: all degrees are multiples of one field's logarithm.
    field = RandBiasField(degree=3, coeff_range=(-1.0, 1.0), prob=1.0)
    field.set_random_state(seed)
    log_field = np.log(_array(field(torch.ones(1, *u.shape))))
    inside = log_field[mask]
    log_field = (log_field - inside.mean()) / max(float(inside.std()), 1e-6)
    return np.asarray(u * np.exp(degree * log_field), np.float32)


def _gain(u: Array, mask: Mask, spacing: Spacing, degree: float, seed: int) -> Array:
    return u * (1 + degree)


def _gamma(u: Array, mask: Mask, spacing: Spacing, degree: float, seed: int) -> Array:
    return _array(AdjustContrast(1 + degree)(torch.from_numpy(u)[None]))


def _ghosting(u: Array, mask: Mask, spacing: Spacing, degree: float, seed: int) -> Array:
    """Periodic motion: every fourth line of k-space is weaker, which repeats the head faintly."""
    lines = np.fft.fft(u, axis=1)
    weight = np.ones(u.shape[1], np.float32)
    weight[2::4] = 1 - degree  # the line of the mean, line 0, stays
    return np.asarray(np.abs(np.fft.ifft(lines * weight[None, :, None], axis=1)), np.float32)


def _gibbs(u: Array, mask: Mask, spacing: Spacing, degree: float, seed: int) -> Array:
    return _array(GibbsNoise(alpha=degree)(torch.from_numpy(u)[None]))


def _spike(u: Array, mask: Mask, spacing: Spacing, degree: float, seed: int) -> Array:
    """A wave across the volume, of this amplitude."""
    where = tuple(int(n * share) for n, share in zip(u.shape, (0.56, 0.60, 0.5), strict=True))
    log_magnitude = math.log(degree * u.size)
    return _array(KSpaceSpikeNoise(where, log_magnitude)(torch.from_numpy(u)[None]))


def _coarse(u: Array, mask: Mask, spacing: Spacing, degree: float, seed: int) -> Array:
    """Sampled at larger voxels and back; axes that are as coarse already stay."""
    wanted = (1 + degree) * min(spacing)
    size = [max(2, round(n * min(1.0, s / wanted))) for n, s in zip(u.shape, spacing, strict=True)]
    for target in (size, list(u.shape)):
        factors = [a / b for a, b in zip(target, u.shape, strict=True)]
        u = zoom(u, factors, order=1, grid_mode=True, mode="nearest")
    return np.asarray(u, np.float32)


def _rotation(u: Array, mask: Mask, spacing: Spacing, degree: float, seed: int) -> Array:
    return _turned(u, degree, 0.0)


def _missing(u: Array, mask: Mask, spacing: Spacing, degree: float, seed: int) -> Array:
    changed = u.copy()
    changed[..., ~_kept_slices(u.shape[2], degree)] = 0
    return changed


def _other_contrast(u: Array, mask: Mask, spacing: Spacing, degree: float, seed: int) -> Array:
    """Towards the body's negative, in its own range."""
    low, high = np.percentile(u[mask], (1, 99))
    return np.where(mask, (1 - degree) * u + degree * (low + high - u), u).astype(np.float32)


def _kept_slices(count: int, share: float) -> Mask:
    """Slices that are there where a share is missing, evenly."""
    lost = np.floor(np.arange(1, count + 1) * share) > np.floor(np.arange(count) * share)
    return ~lost


def _turned(array: Array, degrees: float, fill: float) -> Array:
    """Turned about the axis from foot to head, in the plane of the axial slices' pixels."""
    return np.asarray(
        rotate(array, degrees, axes=(0, 1), reshape=False, order=1, mode="constant", cval=fill),
        np.float32,
    )


def _array(image: object) -> Array:
    """A transform's (1, X, Y, Z) output without its channel."""
    return np.asarray(image, np.float32)[0]


_ALL = (
    Corruption("noise", 0.15, "of the range, standard deviation", _noise),
    Corruption("blur", 3.0, "mm, standard deviation", _blur),
    Corruption("bias_field", 0.3, "standard deviation of the logarithm", _bias_field),
    Corruption("gain", 0.6, "more signal", _gain),
    Corruption("gamma", 1.5, "added to the exponent 1", _gamma),
    Corruption("ghosting", 0.8, "of every fourth line lost", _ghosting),
    Corruption("gibbs", 0.7, "of the k-space radius cut", _gibbs),
    Corruption("spike", 0.2, "of the range, amplitude", _spike),
    Corruption("coarse", 3.0, "times the finest voxel added", _coarse),
    Corruption("rotation", 20.0, "degrees", _rotation, moves=True),
    Corruption("missing_slices", 0.34, "of the slices", _missing, spared=_kept_slices),
    Corruption("other_contrast", 1.0, "towards the negative", _other_contrast),
)
CORRUPTIONS: Mapping[str, Corruption] = {corruption.name: corruption for corruption in _ALL}
