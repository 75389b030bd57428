"""Volumes through a 3-D generator: in overlapping windows of a training sample's size, blended."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from monai.inferers.utils import sliding_window_inference
from torch import Tensor, nn

from medstyle_gan.data.body import body_box
from medstyle_gan.data.patch_drawing import patch_region
from medstyle_gan.inference.generators import arithmetic, refuse_diverged
from medstyle_gan.networks import adapt_channels
from medstyle_gan.networks.precision import Precision

OVERLAP = 0.5


def translate_body(
    generator: nn.Module,
    volume: np.ndarray,
    foreground: np.ndarray,
    *,
    in_channels: int,
    window: Sequence[int],
    fill: float,
    device: torch.device,
    precision: Precision,
    on_progress: Callable[[float], None] | None = None,
) -> tuple[np.ndarray, tuple[slice, ...]]:
    """Send the part of a volume that training's patches lie in through a generator.

    That is the box around the body; where it is smaller than a window, the window around its
    middle, with background beyond the volume.

    Args:
        volume: `(C, X, Y, Z)` in [-1, 1].
        foreground: bool `(X, Y, Z)`, the body; not empty.
        window: size of a window, that of a training sample (voxels).
        fill: background in [-1, 1].

    The others are those of `translate_windows`.

    Returns:
        `(C', x, y, z)` float32, and where in the volume it lies.

    Raises:
        UserError: where the generator gives NaN or infinity.
    """
    region = [
        patch_region(bounds, size)
        for bounds, size in zip(body_box(foreground), window, strict=True)
    ]
    sides = volume.shape[1:]
    place = tuple(slice(max(b, 0), min(e, n)) for (b, e), n in zip(region, sides, strict=True))
    border = [(max(-b, 0), max(e - n, 0)) for (b, e), n in zip(region, sides, strict=True)]
    translated = translate_windows(
        generator,
        np.pad(volume[(slice(None), *place)], [(0, 0), *border], constant_values=fill),
        in_channels=in_channels,
        window=window,
        device=device,
        precision=precision,
        on_progress=on_progress,
    )
    inner = tuple(
        slice(before, before + p.stop - p.start)
        for (before, _), p in zip(border, place, strict=True)
    )
    return translated[(slice(None), *inner)], place


def translate_windows(
    generator: nn.Module,
    volume: np.ndarray,
    *,
    in_channels: int,
    window: Sequence[int],
    device: torch.device,
    precision: Precision,
    on_progress: Callable[[float], None] | None = None,
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
        generator: in evaluation mode; takes images of the window's size.
        volume: `(C, X, Y, Z)` in [-1, 1], no side smaller than the window.
        in_channels: what C is adapted to.
        window: size of a window (voxels).
        device: where the generator is.
        precision: its arithmetic.
        on_progress: called with the share of the windows done, in [0, 1].

    Returns:
        `(C', X, Y, Z)` float32.

    Raises:
        UserError: where the generator gives NaN or infinity.
    """
    total = math.prod(
        math.ceil((side - size) / max(1, int(size * (1 - OVERLAP)))) + 1
        for side, size in zip(volume.shape[1:], window, strict=True)
    )
    done = 0

    def translate(patch: Tensor) -> Tensor:
        nonlocal done
        output: Tensor = generator(adapt_channels(patch, in_channels))
        done += 1
        if on_progress is not None:
            on_progress(done / total)
        # A copy: MONAI weighs it in place, and a generator may give a part of its input.
        return output.float().clone()

    with arithmetic(device, precision):
        translated = sliding_window_inference(
            torch.from_numpy(volume)[None],
            roi_size=tuple(window),
            sw_batch_size=1,
            predictor=translate,
            overlap=OVERLAP,
            mode="gaussian",
            sw_device=device,
            device=torch.device("cpu"),
        )
    array: np.ndarray = translated[0].numpy()
    refuse_diverged(array)
    return array
