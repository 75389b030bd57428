"""Generators out of a bundle, and the arithmetic that they translate in."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from medstyle_gan.config import Config
from medstyle_gan.data.words import DOMAINS, Direction
from medstyle_gan.errors import UserError
from medstyle_gan.inference.bundle import Bundle
from medstyle_gan.networks import build_generator, load_trained_weights
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
    return load_trained_weights(generator, weights or bundle.generator_state(direction), direction)


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
