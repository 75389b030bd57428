"""Exponential moving average of the generators' weights, updated at every step."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from medstyle_gan.networks import parameters_of


class GeneratorEMA:
    """Frozen copies of generators whose weights trail the trained ones.

    The decay warms up as min(decay, (1 + n) / (10 + n)) after n updates, so that the
    average forgets the random start (the rule of TensorFlow's ExponentialMovingAverage).

    The copies are not part of the trained module's tree: they take no gradient, are in
    no optimiser and in no DDP bucket.

    Args:
        generators: name → trained generator.
        decay: weight of the past at each update, in [0, 1); 0 follows exactly.
    """

    def __init__(self, generators: Mapping[str, nn.Module], decay: float) -> None:
        self.decay = decay
        # On the device, so that nobody waits to learn whether a step was skipped.
        self.updates = torch.zeros((), dtype=torch.int64)
        # Together: what they share, their copies share.
        self.generators = copy.deepcopy(dict(generators))
        for generator in self.generators.values():
            generator.eval().requires_grad_(False)

    def to(self, device: torch.device) -> None:
        """Move the copies."""
        self.updates = self.updates.to(device)
        for generator in self.generators.values():
            generator.to(device)

    @torch.no_grad()
    def update(self, generators: Mapping[str, nn.Module], skip: Tensor | None = None) -> None:
        """Move the average one step towards the trained weights.

        Args:
            generators: name → trained generator.
            skip: a scalar on their device; where it is 1, nothing changes and nothing counts.
        """
        # As doubles, for the same decay whatever the device; Apple's GPUs have none.
        exact = torch.float32 if self.updates.device.type == "mps" else torch.float64
        updates = self.updates.to(exact)
        weight = 1 - ((1 + updates) / (10 + updates)).clamp(max=self.decay)
        if skip is None:
            self.updates = self.updates + 1
        else:
            weight = weight * (1 - skip)
            self.updates = self.updates + (1 - skip.to(torch.int64))
        names = list(generators)
        averaged: list[Tensor] = [*parameters_of(self.generators[name] for name in names)]
        trained: list[Tensor] = [*parameters_of(generators.values())]
        for name, generator in generators.items():
            for mine, theirs in zip(
                self.generators[name].buffers(), generator.buffers(), strict=True
            ):
                mine.copy_(theirs)
        if weight.is_cpu:  # reading it there costs nothing
            torch._foreach_lerp_(averaged, trained, weight.item())
        else:
            change = torch._foreach_sub(trained, averaged)
            torch._foreach_mul_(change, weight.float())
            torch._foreach_add_(averaged, change)

    def begin_again(self) -> None:
        """Forget the past as fast as at a training's start: what comes is learned otherwise."""
        self.updates = torch.zeros_like(self.updates)

    def state_dict(self) -> dict[str, Any]:
        """Averaged weights and the number of updates."""
        return {
            "updates": int(self.updates),
            "generators": {name: g.state_dict() for name, g in self.generators.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the weights and count of `state_dict`."""
        self.updates = torch.tensor(state["updates"], device=self.updates.device)
        for name, generator in self.generators.items():
            generator.load_state_dict(state["generators"][name])
