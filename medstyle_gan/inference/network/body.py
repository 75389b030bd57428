"""The body in a volume through a 3-D generator: as a whole, or window by window."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from medstyle_gan.data.body import body_box
from medstyle_gan.data.patch_drawing import patch_region
from medstyle_gan.errors import UserError
from medstyle_gan.inference.network.network import Network, OnProgress
from medstyle_gan.inference.network.padding import pad_images
from medstyle_gan.inference.network.streaming import can_stream, stream
from medstyle_gan.inference.network.windows import translate_windows
from medstyle_gan.networks import adapt_channels


def translate_body(
    network: Network,
    volume: np.ndarray,
    foreground: np.ndarray,
    fill: float,
    on_progress: OnProgress | None = None,
) -> tuple[np.ndarray, tuple[slice, ...]]:
    """Send the part of a volume that training's patches lie in through a 3-D generator.

    That is the box around the body; where it is smaller than a window, the window around its
    middle, with background beyond the volume.

    Args:
        network: the generator.
        volume: `(C, X, Y, Z)` in [-1, 1].
        foreground: bool `(X, Y, Z)`, the body; not empty.
        fill: background in [-1, 1].
        on_progress: called with the share that is done, in [0, 1].

    Returns:
        `(C', x, y, z)` float32, and where in the volume it lies.

    Raises:
        UserError: where the generator gives NaN or infinity.
    """
    window = network.data.sample_size
    region = [
        patch_region(bounds, size)
        for bounds, size in zip(body_box(foreground), window, strict=True)
    ]
    sides = volume.shape[1:]
    place = tuple(slice(max(b, 0), min(e, n)) for (b, e), n in zip(region, sides, strict=True))
    border = [(max(-b, 0), max(e - n, 0)) for (b, e), n in zip(region, sides, strict=True)]
    part = np.pad(volume[(slice(None), *place)], [(0, 0), *border], constant_values=fill)
    translate = translate_windows if _windowed(network) else translate_whole
    offsets = network.way.offsets(range(3), part.shape[1:])
    translated = translate(network, part, on_progress, offsets)
    inner = tuple(
        slice(before, before + p.stop - p.start)
        for (before, _), p in zip(border, place, strict=True)
    )
    return translated[(slice(None), *inner)], place


def translate_whole(
    network: Network,
    volume: np.ndarray,
    on_progress: OnProgress | None = None,
    offsets: Sequence[int] | None = None,
) -> np.ndarray:
    """Send a volume through a 3-D generator as one image, without having it in memory at once.

    Args:
        network: its generator can be streamed, see `streaming`.
        volume: `(C, X, Y, Z)` in [-1, 1], no side smaller than a training sample's.
        on_progress: called with the share that is done, in [0, 1].
        offsets: of the volume on the generator's grid (X, Y, Z), see `pad_images`.

    Returns:
        `(C', X, Y, Z)` float32.

    Raises:
        UserError: where the generator gives NaN or infinity, or temporary files find no room.
    """
    divisor = int(network.generator.divisor)  # type: ignore[arg-type]  # typed as any submodule
    image = adapt_channels(torch.from_numpy(volume[None]), network.in_channels).numpy()
    padded, inner = pad_images(image, network.data.sample_size, divisor, 0.0, offsets)
    translated: np.ndarray = stream(network, padded, on_progress)[0][(slice(None), *inner)]
    return translated


def is_streamed(network: Network) -> bool:
    """Whether a volume goes through the network as a whole, a few rows at a time."""
    if network.data.dims != 3:
        return network.inference.slice_statistics > 0
    return not _windowed(network)


def window_warnings(network: Network, foreground: np.ndarray) -> tuple[str, ...]:
    """What to tell of a body that goes through in windows though nobody asked for them.

    Args:
        network: the generator.
        foreground: bool `(X, Y, Z)`, the body; not empty.

    Returns:
        a sentence, or none where the body is seen as a whole, or windows were asked for.
    """
    data, wanted = network.data, network.inference.statistics
    if data.dims != 3 or wanted != "auto" or can_stream(network.generator):
        return ()
    sides = [end - begin for begin, end in body_box(foreground)]
    if all(side <= size for side, size in zip(sides, data.sample_size, strict=True)):
        return ()
    return (
        "went through the network in windows with norms of their own, which can leave seams: "
        f"a {type(network.generator).__name__} cannot be taken layer by layer (the run or "
        "safetensors bundle that an ONNX bundle was made from can)",
    )


def _windowed(network: Network) -> bool:
    wanted, known = network.inference.statistics, can_stream(network.generator)
    if wanted == "volume" and not known:
        raise UserError(
            f"inference.statistics=volume: a {type(network.generator).__name__} has layers that "
            "cannot be gone through a few planes at a time; set inference.statistics=window"
        )
    return wanted == "window" or not known
