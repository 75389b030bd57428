"""A held-out pair on one grid: its scan, its truth, and every estimate of the truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from nibabel.orientations import apply_orientation, io_orientation
from numpy.typing import NDArray

from medstyle_gan.config import Config
from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.data.preprocessing import Prepared, prepare_volume
from medstyle_gan.data.resampling import ras_grid, resample, working_grid
from medstyle_gan.errors import UserError
from medstyle_gan.evaluation.chapter import TRANSLATION
from medstyle_gan.evaluation.pairs import Pair, empty_mask, refuse_colour
from medstyle_gan.evaluation.references import Reference
from medstyle_gan.inference import Translator
from medstyle_gan.volumes import Volume, read_volume

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]
GridName = Literal["network", "native"]
GRIDS: tuple[GridName, ...] = ("network", "native")


@dataclass(frozen=True)
class Comparison:
    """One pair on one grid; all arrays (X, Y, Z), axes R, A, S, intensities in [-1, 1].

    Attributes:
        subject: The pair's name.
        grid: `network` is the working spacing, slices or windows as the network sees them;
            `native` the scan's own voxels, as a user gets them.
        scan: By its own intensity scale.
        truth: The true style volume, by its own intensity scale.
        mask: bool, voxels that count.
        mask_given: Whether the mask is the pair's; else it is the scan's foreground.
        spacing: Voxel size (mm).
        candidates: Name → estimate of the truth: `translation`, by the style collection's
            intensity scale (what the network gives), and the references.
    """

    subject: str
    grid: GridName
    scan: Array
    truth: Array
    mask: Mask
    mask_given: bool
    spacing: tuple[float, float, float]
    candidates: dict[str, Array] = field(default_factory=dict)


def compare_pairs(
    translator: Translator,
    pairs: Sequence[Pair],
    config: Config,
    references: Mapping[str, Reference] | None = None,
    grids: Sequence[GridName] = GRIDS,
) -> Iterator[Comparison]:
    """Translates each pair's scan and lays the references beside the translation.

    Args:
        translator: The trained model.
        pairs: What to score on.
        config: Its `data` says how volumes become [-1, 1] and the working spacing.
        references: By name, as `fit_references` gives them.
        grids: Where to compare.

    Yields:
        One comparison for each pair and grid.

    Raises:
        UserError: A file is unusable, a mask is empty or the style is in colour.
    """
    refuse_colour(translator.channels["style"])
    for pair in pairs:
        scan, truth = read_volume(pair.scan), read_volume(pair.style)
        mask = read_volume(pair.mask, allow_constant=True) if pair.mask else None
        for grid in grids:
            data = config.data if grid == "network" else _at_native_spacing(config.data)
            prepared = prepare_volume(scan, data, "scan")
            inside = prepared.foreground if mask is None else prepare_mask(mask, data)
            if not inside.any():
                raise UserError(empty_mask(pair.mask))
            unit = prepared.array[0]
            translate = _translate_prepared if grid == "network" else _translate_volume
            candidates = {TRANSLATION: translate(translator, scan, prepared)}
            for name, reference in (references or {}).items():
                candidates[name] = reference(unit, prepared.foreground)
            yield Comparison(
                subject=pair.subject,
                grid=grid,
                scan=unit,
                truth=prepare_volume(truth, data, "style").array[0],
                mask=inside,
                mask_given=mask is not None,
                spacing=prepared.spacing,
                candidates=candidates,
            )


def _at_native_spacing(data: DataConfig) -> DataConfig:
    return data.model_copy(update={"spacing": (None, None, None)})


def prepare_mask(mask: Volume, data: DataConfig) -> Mask:
    """Returns a mask on the working grid, bool (X, Y, Z): voxels that are at least half inside."""
    affine = mask.geometry.affine
    own = ras_grid(mask.geometry.spatial_shape, affine)
    turned = apply_orientation(np.float32(np.asarray(mask.array) > 0), io_orientation(affine))
    moved = resample(turned[None], own, working_grid(own, data.spacing))
    return np.asarray(moved[0] >= 0.5)


def _translate_prepared(translator: Translator, scan: Volume, prepared: Prepared) -> Array:
    """Returns the network's own output, with the translator's background."""
    unit: Array = translator.translate_unit(prepared, "scan_to_style")[0]
    return unit


def _translate_volume(translator: Translator, scan: Volume, prepared: Prepared) -> Array:
    """Returns the volume that a user would get, back in [-1, 1] and with axes R, A, S."""
    native = translator(scan).array
    unit = translator.scales["style"].to_unit(np.asarray(native))
    return np.ascontiguousarray(apply_orientation(unit, io_orientation(scan.geometry.affine)))
