"""What a training step costs, counted in a dry pass of tensors without data."""

from __future__ import annotations

import warnings

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from medstyle_gan.config import Config
from medstyle_gan.methods import TrainedMethod
from medstyle_gan.networks.precision import Precision
from medstyle_gan.training.memory import dry_method, step_bytes
from medstyle_gan.training.planning.facts import StepCost


def step_cost(config: Config, channels: dict[str, int], precision: Precision) -> StepCost:
    """Operations of convolutions and matrix products, forward and backward, and memory.

    Penalties on discriminators' slopes are not counted: they act in few steps, and torch's
    counter cannot look into a gradient's gradient.

    Args:
        config: all settings.
        channels: domain → channels of its samples.
        precision: arithmetic of the networks.
    """
    random = torch.get_rng_state()
    try:
        with FakeTensorMode(), warnings.catch_warnings():
            # Copying tensors without data for the moving average, torch warns of their address.
            warnings.filterwarnings("ignore", message="Accessing the data pointer of FakeTensor")
            method = dry_method(_without_penalties(config), channels)
            with_vgg = _operations(method, config, channels)
            method.regularizer = None
            without = _operations(method, config, channels)
    finally:
        torch.set_rng_state(random)
    parts = config.training.accumulate
    memory = step_bytes(config, channels, precision)
    return StepCost(parts * without, parts * (with_vgg - without), memory)


def _without_penalties(config: Config) -> Config:
    game = config.loss.adversarial
    centred = game.zero_centred_penalty.model_copy(update={"weight": 0.0})
    game = game.model_copy(update={"zero_centred_penalty": centred, "gradient_penalty": 0.0})
    loss = config.loss.model_copy(update={"adversarial": game})
    return config.model_copy(update={"loss": loss})


def _operations(method: TrainedMethod, config: Config, channels: dict[str, int]) -> int:
    """Of one part of a step, in fp32: the precision changes no count."""
    batch, size = config.training.batch_size, config.data.sample_size
    real = {domain: torch.empty(batch, count, *size) for domain, count in channels.items()}
    method.zero_grad()
    with FlopCounterMode(display=False) as counter:
        terms, translated = method.generator_terms(real)
        terms |= method.structure(0, real, translated)
        judged = method.discriminator_terms(real, translated)
        torch.stack([term.value for term in (terms | judged).values()]).sum().backward()
    return int(counter.get_total_flops())
