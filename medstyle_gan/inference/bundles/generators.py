"""Generators out of a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from medstyle_gan.config import Config
from medstyle_gan.data.words import DIRECTIONS, Direction, domains_of
from medstyle_gan.errors import UserError
from medstyle_gan.inference.bundles.bundle import Bundle
from medstyle_gan.networks import build_generator, build_generators

WeightsByName: TypeAlias = Mapping[str, Tensor]


def restore_generator(
    bundle: Bundle, direction: Direction, weights: WeightsByName | None = None
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
    source, target = domains_of(direction)
    slices = config.data.sample_slices
    return channels[source] * slices, channels[target] * slices


def generators_of_checkpoint(state: Mapping[str, Any], ema: bool) -> dict[Direction, WeightsByName]:
    """Both generators' weights among a checkpoint's contents.

    Args:
        state: the contents, see `training.checkpoint`.
        ema: whether to take their moving averages.

    Raises:
        KeyError: these are no contents of a checkpoint.
        TypeError: likewise.
    """
    networks = state["ema"]["generators"] if ema else state["networks"]
    return {direction: networks[direction] for direction in DIRECTIONS}
