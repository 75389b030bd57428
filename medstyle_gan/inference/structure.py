"""Translations and stylised images with the structure of what they were made of.

Of a network's answer only the contrast is taken: each slice becomes the local affine map of the
scan's own slice that comes closest to the answer (guided filter, He et al. 2013; see
`methods.affine_structure`). It is fitted on the scan's own voxels, so that a translation is as
sharp as the scan, also where the network saw it reduced.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from medstyle_gan.config.inference_sections import StructureFields
from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.data.preprocessing import Prepared, ras_array, restore_array
from medstyle_gan.data.resampling import to_ras
from medstyle_gan.methods.affine_structure import gradient_correlation, interior, keep_structure
from medstyle_gan.networks import adapt_channels
from medstyle_gan.volumes import Volume
from medstyle_gan.volumes.workspace import release, slabs, slow_axis


def with_structure_of(
    content: Tensor, image: Tensor, settings: StructureFields, inside: Tensor | None = None
) -> Tensor:
    """An image as a local affine map of another, by the settings.

    The maps are fitted, and the floor is held, in the body's interior: they go on from there to
    its rim.

    Args:
        content: `(1, 1 | 3, H, W)` in [-1, 1]; of a grey image's content the luminance counts.
        image: `(1, 1 | 3, H, W)` in [-1, 1].
        settings: its window, epsilon and floor.
        inside: bool `(H, W)`, the body; None is everywhere.

    Returns:
        The shape of `image`, in [-1, 1].
    """
    guide = adapt_channels(content, 1) if image.shape[1] == 1 else content
    return keep_structure(
        guide,
        image,
        settings.guide_radius,
        settings.guide_epsilon,
        settings.structure_floor,
        None if inside is None else interior(inside),
    )


def native_with_structure(
    volume: Volume,
    unit: np.ndarray,
    prepared: Prepared,
    scale: FittedScale,
    background: float,
    settings: StructureFields,
    stacked: int,
) -> tuple[np.ndarray, float | None]:
    """Put a translation back on a volume's grid as a local affine map of that volume.

    Slice by slice; in memory is nothing of the volume's size but what `restore_array` makes, and
    where it resamples, the body.

    Args:
        volume: what was translated.
        unit: `(C, X, Y, Z)` float32, its translation in [-1, 1] on the working grid; it is
            changed.
        prepared: the volume on the working grid.
        scale: intensity scale of the translation.
        background: native value outside the body.
        settings: of the guided filter.
        stacked: axis of R, A, S along which slices are taken, 0 to 2.

    Returns:
        The translation in native units, `(X0, Y0, Z0)` or `(X0, Y0, Z0, C)` float32 as
        `restore_array` gives it, and the least correlation of a slice's gradients with the
        volume's in the body's interior, None where all slices are flat. Background stays exact;
        at a resampled body's edge it fades in.
    """
    outside = scale.to_unit(np.array([background], dtype=np.float32))
    body = prepared.zeros(1)
    for slab in slabs(unit.shape, slow_axis(unit)):
        inside = prepared.foreground[slab[1:]]
        unit[slab] = np.where(inside, unit[slab], outside)
        body[0][slab[1:]] = inside
        release(unit, body, prepared.foreground)
    restored = restore_array(unit, prepared, volume.geometry)
    weight = restore_array(body, prepared, volume.geometry)
    affine = volume.geometry.affine
    scan = np.moveaxis(ras_array(volume), 1 + stacked, 0)  # (slices, C, H, W)
    result = np.moveaxis(to_ras(restored, affine), stacked, 0)  # (slices, H, W[, C])
    weights = np.moveaxis(to_ras(weight, affine), stacked, 0)
    least: float | None = None
    for pixels, own, share in zip(result, scan, weights, strict=True):
        if not share.any():
            pixels[...] = background
            continue
        within = share > 0.5
        guide = np.where(within, prepared.scale.to_unit(own), prepared.unit_background)
        content = torch.from_numpy(guide.astype(np.float32))[None]
        image = torch.from_numpy(np.moveaxis(np.atleast_3d(pixels), -1, 0).copy())[None]
        there = torch.from_numpy(np.ascontiguousarray(within))
        mapped = with_structure_of(content, image, settings, there)
        correlation = gradient_correlation(content, mapped, interior(there))
        if correlation != 0:  # it has edges
            least = correlation if least is None else min(least, correlation)
        native = np.moveaxis(scale.from_unit(mapped[0].numpy()), 0, -1).reshape(pixels.shape)
        opacity = share.reshape(share.shape + (1,) * (pixels.ndim - 2))
        pixels[...] = np.where(
            opacity > 0, background + opacity * (native - background), np.float32(background)
        )
        release(restored, weight, volume.array)
    return restored, least
