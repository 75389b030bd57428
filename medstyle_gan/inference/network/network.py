"""A generator together with all that decides how it is run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.config.inference_sections import InferenceConfig
from medstyle_gan.networks.precision import Precision

OnProgress = Callable[[float], None]
"""Takes the share that is done, in [0, 1]."""


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
    """

    generator: nn.Module
    in_channels: int
    out_channels: int
    data: DataConfig
    inference: InferenceConfig
    device: torch.device
    precision: Precision


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
