"""Visual effect: realism and style of translations, unpaired, and a blinded reader study."""

from __future__ import annotations

from medstyle_gan.evaluation.visual_effect.body_slices import body_positions, body_slices
from medstyle_gan.evaluation.visual_effect.chapter import feature_networks, run
from medstyle_gan.evaluation.visual_effect.distances import (
    frechet_distance,
    gram_distance,
    intensity_distance,
    kernel_distance,
)
from medstyle_gan.evaluation.visual_effect.features import (
    FeatureNetwork,
    InceptionFeatures,
    VGGLooks,
)
from medstyle_gan.evaluation.visual_effect.looks import Look, Looker, RealLooks
from medstyle_gan.evaluation.visual_effect.spectrum import (
    lattice_peaks,
    power_spectrum,
    radial_spectrum,
    slice_spectrum,
    spectrum_distance,
)

__all__ = [
    "FeatureNetwork",
    "InceptionFeatures",
    "Look",
    "Looker",
    "RealLooks",
    "VGGLooks",
    "body_positions",
    "body_slices",
    "feature_networks",
    "frechet_distance",
    "gram_distance",
    "intensity_distance",
    "kernel_distance",
    "lattice_peaks",
    "power_spectrum",
    "radial_spectrum",
    "run",
    "slice_spectrum",
    "spectrum_distance",
]
