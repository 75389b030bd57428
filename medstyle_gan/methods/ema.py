"""Exponential moving average of the generators' weights, updated at every step."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


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
        self.updates = 0
        self.generators = {
            name: copy.deepcopy(g).eval().requires_grad_(False) for name, g in generators.items()
        }

    def to(self, device: torch.device) -> None:
        """Move the copies."""
        for generator in self.generators.values():
            generator.to(device)

    @torch.no_grad()
    def update(self, generators: Mapping[str, nn.Module]) -> None:
        """Move the average one step towards the trained weights."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        averaged: list[Tensor] = []
        trained: list[Tensor] = []
        for name, generator in generators.items():
            averaged += self.generators[name].parameters()
            trained += generator.parameters()
            for mine, theirs in zip(
                self.generators[name].buffers(), generator.buffers(), strict=True
            ):
                mine.copy_(theirs)
        torch._foreach_lerp_(averaged, trained, 1 - decay)

    def state_dict(self) -> dict[str, Any]:
        """Averaged weights and the number of updates."""
        return {
            "updates": self.updates,
            "generators": {name: g.state_dict() for name, g in self.generators.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the weights and count of `state_dict`."""
        self.updates = state["updates"]
        for name, generator in self.generators.items():
            generator.load_state_dict(state["generators"][name])
