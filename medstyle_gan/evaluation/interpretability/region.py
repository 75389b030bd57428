"""A small region of a slice, and the image that the network makes it from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import uniform_filter
from torch import Tensor

from medstyle_gan.data.slice_samples import neighbouring
from medstyle_gan.data.slices import stacked_axis, to_slices
from medstyle_gan.evaluation.chapter import Array, Mask
from medstyle_gan.evaluation.interpretability.intensity_map import unexplained
from medstyle_gan.inference.network.network import Network
from medstyle_gan.inference.network.padding import pad_images
from medstyle_gan.networks import middle_slice

SIDE = 7
"""Voxels along each side of a region in its slice."""


@dataclass(frozen=True)
class Region:
    """Where in a volume one looks: a square of voxels in one slice.

    Attributes:
        slice: position along the plane's axis.
        rows: first and past-the-last voxel along the slice's first axis.
        columns: likewise along its second.
    """

    slice: int
    rows: tuple[int, int]
    columns: tuple[int, int]

    @property
    def centre(self) -> tuple[float, float]:
        """Its middle in the slice (voxels)."""
        return (sum(self.rows) - 1) / 2, (sum(self.columns) - 1) / 2


def region_at(voxel: tuple[int, int, int], shape: tuple[int, ...], plane: str) -> Region:
    """The region around a voxel, moved inwards where it would leave the slice.

    Args:
        voxel: (x, y, z).
        shape: (X, Y, Z) of the volume.
        plane: of the slice.
    """
    axis = stacked_axis(plane)
    spans = []
    for place, side in zip(np.delete(voxel, axis), np.delete(shape, axis), strict=True):
        first = int(np.clip(place - SIDE // 2, 0, max(0, side - SIDE)))
        spans.append((first, min(first + SIDE, int(side))))
    return Region(int(voxel[axis]), spans[0], spans[1])


def most_unexplained(scan: Array, translation: Array, mask: Mask, plane: str) -> Region:
    """The region whose translation is furthest from what its intensities alone would give.

    There the network must have looked at something else than the voxel.

    Args:
        scan: (X, Y, Z) in [-1, 1].
        translation: (X, Y, Z) in [-1, 1].
        mask: bool (X, Y, Z), not empty.
        plane: of the slices.
    """
    window = [SIDE] * 3
    window[stacked_axis(plane)] = 1
    rest = unexplained(scan, translation, mask)
    score = np.abs(uniform_filter(rest, window, mode="constant"))
    # All of the window in the body: at its edge a half-filled voxel explains everything.
    whole = uniform_filter(mask.astype(np.float32), window, mode="constant") > 0.999
    score[~(whole if (whole & mask).any() else mask)] = -1
    voxel = np.unravel_index(int(score.argmax()), score.shape)
    return region_at((int(voxel[0]), int(voxel[1]), int(voxel[2])), scan.shape, plane)


@dataclass(frozen=True)
class NetworkInput:
    """What a generator is given for a region's slice (2-D, 2.5-D) or window (3-D).

    Attributes:
        image: `(1, C, *spatial)` float32 in [-1, 1], padded as in translation, on the network's
            device.
        body: `(*spatial)` bool over `image`, the body in the region's slice or window.
        score: the network's mean output in the region, from images `(B, C, *spatial)`: `(B,)`.
        to_slice: takes a map `(*spatial)` over `image` to the slice, (H, W), 0 where the image
            does not reach.
    """

    image: Tensor
    body: Tensor
    score: Callable[[Tensor], Tensor]
    to_slice: Callable[[np.ndarray], np.ndarray]


def network_input(network: Network, scan: Array, mask: Mask, region: Region) -> NetworkInput:
    """Make the input of a generator as translation makes it.

    A 3-D generator sees a window of its sample's size around the region, as it did in training.

    Args:
        network: a generator and how it is run.
        scan: (X, Y, Z) in [-1, 1].
        mask: bool (X, Y, Z), its body.
        region: what the score is of.
    """
    data = network.data
    (top, bottom), (left, right) = region.rows, region.columns
    if data.dims == 3:
        return _window_input(network, scan, mask, region)
    slices = to_slices(scan[None], data.plane)[:, 0]
    reach = data.sample_slices // 2
    stack = slices[neighbouring(region.slice, reach, len(slices))]
    inside = to_slices(mask[None], data.plane)[region.slice]
    image, body, inner = _padded(network, stack, inside, float(scan.min()))

    def score(images: Tensor) -> Tensor:
        output = middle_slice(network.generator(images), data.sample_slices)
        inside = output[..., inner[0], inner[1]].float()
        return inside[..., top:bottom, left:right].mean(dim=(1, 2, 3))

    return NetworkInput(image, body, score, lambda values: values[inner])


def _padded(
    network: Network, image: np.ndarray, mask: Mask, fill: float
) -> tuple[Tensor, Tensor, tuple[slice, ...]]:
    """An image `(slices or 1, *spatial)` and its body as the network takes them, and where."""
    divisor = int(network.generator.divisor)  # type: ignore[arg-type]  # typed as any submodule
    size = network.data.sample_size
    channels = np.repeat(image, network.in_channels, axis=0)[None].astype(np.float32)
    padded, inner = pad_images(channels, size, divisor, fill)
    body, _ = pad_images(mask[None].astype(np.uint8), size, divisor, 0)
    tensors = (torch.from_numpy(np.ascontiguousarray(a)) for a in (padded, body[0, 0] > 0))
    shown, inside = (tensor.to(network.device) for tensor in tensors)
    return shown, inside, inner


def _window_input(network: Network, scan: Array, mask: Mask, region: Region) -> NetworkInput:
    data = network.data
    axis = stacked_axis(data.plane)
    spans = [region.rows, region.columns]
    spans.insert(axis, (region.slice, region.slice + 1))
    cut = []
    for (first, last), side, size in zip(spans, scan.shape, data.sample_size, strict=True):
        begin = int(np.clip((first + last - size) // 2, 0, max(0, side - size)))
        cut.append(slice(begin, min(begin + size, side)))
    inside = mask[tuple(cut)][None]
    image, body, inner = _padded(network, scan[tuple(cut)][None], inside, float(scan.min()))
    of_region = tuple(
        slice(first - part.start, last - part.start)
        for (first, last), part in zip(spans, cut, strict=True)
    )

    def score(images: Tensor) -> Tensor:
        output = network.generator(images)[(..., *inner)].float()
        return output[(..., *of_region)].flatten(1).mean(dim=1)

    def to_slice(values: np.ndarray) -> np.ndarray:
        whole = np.zeros(scan.shape, np.float32)
        whole[tuple(cut)] = values[inner]
        shown: np.ndarray = np.take(whole, region.slice, axis=axis)
        return shown

    return NetworkInput(image, body, score, to_slice)
