"""What a scanner makes of an anatomy: contrasts, bias field, blur, noise and artefacts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from scipy.ndimage import gaussian_filter

from medstyle_gan.data.phantom.anatomy import Anatomy, Tissue
from medstyle_gan.data.phantom.fields import Field, smooth_field

PhantomKind = Literal["mr_t1_to_t2", "cbct_to_ct", "mr_scanner", "mr_contrast"]
PHANTOM_KINDS: tuple[PhantomKind, ...] = get_args(PhantomKind)


@dataclass(frozen=True)
class MRContrast:
    """One MR sequence on one scanner.

    Attributes:
        signal: Mean signal of each `Tissue` (arbitrary units; 1 is bright).
        texture: Change of signal with the subject's own texture (share of the signal).
        bias: Standard deviation of the logarithm of the receive field.
        blur: Standard deviation of the in-plane point spread (pixels).
        noise: Standard deviation of each channel's noise (units of the signal).
        gain: Lowest and highest native value of signal 1, drawn anew for every volume.
    """

    signal: tuple[float, ...]
    texture: float
    bias: float
    blur: float
    noise: float
    gain: tuple[float, float]


# Signals:  air   scalp skull marrow csf grey  white deep  lesion
_T1 = MRContrast(
    (0.00, 0.95, 0.10, 0.45, 0.20, 0.52, 0.80, 0.60, 0.46),
    texture=-0.04,
    bias=0.10,
    blur=0.45,
    noise=0.020,
    gain=(250, 900),
)
_T2 = MRContrast(
    (0.00, 0.45, 0.06, 0.25, 1.00, 0.55, 0.34, 0.46, 0.78),
    texture=0.05,  # water content lowers T1's signal and raises T2's
    bias=0.08,
    blur=0.40,
    noise=0.020,
    gain=(500, 1800),
)
_OTHER_SCANNER = replace(
    _T1,
    signal=(0.00, 0.80, 0.06, 0.40, 0.12, 0.50, 0.90, 0.62, 0.42),
    bias=0.04,
    blur=0.30,
    noise=0.012,
    gain=(1500, 1700),
)
_OLD_SCANNER = replace(_T1, bias=0.18, blur=0.95, noise=0.025, gain=(250, 450))
# Little weight on T1, as of a low field: the brain's tissues lie close together, in more noise.
_LOW_CONTRAST = replace(
    _T1,
    signal=(0.00, 0.80, 0.10, 0.45, 0.36, 0.56, 0.68, 0.61, 0.53),
    blur=0.60,
    noise=0.040,
    gain=(300, 600),
)

# Hounsfield units of each `Tissue`; water is 0 and air -1000 by definition.
_HOUNSFIELD = (-1000.0, -60.0, 1100.0, 450.0, 8.0, 40.0, 30.0, 38.0, 24.0)
CT_PADDING = -1024.0


def acquire_scan(rng: np.random.Generator, anatomy: Anatomy, kind: PhantomKind) -> Field:
    """Acquires the subject as a scan of this kind; native units, (X, Y, Z) float32."""
    if kind == "cbct_to_ct":
        return _acquire_cbct(rng, anatomy)
    contrasts = {"mr_t1_to_t2": _T1, "mr_scanner": _OLD_SCANNER, "mr_contrast": _LOW_CONTRAST}
    return _acquire_mr(rng, anatomy, contrasts[kind])


def acquire_style(rng: np.random.Generator, anatomy: Anatomy, kind: PhantomKind) -> Field:
    """Acquires the subject in the style of this kind; native units, (X, Y, Z) float32."""
    if kind == "cbct_to_ct":
        return _acquire_ct(rng, anatomy)
    return _acquire_mr(rng, anatomy, _T2 if kind == "mr_t1_to_t2" else _OTHER_SCANNER)


def _acquire_mr(rng: np.random.Generator, anatomy: Anatomy, contrast: MRContrast) -> Field:
    shape, spacing = anatomy.texture.shape, anatomy.spacing
    signal = np.array(contrast.signal) * rng.normal(1, 0.025, len(Tissue))
    image = np.tensordot(signal.astype(np.float32), anatomy.fractions, axes=1)
    own_texture = 0.02 * smooth_field(rng, shape, spacing, 5.0)
    image *= 1 + contrast.texture * anatomy.texture + own_texture
    image *= np.exp(contrast.bias * smooth_field(rng, shape, spacing, 90.0))
    image = gaussian_filter(image, (contrast.blur, contrast.blur, 0))
    noise = contrast.noise * rng.standard_normal((2, *shape), dtype=np.float32)
    magnitude = np.hypot(image + noise[0], noise[1])  # Rician, as of a magnitude image
    return (magnitude * rng.uniform(*contrast.gain)).astype(np.float32)


def _attenuation(rng: np.random.Generator, anatomy: Anatomy) -> Field:
    """Returns the true Hounsfield units, (X, Y, Z)."""
    values = np.array(_HOUNSFIELD) + rng.normal(0, 2, len(Tissue))
    values[Tissue.AIR] = -1000
    values[Tissue.SKULL] *= rng.normal(1, 0.05)
    image = np.tensordot(values.astype(np.float32), anatomy.fractions, axes=1)
    tissue = 1 - anatomy.fractions[Tissue.AIR]
    bone = anatomy.fractions[Tissue.SKULL] + anatomy.fractions[Tissue.MARROW]
    return image + tissue * (4 + 60 * bone) * anatomy.texture


def _acquire_ct(rng: np.random.Generator, anatomy: Anatomy) -> Field:
    image = gaussian_filter(_attenuation(rng, anatomy), (0.5, 0.5, 0))
    image += 8 * rng.standard_normal(image.shape, dtype=np.float32)
    return _padded(image)


def _acquire_cbct(rng: np.random.Generator, anatomy: Anatomy) -> Field:
    """Cone-beam CT: scatter cupping, streaks from bone, wrong HU, noise and blur."""
    image = gaussian_filter(_attenuation(rng, anatomy), (1.0, 1.0, 0.5))
    tissue = gaussian_filter(1 - anatomy.fractions[Tissue.AIR], (1.0, 1.0, 0))
    radius = np.hypot(anatomy.points[0] / 72, anatomy.points[1] / 90)
    cupping = rng.uniform(180, 280) * np.clip(1 - radius**2, 0, 1) * tissue
    image = image * rng.uniform(0.82, 0.90) - cupping + rng.uniform(20, 60) * tissue
    image += 25 * _streaks(rng, anatomy)
    image += 35 * rng.standard_normal(image.shape, dtype=np.float32)
    return _padded(image)


def _streaks(rng: np.random.Generator, anatomy: Anatomy) -> Field:
    """Returns straight lines through each slice, a few directions a slice, unit amplitude."""
    x, y = anatomy.points[0], anatomy.points[1]
    streaks = np.zeros(x.shape, np.float32)
    for k in range(x.shape[2]):
        for angle in rng.uniform(0, np.pi, 6):
            across = np.cos(angle) * x[..., k] + np.sin(angle) * y[..., k]
            offset, width = rng.uniform(-60, 60), rng.uniform(1.5, 4)
            streaks[..., k] += rng.choice((-1, 1)) * np.exp(-(((across - offset) / width) ** 2))
    return streaks


def _padded(image: Field) -> Field:
    """Clips to the scanner's range and blanks what lies outside its round field of view."""
    x, y = (np.linspace(-1, 1, n) for n in image.shape[:2])
    outside = np.hypot(x[:, None], y[None, :]) > 1
    image = np.clip(image, CT_PADDING, 3071)
    image[outside] = CT_PADDING
    return image.astype(np.float32)
