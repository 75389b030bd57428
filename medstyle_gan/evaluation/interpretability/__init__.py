"""Interpretability: what a translator does, what it looks at, and what it hides."""

from __future__ import annotations

from medstyle_gan.evaluation.interpretability.attribution import (
    input_gradient,
    occlusion,
    reach,
)
from medstyle_gan.evaluation.interpretability.chapter import run
from medstyle_gan.evaluation.interpretability.intensity_map import (
    IntensityMap,
    intensity_map,
    unexplained,
)
from medstyle_gan.evaluation.interpretability.region import (
    NetworkInput,
    Region,
    most_unexplained,
    network_input,
    region_at,
)
from medstyle_gan.evaluation.interpretability.regularizers import LossParts, loss_parts
from medstyle_gan.evaluation.interpretability.steganography import (
    CycleUnderNoise,
    cycle_under_noise,
)
from medstyle_gan.evaluation.interpretability.uncertainty import (
    Calibration,
    calibration,
    flip_spread,
)

__all__ = [
    "Calibration",
    "CycleUnderNoise",
    "IntensityMap",
    "LossParts",
    "NetworkInput",
    "Region",
    "calibration",
    "cycle_under_noise",
    "flip_spread",
    "input_gradient",
    "intensity_map",
    "loss_parts",
    "most_unexplained",
    "network_input",
    "occlusion",
    "reach",
    "region_at",
    "run",
    "unexplained",
]
