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
from medstyle_gan.networks import build_generator, build_generators, load_trained_weights

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
    return load_trained_weights(generator, weights or bundle.generator_state(direction), direction)


def restore_generators(bundle: Bundle) -> dict[str, nn.Module]:
    """Build a bundle's generators with their trained weights, in evaluation mode.

    Args:
        bundle: the model.

    Returns:
        direction → generator, for the directions that the model has; what two share they share
            in memory, too.

    Raises:
        UserError: where the weights do not fit the bundle's config.
    """
    if len(bundle.directions) == 1:
        return {d: restore_generator(bundle, d) for d in bundle.directions}
    taken, given = generator_channels(bundle.config, bundle.channels, DIRECTIONS[0])
    dims = bundle.config.data.spatial_dims
    with torch.random.fork_rng(devices=[]):  # initial weights are drawn
        both = build_generators(bundle.config.generator, taken, given, dims)
    return {
        direction: load_trained_weights(generator, bundle.generator_state(direction), direction)
        for direction, generator in zip(DIRECTIONS, both, strict=True)
    }


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


def refuse_undirected(bundle: Bundle) -> None:
    """Refuse a model that translates nothing by itself, because its style is shown at run time.

    Raises:
        UserError: it is one.
    """
    if not bundle.directions:
        name = bundle.config.method.name
        raise UserError(
            f"{name} is shown its style at run time, so that its model translates nothing by "
            f"itself; use it by  medstyle stylize CONTENT --style STYLE --method {name} --model "
            "MODEL -o OUT  (medstyle export takes safetensors alone)"
        )


def generators_of_checkpoint(state: Mapping[str, Any], ema: bool) -> dict[str, WeightsByName]:
    """The generators' weights by name, among a checkpoint's contents.

    Args:
        state: the contents, see `training.checkpoint`.
        ema: whether to take their moving averages.

    Raises:
        KeyError: these are no contents of a checkpoint.
        TypeError: likewise.
    """
    averaged = state["ema"]["generators"]
    return dict(averaged) if ema else {name: state["networks"][name] for name in averaged}
