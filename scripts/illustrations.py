"""Illustrations of our own making, as styles: hatching, woodcut and watercolour, from a seed.

Nobody's pictures: smooth random shapes drawn in ink or paint. The same arguments give the same
picture.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_gradient_magnitude

_INK, _PAPER = 0.08, 0.96
# Paper lets these through: ochre, rust, teal, indigo, olive.
_PIGMENTS = np.array(
    [
        [0.93, 0.72, 0.32],
        [0.78, 0.35, 0.22],
        [0.25, 0.58, 0.60],
        [0.20, 0.27, 0.50],
        [0.52, 0.55, 0.27],
    ]
)


def hatching(size: int = 384, seed: int = 0) -> np.ndarray:
    """Pen and ink: the darker a place, the more families of strokes cross it.

    Returns:
        `(size, size)` uint8.
    """
    rng = np.random.default_rng(seed)
    tone = _tones(rng, size, 40)
    y, x = np.mgrid[:size, :size].astype(float)
    wobble = 2.5 * _tones(rng, size, 24)
    picture = np.full((size, size), _PAPER)
    for angle, least in ((45, 0.30), (-45, 0.50), (10, 0.66), (80, 0.80)):
        turned = np.radians(angle)
        across = x * np.sin(turned) + y * np.cos(turned) + wobble
        # Strokes of 2 to 3 pixels every 7, that grow thinner where their family ends.
        width = np.clip((tone - least) * 6, 0, 1) * 1.5
        distance = np.abs((across / 7) % 1 - 0.5) * 7
        ink = np.clip(width - distance + 0.5, 0, 1) * (width > 0.05)
        picture = picture * (1 - ink) + _INK * ink
    edges = np.abs(np.diff(np.digitize(tone, [0.3, 0.66]), axis=0, prepend=0)) > 0
    picture[edges] = _INK
    return _bytes(gaussian_filter(picture, 0.6))


def woodcut(size: int = 384, seed: int = 0) -> np.ndarray:
    """Lines that follow the shapes, thick in the dark and thin in the light.

    Returns:
        `(size, size)` uint8.
    """
    rng = np.random.default_rng(seed)
    tone = _tones(rng, size, 45)
    y = np.mgrid[:size, :size][0].astype(float)
    phase = (y + 28 * _tones(rng, size, 60)) / 8
    wave = 0.5 + 0.5 * np.cos(2 * np.pi * phase)
    cut = 1 / (1 + np.exp(-14 * (wave - tone)))
    return _bytes(gaussian_filter(_INK + (_PAPER - _INK) * cut, 0.6))


def watercolour(size: int = 384, seed: int = 0) -> np.ndarray:
    """Washes of pigment on paper, darker at their edges, with grain.

    Returns:
        `(size, size, 3)` uint8.
    """
    rng = np.random.default_rng(seed)
    picture = np.full((size, size, 3), 0.97)
    for pigment in _PIGMENTS[rng.permutation(len(_PIGMENTS))]:
        field = _tones(rng, size, 36) + 0.05 * _tones(rng, size, 5)
        wash = 1 / (1 + np.exp(-60 * (field - 0.62)))
        rim = gaussian_gradient_magnitude(wash, 1.5)
        amount = wash * (0.55 + 0.35 * _tones(rng, size, 20)) + 0.5 * rim / rim.max()
        picture *= 1 - np.clip(amount, 0, 1)[..., None] * (1 - pigment)
    grain = gaussian_filter(rng.normal(size=(size, size)), 0.8)
    return _bytes(picture * (1 + 0.035 * grain / grain.std())[..., None])


def _tones(rng: np.random.Generator, size: int, scale: float) -> np.ndarray:
    """A smooth random field, evenly spread over [0, 1]."""
    field = gaussian_filter(rng.normal(size=(size, size)), scale * size / 384, mode="wrap")
    ranks = field.ravel().argsort().argsort().reshape(field.shape)
    return ranks / (field.size - 1)


def _bytes(picture: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
