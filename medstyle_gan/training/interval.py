"""Means of scalars over many steps without waiting for the device at each of them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

# Scalars held before they are added up: bounds the memory where rows are far apart.
_HELD_STEPS = 256


class IntervalMeans:
    """Collects detached scalars step by step; only `means` (or every 256th step) reads them.

    A name that occurs in some steps only is averaged over those.
    """

    def __init__(self) -> None:
        self._held: list[Mapping[str, Tensor]] = []
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, scalars: Mapping[str, Tensor]) -> None:
        """Take one step's scalars; the mapping must not change afterwards."""
        self._held.append(scalars)
        if len(self._held) >= _HELD_STEPS:
            self._add_up()

    def means(self) -> dict[str, float]:
        """Mean of each name since the last `clear`; empty when there was no step."""
        self._add_up()
        return {name: total / self._counts[name] for name, total in self._sums.items()}

    def clear(self) -> None:
        """Begin the next interval."""
        self._held, self._sums, self._counts = [], {}, {}

    def state_dict(self) -> dict[str, dict[str, float]]:
        """What an interval under way needs to go on after a resume: plain numbers."""
        self._add_up()
        return {"sums": dict(self._sums), "counts": dict(self._counts)}

    def load_state_dict(self, state: Mapping[str, Mapping[str, float]]) -> None:
        """Go on with an interval."""
        self.clear()
        self._sums = dict(state["sums"])
        self._counts = {name: int(count) for name, count in state["counts"].items()}

    def _add_up(self) -> None:
        for name in dict.fromkeys(name for scalars in self._held for name in scalars):
            values = [scalars[name] for scalars in self._held if name in scalars]
            # One transfer a name; double precision only on the host, as Apple's GPUs lack it.
            stacked = torch.stack([v.detach().reshape(()) for v in values]).cpu().double()
            self._sums[name] = self._sums.get(name, 0.0) + stacked.sum().item()
            self._counts[name] = self._counts.get(name, 0) + len(values)
        self._held = []
