"""What networks learn, also where they share it."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn


def parameters_of(networks: Iterable[nn.Module]) -> list[nn.Parameter]:
    """The parameters of several networks, in order, each once however many have it."""
    return list(nn.ModuleList(networks).parameters())
