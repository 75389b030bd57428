"""Whether the cycle hides the scan in the translation.

Chu et al. 2017, "CycleGAN, a master of steganography": a translation that is not faithful can still
be turned back into the scan, where the generators hide what they need in a pattern too faint to
see. Faint noise wipes it out. A reconstruction that breaks down under noise that nobody sees
therefore was read from a hidden pattern, and the error of the cycle says nothing about the
translation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medstyle_gan.evaluation.chapter import Array, Candidate, Mask

NOISE: tuple[float, ...] = (0.0, 0.005, 0.01, 0.02, 0.04, 0.08)
"""Standard deviations of the noise ([-1, 1] units); 0.02 is 1 % of the range."""

JUDGED = 0.02
"""The noise that `collapse` is told at: about what a good magnetic resonance image has."""


@dataclass(frozen=True)
class CycleUnderNoise:
    """How a reconstruction fares when noise is added to the translation.

    Attributes:
        noise: standard deviations ([-1, 1] units).
        error: root mean square error of the reconstruction in the mask at each.
        contrast: standard deviation of the scan in the mask: the error of an image that knows
            nothing but the mean.
    """

    noise: tuple[float, ...]
    error: tuple[float, ...]
    contrast: float

    @property
    def collapse(self) -> float:
        """Share of what the reconstruction knew of the scan that noise of `JUDGED` takes away.

        0 where it takes nothing, 1 where the reconstruction is no better than one grey; an
        invertible map of intensities loses a few hundredths.
        """
        plain, noisy = self._at(0.0), self._at(JUDGED)
        known = self.contrast - plain
        return float((noisy - plain) / known) if known > 0 else float("nan")

    @property
    def gain(self) -> float:
        """How much louder the noise of `JUDGED` comes out of the way back than it went in.

        About 1 for the inverse of a map that keeps the contrast.
        """
        plain, noisy = self._at(0.0), self._at(JUDGED)
        return float(np.sqrt(max(0.0, noisy**2 - plain**2)) / JUDGED)

    def _at(self, noise: float) -> float:
        return self.error[self.noise.index(noise)]


def cycle_under_noise(
    scan: Array,
    mask: Mask,
    forward: Candidate,
    backward: Candidate,
    seed: int = 0,
    noise: Sequence[float] = NOISE,
) -> CycleUnderNoise:
    """Reconstructs a scan from its translation with more and more noise on it.

    Args:
        scan: (X, Y, Z) in [-1, 1].
        mask: bool (X, Y, Z), the body: where noise is added and errors count.
        forward: scan to style.
        backward: style to scan.
        seed: of the noise, which is the same pattern at every level.
        noise: its levels; 0 and `JUDGED` are among them.

    Raises:
        ValueError: the mask is empty, or a level is missing.
    """
    if not mask.any():
        raise ValueError("the mask is empty")
    if not {0.0, JUDGED} <= set(noise):
        raise ValueError(f"noise levels must hold 0 and {JUDGED}")
    translation = np.asarray(forward(scan, mask), np.float32)
    pattern = np.random.default_rng(seed).standard_normal(scan.shape, dtype=np.float32) * mask
    errors = []
    for level in noise:
        noisy = translation + np.float32(level) * pattern
        difference = (backward(noisy, mask) - scan)[mask].astype(np.float64)
        errors.append(float(np.sqrt(np.square(difference).mean())))
    return CycleUnderNoise(tuple(noise), tuple(errors), float(scan[mask].std(dtype=np.float64)))
