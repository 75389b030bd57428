"""Generators out of a bundle, and the arithmetic that they translate in."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from medstyle_gan.config import Config
from medstyle_gan.data.words import DIRECTIONS, DOMAINS, Direction
from medstyle_gan.errors import UserError
from medstyle_gan.inference.bundle import Bundle
from medstyle_gan.networks import build_generator, build_generators
from medstyle_gan.networks.precision import Precision

_ONE_AT_A_TIME = threading.RLock()


def restore_generator(
    bundle: Bundle, direction: Direction, weights: Mapping[str, Tensor] | None = None
) -> nn.Module:
    """Build one direction's generator with its trained weights, in evaluation mode.

    Args:
        bundle: the model.
        direction: which generator.
        weights: others to take instead, such as those of an earlier checkpoint.

    Raises:
        UserError: where the weights do not fit the bundle's config.
    """
    generator = untrained_generator(bundle.config, bundle.channels, direction)
    return _with_weights(generator, direction, weights or bundle.generator_state(direction))


def restore_generators(bundle: Bundle) -> dict[str, nn.Module]:
    """Build both directions' generators with their trained weights, in evaluation mode.

    Args:
        bundle: the model.

    Returns:
        direction → generator; what they share they share in memory, too.

    Raises:
        UserError: where the weights do not fit the bundle's config.
    """
    taken, given = generator_channels(bundle.config, bundle.channels, DIRECTIONS[0])
    dims = bundle.config.data.spatial_dims
    with torch.random.fork_rng(devices=[]):  # initial weights are drawn
        both = build_generators(bundle.config.generator, taken, given, dims)
    return {
        direction: _with_weights(generator, direction, bundle.generator_state(direction))
        for direction, generator in zip(DIRECTIONS, both, strict=True)
    }


def _with_weights(generator: nn.Module, direction: str, weights: Mapping[str, Tensor]) -> nn.Module:
    try:
        generator.load_state_dict(weights)
    except RuntimeError as error:
        raise UserError(
            f"the model's {direction} weights do not fit its own config ({error}); "
            "the model folder is damaged or was edited"
        ) from error
    return generator.eval()


def untrained_generator(
    config: Config, channels: Mapping[str, int], direction: Direction
) -> nn.Module:
    """Build one direction's generator of a config; the caller's random stream stays.

    Args:
        config: settings of the training.
        channels: domain → channels of its images.
        direction: which generator.
    """
    taken, given = generator_channels(config, channels, direction)
    with torch.random.fork_rng(devices=[]):  # initial weights are drawn
        return build_generator(config.generator, taken, given, config.data.spatial_dims)


def generator_channels(
    config: Config, channels: Mapping[str, int], direction: Direction
) -> tuple[int, int]:
    """Channels that a generator takes and gives: of all slices of a 2.5-D sample.

    Args:
        config: settings of the training.
        channels: domain → channels of its images.
        direction: which generator.
    """
    source, target = DOMAINS[direction]
    slices = config.data.sample_slices
    return channels[source] * slices, channels[target] * slices


def resolve_device(name: str) -> torch.device:
    """The device that a name means; `auto` is a GPU where there is one.

    Raises:
        UserError: where this machine has no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(
            f"device {name!r} cannot be used here ({str(error).splitlines()[0]}); "
            "choose auto, cpu or cuda"
        ) from error
    return device


@contextmanager
def arithmetic(device: torch.device, precision: Precision) -> Iterator[None]:
    """How generators compute in translation: without gradients, in a precision.

    On a GPU with the same result each time, and in fp32 that is not silently TF32. One thread
    at a time: the flags are the process's, and so is the memory.
    """
    with (
        _ONE_AT_A_TIME,
        torch.inference_mode(),
        torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"),
        torch.backends.cudnn.flags(
            enabled=True, benchmark=False, deterministic=True, allow_tf32=False
        ),
    ):
        yield


def refuse_diverged(translated: np.ndarray) -> None:
    """Refuse what no trained generator gives.

    Raises:
        UserError: NaN or infinity are in it.
    """
    if not np.isfinite(translated).all():
        raise UserError(
            "the generator gives NaN or infinity: its training diverged; use another model or "
            "train again"
        )
