"""A prepared volume through a generator: along one plane or three, or in 3-D, in several ways."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import get_args

import numpy as np

from medstyle_gan.config.inference_sections import Flip
from medstyle_gan.data.preprocessing import Prepared
from medstyle_gan.data.slices import stacked_axis
from medstyle_gan.inference.network.body import translate_body
from medstyle_gan.inference.network.network import Network, OnProgress, Way, part_of
from medstyle_gan.inference.network.planes import translate_along, translate_three_planes
from medstyle_gan.volumes.workspace import release, slabs, slow_axis

_AXES = {flip: axis for axis, flip in enumerate(get_args(Flip))}


def translate_all_ways(
    network: Network, prepared: Prepared, on_progress: OnProgress | None = None
) -> np.ndarray:
    """The mean over the translations of a volume in all ways that `inference` asks for.

    The arguments and what is returned are those of `translate_once`.
    """
    ways = ways_of(network)
    first = part_of(on_progress, 0, len(ways))
    total = translate_way(network, prepared, ways[0], first)
    for index, way in enumerate(ways[1:], start=1):
        part = part_of(on_progress, index, len(ways))
        translated = translate_way(network, prepared, way, part)
        share = np.float32(1 / len(ways) if index == len(ways) - 1 else 1)
        for slab in slabs(total.shape, slow_axis(total)):
            total[slab] = (total[slab] + translated[slab]) * share
            release(total, translated)
        del translated  # before the next is made
    return total


def ways_of(network: Network) -> list[Way]:
    """All ways that `inference` asks for, the volume as it is first.

    Every set of the axes of `flips`: two ways for one flip, eight for three. With
    `cycle_spinning` (Coifman & Donoho 1995, "Translation-invariant de-noising") half of them have
    another phase on the generator's grid, those mirrored along an odd number of axes; where
    nothing is mirrored there is one way more.
    """
    axes = sorted({_AXES[flip] for flip in network.inference.flips} & moved_axes(network))
    sets = [chosen for count in range(len(axes) + 1) for chosen in combinations(axes, count)]
    if not network.inference.cycle_spinning:
        return [Way(chosen) for chosen in sets]
    if len(sets) == 1:
        return [Way(phase=0), Way(phase=1)]
    return [Way(chosen, 1 if len(chosen) % 2 else 0) for chosen in sets]


def moved_axes(network: Network) -> set[int]:
    """The axes whose mirroring a network can notice: a slice knows nothing of other slices."""
    axes = {0, 1, 2}
    if network.data.dims != 2 or network.inference.planes == 3:
        return axes
    return axes - {stacked_axis(network.data.plane)}


def translate_way(
    network: Network, prepared: Prepared, way: Way, on_progress: OnProgress | None = None
) -> np.ndarray:
    """Translate a volume mirrored or moved on the generator's grid, and put that right again."""
    network = replace(network, way=way)
    if not way.mirrored:
        return translate_once(network, prepared, on_progress)
    behind_channels = tuple(1 + axis for axis in way.mirrored)
    mirrored = replace(
        prepared,
        array=np.flip(prepared.array, behind_channels),
        foreground=np.flip(prepared.foreground, way.mirrored),
    )
    translated = translate_once(network, mirrored, on_progress)
    return np.flip(translated, behind_channels)


def translate_once(
    network: Network, prepared: Prepared, on_progress: OnProgress | None = None
) -> np.ndarray:
    """Translate a volume, whatever the dimensions of the generator.

    Args:
        network: the generator.
        prepared: the volume on the working grid.
        on_progress: called with the share that is done, in [0, 1].

    Returns:
        `(C', X, Y, Z)` float32 in [-1, 1]. Only around the body is it the generator's.

    Raises:
        UserError: where the generator gives NaN or infinity.
    """
    if network.data.dims == 3:
        unit = prepared.zeros(network.out_channels)
        fill = prepared.unit_background
        body, place = translate_body(
            network, prepared.array, prepared.foreground, fill, on_progress
        )
        unit[(slice(None), *place)] = body
        return unit
    if network.inference.planes == 3:
        return translate_three_planes(network, prepared, on_progress)
    return translate_along(network.data.plane, network, prepared, on_progress)
