"""A generator together with all that decides how it is run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.config.inference_sections import InferenceConfig
from medstyle_gan.networks.precision import Precision

OnProgress = Callable[[float], None]
"""Takes the share that is done, in [0, 1]."""


@dataclass(frozen=True)
class Way:
    """One of the ways in which a network sees a volume.

    Attributes:
        mirrored: axes (R, A, S) along which it is mirrored.
        phase: whether its voxels lie on the even or odd places of the generator's grid that they
            would lie on (0), or on the others (1); None takes them as they come.
    """

    mirrored: tuple[int, ...] = ()
    phase: Literal[0, 1] | None = None

    def offsets(self, axes: Sequence[int], sizes: Sequence[int]) -> tuple[int, ...]:
        """By how many voxels an image is moved along each of its axes, for its phase.

        Mirroring an even number of voxels has moved them already.

        Args:
            axes: of the volume (R, A, S), that the image's are.
            sizes: of the image.
        """
        if self.phase is None:
            return (0,) * len(sizes)
        return tuple(
            int(self.phase != (axis in self.mirrored and size % 2 == 0))
            for axis, size in zip(axes, sizes, strict=True)
        )


@dataclass(frozen=True)
class Network:
    """One direction's generator, ready to translate.

    Attributes:
        generator: in evaluation mode, with its `divisor`.
        in_channels: channels of an image that it takes, 1 (grey) or 3 (colour).
        out_channels: channels of an image that it gives.
        data: how its training's samples were made.
        inference: how whole volumes go through it.
        device: where it is.
        precision: its arithmetic.
        way: in which it sees the volume.
    """

    generator: nn.Module
    in_channels: int
    out_channels: int
    data: DataConfig
    inference: InferenceConfig
    device: torch.device
    precision: Precision
    way: Way = Way()


def part_of(on_progress: OnProgress | None, index: int, parts: int) -> OnProgress | None:
    """What takes the progress of one of several equal parts.

    Args:
        on_progress: takes that of the whole; None where nobody asks.
        index: which part, from 0.
        parts: how many there are.
    """
    if on_progress is None:
        return None
    return lambda share: on_progress((index + share) / parts)
