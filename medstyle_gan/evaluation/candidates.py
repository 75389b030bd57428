"""The ways to get a style volume from a scan that an evaluation compares."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from medstyle_gan.data.foreground import foreground_mask
from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.data.intensity_map import IntensityMap
from medstyle_gan.data.preprocessing import Prepared
from medstyle_gan.evaluation.chapter import TRANSLATION, Array, Candidate, Mask
from medstyle_gan.evaluation.references import (
    REFERENCES,
    REGISTERED_MAP,
    Reference,
    StyleIntensities,
    registered_intensity_map,
)
from medstyle_gan.inference import Translator

_KEPT_BYTES = 2**28
_KEPT_MASKS = 4


class Remembering:
    """A candidate that does not compute again what it gave last; picklable.

    Args:
        candidate: the candidate.

    Attributes:
        candidate: the candidate itself, for those who time it.
    """

    def __init__(self, candidate: Candidate) -> None:
        self.candidate = candidate
        self._kept: OrderedDict[bytes, Array] = OrderedDict()

    def __call__(self, scan: Array, mask: Mask) -> Array:
        """See `Candidate`; what is returned is read-only."""
        key = _digest(scan, mask)
        if key not in self._kept:
            result = self.candidate(scan, mask)
            if result is scan or np.shares_memory(result, scan):
                result = result.copy()
            result.setflags(write=False)
            self._kept[key] = result
            while sum(a.nbytes for a in self._kept.values()) > _KEPT_BYTES and len(self._kept) > 1:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def __reduce__(self) -> tuple[type[Remembering], tuple[Candidate]]:
        return Remembering, (self.candidate,)


_masks: OrderedDict[bytes, Mask] = OrderedDict()


def found_body(scan: Array, scale: FittedScale) -> Mask:
    """The body in a scan, as `foreground_mask` finds it; the last few are remembered.

    Args:
        scan: (X, Y, Z) in [-1, 1].
        scale: the scans' typical scale, which tells Hounsfield units from others.

    Returns:
        bool (X, Y, Z), read-only.
    """
    key = _digest(scan, np.array([scale.center, scale.half_range]))
    if key not in _masks:
        mask = foreground_mask(scale.from_unit(scan))
        mask.setflags(write=False)
        _masks[key] = mask
        while len(_masks) > _KEPT_MASKS:
            _masks.popitem(last=False)
    return _masks[key]


def forget_bodies() -> None:
    """Forgets what `found_body` remembers, for those who time it."""
    _masks.clear()


def _digest(*arrays: np.ndarray) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


@dataclass(frozen=True)
class Translation:
    """The translator, as users have it: it finds the body in the scan itself.

    A mask of the user's (a brain) may be smaller than the body; what the translator gives
    outside of it is judged as well, so it takes no mask from anyone.

    Attributes:
        translator: the model.
        spacings: shape → voxel size (mm) of the scans, for translators of three planes.
    """

    translator: Translator
    spacings: Mapping[tuple[int, ...], tuple[float, float, float]] = field(default_factory=dict)

    def __call__(self, scan: Array, mask: Mask) -> Array:
        """See `Candidate`."""
        foreground = found_body(scan, self.translator.scales["scan"])
        outside = scan[~foreground]
        prepared = Prepared(
            array=np.array(scan[None], dtype=np.float32, order="C"),
            affine=np.diag([*self._spacing(scan.shape), 1.0]),
            foreground=foreground,
            scale=FittedScale(center=0.0, half_range=1.0, clip=False),
            integer=False,
            background=float(np.median(outside)) if outside.size else float(scan.min()),
        )
        translated = self.translator.translate_unit(prepared, "scan_to_style")[0]
        return np.ascontiguousarray(translated, dtype=np.float32)

    def _spacing(self, shape: tuple[int, ...]) -> tuple[float, float, float]:
        if shape in self.spacings:
            return self.spacings[shape]
        x, y, z = (size or 1.0 for size in self.translator.config.data.spacing)
        return x, y, z


@dataclass(frozen=True)
class ReferenceCandidate:
    """One of `REFERENCES`, fitted to style intensities; picklable.

    Attributes:
        name: which.
        style: what it is fitted to.
        scale: the scans' typical scale, which tells Hounsfield units from others where the
            body is looked for.
    """

    name: str
    style: StyleIntensities
    scale: FittedScale

    def __call__(self, scan: Array, mask: Mask) -> Array:
        """See `Candidate`; fitted in the body found in the scan, as the translator's is."""
        reference: Reference = REFERENCES[self.name](self.style)
        matched = reference(scan, found_body(scan, self.scale))
        return np.ascontiguousarray(matched, dtype=np.float32)


@dataclass(frozen=True)
class LearnedMap:
    """The reference that was learned from pseudo-pairs; picklable.

    Attributes:
        learned: its function of the intensity.
        scale: see `ReferenceCandidate`.
    """

    learned: IntensityMap
    scale: FittedScale

    def __call__(self, scan: Array, mask: Mask) -> Array:
        """See `Candidate`; acts in the body found in the scan."""
        return registered_intensity_map(self.learned)(scan, found_body(scan, self.scale))


def make_candidates(
    translator: Translator,
    style: StyleIntensities,
    spacings: Mapping[tuple[int, ...], tuple[float, float, float]],
    learned: IntensityMap | None = None,
) -> dict[str, Candidate]:
    """The translator and every reference, by name, the translator first.

    Args:
        translator: the model.
        style: intensities of the style collection.
        spacings: see `Translation`.
        learned: what was learned from pseudo-pairs; None leaves that reference out.
    """
    scale = translator.scales["scan"]
    references: dict[str, Candidate] = {
        name: ReferenceCandidate(name, style, scale) for name in REFERENCES
    }
    if learned is not None:
        references[REGISTERED_MAP] = LearnedMap(learned, scale)
    return {
        TRANSLATION: Remembering(Translation(translator, spacings)),
        **{name: Remembering(reference) for name, reference in references.items()},
    }
