"""Whether a volume is of the kind that a model was trained on.

A model holds the mean and the spread of its collections' fingerprints. How far a volume's lies
from the mean, in spreads, is compared with Student's t, whose tails are long where few
volumes are known: the same threshold serves every collection, and one of four subjects does not
refuse a fifth.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from medstyle_gan.data.fingerprint import fingerprint_volume
from medstyle_gan.data.preprocessing import Prepared
from medstyle_gan.data.words import Domain
from medstyle_gan.errors import UserError
from medstyle_gan.volumes import Geometry

# Chance that a volume of the collection's own kind is said to be out of scope.
FALSE_ALARM = 1e-3
# What differs between volumes of one kind whatever the collection: the least spread that is
# believed, in the units of `fingerprint_volume`, by the part before the dot.
_TOLERANCE = {
    "intensity": 0.10,
    "depth": 0.10,
    "contrast": 0.06,
    "edges": 0.15,
    "scale": 0.40,
    "spacing": 0.10,
    "view": 0.10,
    "body": 0.10,
    "oblique": 10.0,
}
# The tolerance counts as much as this many subjects that had just that spread.
_PRIOR = 20
_WORDS = {
    "intensity": "the intensities inside the body",
    "depth": "the intensities from the body's rim to its middle",
    "contrast": "which tissues are bright and which dark",
    "edges": "the sharpness of edges",
    "scale": "the range of native intensities",
    "spacing": "the voxel size",
    "view": "the field of view",
    "body": "the extent of the body",
    "oblique": "the angle of the voxel axes",
}
_SHOWN = 3  # warnings in one message
_MILLIMETRES = ("spacing", "view", "body")


@dataclass(frozen=True)
class ScopeReport:
    """What the check of one volume found.

    Attributes:
        domain: the collection that it was compared with.
        checked: false where the model holds nothing to compare with.
        distances: part of the fingerprint → distance from the collection, in its spreads.
        limit: the distance from which on a part is out of scope.
        warnings: one line for each part that is, or why nothing could be checked.
    """

    domain: Domain
    checked: bool
    distances: dict[str, float]
    limit: float
    warnings: tuple[str, ...]

    @property
    def in_scope(self) -> bool:
        """Whether it was checked and nothing is out of scope."""
        return self.checked and not self.warnings


def check_scope(
    prepared: Prepared, geometry: Geometry, domain: Domain, known: Mapping[str, Any]
) -> ScopeReport:
    """Compare a volume with a training collection.

    Args:
        prepared: the volume as the network sees it.
        geometry: its own.
        domain: the collection.
        known: the collection's part of a bundle's fingerprint.
    """
    appearance, subjects = known.get("appearance"), int(known.get("subjects", 0))
    if not appearance or subjects < 1:
        reason = (
            f"the {domain} collection is pictures"
            if known.get("orientations") == ["picture"]
            else "the model does not record what its training data look like; one that is "
            "trained by this version does"
        )
        warning = f"scope: cannot be checked: {reason}"
        return ScopeReport(domain, False, {}, math.inf, (warning,))
    own = fingerprint_volume(prepared, geometry.shape, geometry.spacing, geometry.orientation)
    parts: dict[str, dict[str, float]] = {}
    for name, (mean, spread) in appearance.items():
        kind = name.partition(".")[0]
        # One axis that is wrong is wrong, however right the others are.
        part = name if kind in _MILLIMETRES else kind
        parts.setdefault(part, {})[name] = _distance(
            own[name] - mean, spread, _TOLERANCE[kind], subjects
        )
    # However the numbers of a part depend on each other, their root mean square exceeds a
    # limit hardly more often than one number alone does.
    distances = {
        part: float(np.sqrt(np.mean(np.square(list(numbers.values())))))
        for part, numbers in parts.items()
    }
    limit = _limit(subjects, len(parts))
    warnings = tuple(
        _warning(max(parts[part], key=parts[part].__getitem__), own, appearance, domain)
        for part, distance in distances.items()
        if distance > limit
    )
    return ScopeReport(domain, True, distances, limit, warnings)


def refuse_out_of_scope(report: ScopeReport | None) -> None:
    """Refuse a volume that is not, or not known to be, of the model's kind.

    Raises:
        UserError: naming what is out of scope.
    """
    if report is None:
        raise UserError("--strict: this model has nothing to check the scope by; leave it out")
    if not report.in_scope:
        shown = "; ".join(report.warnings[:_SHOWN])
        more = len(report.warnings) - _SHOWN
        raise UserError(f"--strict: {shown}" + (f"; and {more} more" if more > 0 else ""))


def _distance(difference: float, spread: float, tolerance: float, subjects: int) -> float:
    """In standard deviations of one more volume, of which the collection and we believe."""
    known = (_PRIOR * tolerance**2 + (subjects - 1) * spread**2) / (_PRIOR + subjects - 1)
    variance = max(known, tolerance**2) * (1 + 1 / subjects)
    return abs(difference) / math.sqrt(variance)


def _limit(subjects: int, parts: int) -> float:
    """Student's t that chance exceeds, either way, in `FALSE_ALARM` of volumes over all parts."""
    freedom = _PRIOR + subjects - 1
    return float(special.stdtrit(freedom, 1 - FALSE_ALARM / (2 * parts)))


def _warning(
    name: str,
    own: Mapping[str, float],
    appearance: Mapping[str, Any],
    domain: Domain,
) -> str:
    part, _, axis = name.partition(".")
    value, usual = own[name], appearance[name][0]
    if part in _MILLIMETRES:
        detail = f" towards {axis} is {math.exp(value):.4g} mm, there about {math.exp(usual):.4g}"
    elif name == "scale.half_range":
        detail = f" is {2 * math.exp(value):.4g} wide, there about {2 * math.exp(usual):.4g}"
    elif part == "oblique":
        detail = f" is {value:.3g} degrees, there about {usual:.3g}"
    else:
        detail = f" ({name} {value:.3g}, there about {usual:.3g})"
    return f"out of scope: {_WORDS[part]}{detail} differs from the {domain} collection's"
