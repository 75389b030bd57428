"""Volumes through a 3-D generator: in overlapping windows of a training sample's size, blended."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from monai.inferers.utils import sliding_window_inference
from torch import Tensor

from medstyle_gan.inference.network.arithmetic import arithmetic, refuse_diverged
from medstyle_gan.inference.network.network import Network, OnProgress
from medstyle_gan.networks import adapt_channels

OVERLAP = 0.5


def translate_windows(
    network: Network,
    volume: np.ndarray,
    on_progress: OnProgress | None = None,
    offsets: Sequence[int] | None = None,
) -> np.ndarray:
    """Send a volume through a generator, window by window.

    Windows overlap by half, and where they do a Gaussian around each one's centre weighs them
    (MONAI's sliding windows), for a network knows least at its border. An instance norm takes
    its statistics over one window, as in training: the same tissue can come out a little
    differently in windows that see different surroundings, most of all where windows are small
    beside the anatomy.

    One window at a time is on the device; on the CPU there are the volume, its translation and
    the sum of the weights.

    Args:
        network: its generator takes images of a training sample's size, the window's.
        volume: `(C, X, Y, Z)` in [-1, 1], no side smaller than the window.
        on_progress: called with the share of the windows done, in [0, 1].
        offsets: by how many voxels all windows begin earlier along each axis; None is nowhere.

    Returns:
        `(C', X, Y, Z)` float32.

    Raises:
        UserError: where the generator gives NaN or infinity.
    """
    window = network.data.sample_size
    border = [(by, by) for by in offsets or (0, 0, 0)]
    inner = tuple(
        slice(by, by + side) for (by, _), side in zip(border, volume.shape[1:], strict=True)
    )
    if any(offsets or ()):
        # On both sides, so that the last window, which ends where the volume does, moves too.
        volume = np.pad(volume, [(0, 0), *border], mode="edge")
    total = math.prod(
        math.ceil((side - size) / max(1, int(size * (1 - OVERLAP)))) + 1
        for side, size in zip(volume.shape[1:], window, strict=True)
    )
    done = 0

    def translate(patch: Tensor) -> Tensor:
        nonlocal done
        output: Tensor = network.generator(adapt_channels(patch, network.in_channels))
        done += 1
        if on_progress is not None:
            on_progress(done / total)
        # A copy: MONAI weighs it in place, and a generator may give a part of its input.
        return output.float().clone()

    with arithmetic(network.device, network.precision):
        translated = sliding_window_inference(
            torch.from_numpy(np.ascontiguousarray(volume))[None],
            roi_size=tuple(window),
            sw_batch_size=1,
            predictor=translate,
            overlap=OVERLAP,
            mode="gaussian",
            sw_device=network.device,
            device=torch.device("cpu"),
        )
    array: np.ndarray = translated[0].numpy()[(slice(None), *inner)]
    refuse_diverged(array)
    return array
