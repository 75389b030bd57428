"""Slices through a 2-D or 2.5-D generator: whole, so that there are no seams, and in batches."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from medstyle_gan.data.slice_samples import neighbouring
from medstyle_gan.errors import UserError
from medstyle_gan.inference.network.arithmetic import arithmetic, refuse_diverged
from medstyle_gan.inference.network.network import Network, OnProgress
from medstyle_gan.inference.network.padding import pad_images
from medstyle_gan.inference.network.streaming import can_stream, stream
from medstyle_gan.networks import adapt_channels, middle_slice
from medstyle_gan.volumes.workspace import release

_CPU_PIXELS = 256**2


def translate_stack(
    network: Network,
    slices: np.ndarray,
    fill: float,
    wanted: slice | None = None,
    on_progress: OnProgress | None = None,
    out: np.ndarray | None = None,
    offsets: Sequence[int] | None = None,
) -> np.ndarray:
    """Send the slices of a volume through a 2-D generator.

    A 2.5-D one sees each slice with its neighbours, as in training; of its answer the middle
    slice is taken, the one that it knows both sides of.

    Args:
        network: the generator.
        slices: `(N, C, H, W)` in [-1, 1], in their order.
        fill: their background in [-1, 1]; slices smaller than a sample get a border of it.
        wanted: which of them; None is all.
        on_progress: called with the share of the wanted ones that is done.
        out: where the result is written; None makes an array.
        offsets: of the slices on the generator's grid (H, W), see `pad_images`.

    Returns:
        `(wanted, C', H, W)` float32 in [-1, 1], background translated like all else.

    Raises:
        UserError: where the generator gives NaN or infinity.
    """
    index = range(len(slices))[wanted or slice(None)]
    if out is None:
        out = np.empty((len(index), network.out_channels, *slices.shape[2:]), np.float32)
    if network.inference.slice_statistics:
        out[:] = _translate_together(network, slices, index, fill, on_progress, offsets)
        return out
    size = slices_at_once(network, slices.shape[2:])
    for start in range(0, len(index), size):
        samples = _samples(network, slices, index[start : start + size])
        batch, inner = _padded(network, samples, fill, offsets)
        with arithmetic(network.device, network.precision):
            output = network.generator(torch.from_numpy(batch).to(network.device))
            part = output[..., inner[0], inner[1]].float().cpu().numpy()
        refuse_diverged(part)
        out[start : start + size] = _middle(network, part)
        release(slices, out)
        if on_progress is not None:
            on_progress((start + len(part)) / len(index))
    return out


def slices_at_once(network: Network, size: Sequence[int]) -> int:
    """How many slices go through a network together: `inference.batch_size`, or fewer.

    On a CPU more pixels only need more memory: one slice of 256² keeps all cores busy, and took
    0.65 s in a batch of one and 0.84 s in one of eight (ResNet-9, ngf 64, two cores).

    Args:
        network: the generator.
        size: (H, W) of a slice.
    """
    most = network.inference.batch_size
    if network.device.type != "cpu":
        return most
    return max(1, min(most, _CPU_PIXELS // math.prod(size)))


def _translate_together(
    network: Network,
    slices: np.ndarray,
    index: range,
    fill: float,
    on_progress: OnProgress | None,
    offsets: Sequence[int] | None,
) -> np.ndarray:
    """All slices layer by layer, so that neighbours can share the statistics of their norms."""
    if not can_stream(network.generator):
        raise UserError(
            f"inference.slice_statistics={network.inference.slice_statistics}: a "
            f"{type(network.generator).__name__} has layers that cannot be gone through one by "
            "one; set inference.slice_statistics=0"
        )
    stack, inner = _padded(network, _samples(network, slices, index), fill, offsets)
    return _middle(network, stream(network, stack, on_progress)[..., inner[0], inner[1]])


def _samples(network: Network, slices: np.ndarray, index: range) -> np.ndarray:
    """What the generator takes: slices in its channels, with their neighbours where it is 2.5-D."""
    reach = network.data.sample_slices // 2
    stacks = [neighbouring(place, reach, len(slices)) for place in index]
    images = torch.from_numpy(np.ascontiguousarray(slices[np.ravel(stacks)]))
    adapted = adapt_channels(images, network.in_channels)
    return adapted.unflatten(0, (len(index), -1)).flatten(1, 2).numpy()


def _padded(
    network: Network, samples: np.ndarray, fill: float, offsets: Sequence[int] | None
) -> tuple[np.ndarray, tuple[slice, ...]]:
    divisor = int(network.generator.divisor)  # type: ignore[arg-type]  # typed as any submodule
    size = network.data.sample_size
    padded, inner = pad_images(samples, size, divisor, fill, offsets)
    return np.ascontiguousarray(padded), inner


def _middle(network: Network, translated: np.ndarray) -> np.ndarray:
    return middle_slice(torch.from_numpy(translated), network.data.sample_slices).numpy()
